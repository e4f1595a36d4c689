// The contract on the fabrics that every machine has.
#include "fabric/shm_world.hpp"
#include "fabric/sim_world.hpp"

#define MU_FABRIC_WORLDS mu::test::ShmWorld, mu::test::SimContractWorld
#define MU_AREA_WORLDS mu::test::ShmWorld, mu::test::SimContractWorld
#define MU_OPEN_WORLDS mu::test::ShmWorld

#include "fabric/contract.hpp"

TYPE_TO_STRING(mu::test::ShmWorld);
TYPE_TO_STRING(mu::test::SimContractWorld);
