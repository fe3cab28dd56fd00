#pragma once
// Threads that say what they do: the name stands in top, in a debugger, and as the label `thread`
// of metrics (observability/process_metrics.h).

#include <thread>
#include <utility>

namespace tailrace {

/// Names the calling thread: at most 15 characters of the kernel's; longer ones are cut.
void name_thread(const char* name);

/// A thread that is called `name` and runs `function`.
template <typename Function>
std::thread named_thread(const char* name, Function function) {
  return std::thread([name, function = std::move(function)]() mutable {
    name_thread(name);
    function();
  });
}

}  // namespace tailrace
