#include "app/cli/output.h"

#include <cerrno>
#include <cstdio>
#include <iterator>

#include <unistd.h>

namespace tailrace::app {

namespace {

int output_error = 0;  // errno of the first write that failed

void note_failure(bool failed) {
  if (failed && output_error == 0) output_error = errno != 0 ? errno : EIO;
}

}  // namespace

void gather_output() {
  static char memory[size_t{64} << 10];
  if (::isatty(STDOUT_FILENO) == 1) return;
  (void)std::setvbuf(stdout, memory, _IOFBF, sizeof memory);
}

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

std::string bytes_text(uint64_t bytes) {
  constexpr uint64_t kUnit = 1024;
  if (bytes < kUnit) return fmt::format("{} bytes", bytes);
  double amount = static_cast<double>(bytes) / kUnit;
  size_t unit = 0;
  constexpr std::string_view kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  // What would be shown as 1024.0 of a unit is 1.0 of the next.
  for (; amount >= 1023.95 && unit + 1 < std::size(kUnits); ++unit)
    amount /= kUnit;
  return fmt::format("{:.1f} {}", amount, kUnits[unit]);
}

}  // namespace tailrace::app
