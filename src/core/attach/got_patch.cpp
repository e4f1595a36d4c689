#include "attach/got_patch.hpp"

#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace mu::attach {
namespace {

#if defined(__x86_64__)
constexpr std::uint32_t kJumpSlot = R_X86_64_JUMP_SLOT;
constexpr std::uint32_t kGlobalData = R_X86_64_GLOB_DAT;
#elif defined(__aarch64__)
constexpr std::uint32_t kJumpSlot = R_AARCH64_JUMP_SLOT;
constexpr std::uint32_t kGlobalData = R_AARCH64_GLOB_DAT;
#else
#error "attaching to a program is implemented for x86-64 and arm64"
#endif

// What the dynamic section says of the executable.
struct Program {
    ElfW(Addr) base = 0;
    ElfW(Sym) const* symbols = nullptr;
    char const* names = nullptr;
    std::span<ElfW(Rela) const> jump_slots;
    std::span<ElfW(Rela) const> data;
};

template <class T>
T const* at(ElfW(Addr) address) noexcept {
    return reinterpret_cast<T const*>(address);
}

int describe(dl_phdr_info* info, std::size_t, void* result) {
    auto& program = *static_cast<Program*>(result);
    program.base = info->dlpi_addr;
    ElfW(Rela) const* jump_slots = nullptr;
    ElfW(Rela) const* data = nullptr;
    std::size_t jump_bytes = 0;
    std::size_t data_bytes = 0;
    for (ElfW(Half) i = 0; i < info->dlpi_phnum; ++i) {
        if (info->dlpi_phdr[i].p_type != PT_DYNAMIC) {
            continue;
        }
        for (auto const* entry = at<ElfW(Dyn)>(program.base + info->dlpi_phdr[i].p_vaddr); entry->d_tag != DT_NULL;
             ++entry) {
            switch (entry->d_tag) {
                case DT_SYMTAB:
                    program.symbols = at<ElfW(Sym)>(entry->d_un.d_ptr);
                    break;
                case DT_STRTAB:
                    program.names = at<char>(entry->d_un.d_ptr);
                    break;
                case DT_JMPREL:
                    jump_slots = at<ElfW(Rela)>(entry->d_un.d_ptr);
                    break;
                case DT_PLTRELSZ:
                    jump_bytes = entry->d_un.d_val;
                    break;
                case DT_RELA:
                    data = at<ElfW(Rela)>(entry->d_un.d_ptr);
                    break;
                case DT_RELASZ:
                    data_bytes = entry->d_un.d_val;
                    break;
                default:
                    break;
            }
        }
    }
    program.jump_slots = {jump_slots, jump_slots == nullptr ? 0 : jump_bytes / sizeof(ElfW(Rela))};
    program.data = {data, data == nullptr ? 0 : data_bytes / sizeof(ElfW(Rela))};
    return 1;  // the executable comes first, and is all we want
}

struct Place {
    void** slot;
    Redirection* redirection;
};

void collect(Program const& program, std::span<ElfW(Rela) const> relocations, std::span<Redirection> redirections,
             std::vector<Place>& places) {
    for (ElfW(Rela) const& relocation : relocations) {
        auto const type = static_cast<std::uint32_t>(ELF64_R_TYPE(relocation.r_info));
        if (type != kJumpSlot && type != kGlobalData) {
            continue;
        }
        char const* const name = program.names + program.symbols[ELF64_R_SYM(relocation.r_info)].st_name;
        for (Redirection& redirection : redirections) {
            if (std::strcmp(name, redirection.name) == 0) {
                places.push_back({reinterpret_cast<void**>(program.base + relocation.r_offset), &redirection});
            }
        }
    }
}

// The page stays writable where binding is lazy: the dynamic linker still writes there.
bool make_writable(void* slot) noexcept {
    auto const page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    auto const address = reinterpret_cast<std::uintptr_t>(slot) & ~(page - 1);
    return mprotect(reinterpret_cast<void*>(address), page, PROT_READ | PROT_WRITE) == 0;
}

}  // namespace

std::string redirect(std::span<Redirection> redirections) {
    Program program;
    dl_iterate_phdr(describe, &program);
    if (program.symbols == nullptr || program.names == nullptr) {
        return "the program has no dynamic symbols: it was linked statically";
    }
    std::vector<Place> places;
    collect(program, program.jump_slots, redirections, places);
    collect(program, program.data, redirections, places);
    for (Place const& place : places) {
        if (!make_writable(place.slot)) {
            return std::string("the program's offset table cannot be made writable: ") + std::strerror(errno);
        }
    }
    for (Place const& place : places) {
        *place.slot = place.redirection->replacement;
        place.redirection->found = true;
    }
    return {};
}

}  // namespace mu::attach
