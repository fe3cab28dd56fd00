#pragma once
// How much of a server's answer `top` takes. A server may be broken or hostile, and the screen must
// stay quick whatever it says.

#include <cstddef>

#include "app/top/snapshot.h"

namespace tailrace::app::top {

/// Of members, followers, anchors and stages of one answer.
inline constexpr size_t kMostListed = 128;
/// Of a text in an answer, such as a problem.
inline constexpr size_t kMostTextBytes = 1000;

/// Cuts all answers to these bounds, and notes in `snapshot.left_out` what is left out.
void bound(Snapshot& snapshot);

}  // namespace tailrace::app::top
