#pragma once
// What the verbs that look at a log's files share.

#include <cstdint>
#include <functional>
#include <string>

#include "core/result.h"
#include "fasterlog/offline/log_files.h"

namespace CLI {
class App;
}

namespace tailrace::app {

struct LogFlags {
  std::string directory;
  uint64_t page_bytes = 0, segment_bytes = 0;

  /// Adds DIR, --page-bytes and --segment-bytes.
  void add_to(CLI::App& verb);
  fasterlog::LogSizes sizes() const { return {page_bytes, segment_bytes}; }
};

/// Reports why the log at DIR cannot be looked at, with a hint when DIR only holds one.
int report_unreadable(Error error, const std::string& directory);

/// Shows on standard error how far `what` is when that is a terminal; else empty. The line is
/// wiped when the last copy is gone.
std::function<void(uint64_t done, uint64_t total)> terminal_progress(std::string what);

}  // namespace tailrace::app
