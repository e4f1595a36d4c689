#include "common/ordered_copy.hpp"

namespace mu::racy {

namespace {

// Writes of any other form. They are rare, so each part is simply taken word by word.
template <class To>
void copy_by_words(To const& to, Bytes head, Bytes body, Bytes tail) noexcept {
    std::size_t const tail_at = align_up(head.size() + body.size(), kWord);
    std::size_t const total = align_up(tail_at + tail.size(), kWord);
    for (std::size_t at = 0; at < total; at += kWord) {
        Bytes const part = at < head.size() ? head : at < tail_at ? body : tail;
        std::size_t const part_at = at < head.size() ? 0 : at < tail_at ? head.size() : tail_at;
        std::size_t const reach = at - part_at + kWord < part.size() ? at - part_at + kWord : part.size();
        to.store(at, last_word(part.first(reach)), std::memory_order_release);
    }
}

template <class To>
void copy_any(To const& to, Bytes head, Bytes body, Bytes tail) noexcept {
    bool const whole_head = head.size() % kWord == 0;
    bool const only_head = body.empty() && tail.empty();
    MU_ASSERT(!head.empty() || !only_head);
    MU_ASSERT(whole_head || only_head);
    if (tail.size() == kWord && head.size() >= kWord) {  // a slot
        copy_framed(to, head, body, private_word(tail.data()));
    } else if (only_head && whole_head && head.size() > kWord) {  // slots as they lie in another log
        copy_framed(to, head.first(head.size() - kWord), {}, last_word(head));
    } else {
        copy_by_words(to, head, body, tail);
    }
}

}  // namespace

void copy_any_to_all(std::span<std::byte* const> places, Bytes head, Bytes body, Bytes tail) noexcept {
    if (places.size() == 3) {
        return copy_any(Rings<3>(places), head, body, tail);
    }
    copy_any(Rings<kAnyRings>(places), head, body, tail);
}

}  // namespace mu::racy
