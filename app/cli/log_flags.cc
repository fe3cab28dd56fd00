#include "app/cli/log_flags.h"

#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"

namespace tailrace::app {

namespace {

class ProgressLine {
 public:
  explicit ProgressLine(std::string what) : what_(std::move(what)) {}
  ~ProgressLine() {
    if (shown_) print_error("\r\033[K");
  }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void show(uint64_t done, uint64_t total) {
    shown_ = true;
    print_error("\r{} {} of {} MiB", what_, done >> 20, total >> 20);
  }

 private:
  const std::string what_;
  bool shown_ = false;
};

}  // namespace

void LogFlags::add_to(CLI::App& verb) {
  verb.add_option("DIR", directory, "The log's directory (it holds META)")->required();
  whole_number(
      verb.add_option(
          "--page-bytes", page_bytes,
          "The log's page size; needed only when META is lost and the segments do not show it"),
      0, uint64_t{64} << 20);
  whole_number(
      verb.add_option(
          "--segment-bytes", segment_bytes,
          "The log's segment size; needed only when META is lost and the segments do not show it"),
      0, uint64_t{64} << 30);
}

int report_unreadable(Error error, const std::string& directory) {
  const storage::Path inside = storage::Path(directory) / "log";
  std::error_code ignored;
  if (error.code == ErrorCode::kNotFound &&
      std::filesystem::exists(inside / fasterlog::kMetadataName, ignored))
    error.message += fmt::format("; the log is the folder {} in it", inside.string());
  return report(error);
}

std::function<void(uint64_t done, uint64_t total)> terminal_progress(std::string what) {
  if (::isatty(STDERR_FILENO) != 1) return {};
  return [line = std::make_shared<ProgressLine>(std::move(what))](uint64_t done, uint64_t total) {
    line->show(done, total);
  };
}

}  // namespace tailrace::app
