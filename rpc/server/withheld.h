#pragma once
// What clients are not told: where a node has its files. Errors of the disk name them, for the
// node's own log.

#include <map>
#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/mutex.h"

namespace tailrace::rpc {

/// The message without the folders of the files that it names. What is in `data_directory` (empty:
/// not known) keeps its place there, "data_dir/log/…"; of any other file with an absolute path the
/// last part of its name is left.
std::string without_folders(std::string_view message, std::string_view data_directory);

/// Which messages were written to the log lately: a client that asks on is no news. Any thread.
class WithheldMessages {
 public:
  bool is_news(const std::string& message, SteadyTime now);

 private:
  Mutex mutex_;
  std::map<std::string, SteadyTime> logged_ TAILRACE_GUARDED_BY(mutex_);
};

}  // namespace tailrace::rpc
