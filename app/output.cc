#include "app/output.h"

#include <cerrno>

#include <unistd.h>

namespace tailrace::app {

namespace {

int output_error = 0;  // errno of the first write that failed

void note_failure(bool failed) {
  if (failed && output_error == 0) output_error = errno != 0 ? errno : EIO;
}

}  // namespace

void write_out(std::string_view bytes) {
  if (output_error != 0) return;
  note_failure(std::fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size());
}

void write_error(std::string_view bytes) {
  (void)std::fwrite(bytes.data(), 1, bytes.size(), stderr);
}

bool output_fails() {
  return output_error != 0;
}

Result<> flush_output() {
  note_failure(std::fflush(stdout) != 0);
  if (output_error == 0) return {};
  return tl::unexpected(io_error("write", "standard output", output_error));
}

Result<> print_value(std::string_view value) {
  write_out(value);
  if (::isatty(STDOUT_FILENO) == 1) write_out("\n");
  return flush_output();
}

}  // namespace tailrace::app
