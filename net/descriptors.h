#pragma once
// What strangers leave of the files that this process may have open. Internal.

namespace tailrace::net {

/// What is said then.
inline constexpr const char* kTooFewLeft =
    "nearly all files that may be open are: raise the limit (ulimit -n, LimitNOFILE)";

/// Whether a connection that was just accepted is one too many, and is to be closed: a quarter of
/// what may be open (64 to 1,024) is left to the log, the store and the other nodes. Short of
/// files a node cannot open the next one of its log, and has to stop. The system gives the lowest
/// number that is free, so one near the limit says that nearly all are taken. `of_nodes`: it came
/// where other nodes do, who may have a quarter of that. Any thread.
bool leaves_too_few(int descriptor, bool of_nodes = false);

}  // namespace tailrace::net
