#pragma once
// What strangers leave of the files that this process may have open. Internal.

namespace tailrace::net {

/// So many descriptors are left to the log, the store and the other nodes, however many connect.
/// Short of them a node cannot open the next file of its log, and has to stop.
inline constexpr int kHeldBack = 64;

/// Whether a connection that was just accepted is one too many, and is to be closed. The system
/// gives the lowest number that is free: one near the limit says that nearly all are taken. Any
/// thread.
bool leaves_too_few(int descriptor, int held_back = kHeldBack);

}  // namespace tailrace::net
