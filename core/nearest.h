#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace tailrace {

/// For a hint: the candidate within an editing distance that a slip of the finger explains, or
/// nothing. A word that is longer than any hint is worth is compared with none.
std::optional<std::string_view> nearest(std::string_view word,
                                        std::span<const std::string_view> candidates);

}  // namespace tailrace
