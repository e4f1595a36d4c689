#include "support/slots.hpp"

namespace mu::test {

void append(OwnedBytes& to, std::span<std::byte const> bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

}  // namespace mu::test
