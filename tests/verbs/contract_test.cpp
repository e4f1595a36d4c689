// The contract on verbs.
#include "verbs/verbs_world.hpp"

#define MU_FABRIC_WORLDS mu::test::VerbsWorld
#define MU_OPEN_WORLDS mu::test::VerbsWorld

#include "fabric/contract.hpp"

TYPE_TO_STRING(mu::test::VerbsWorld);
