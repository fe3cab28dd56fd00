#include "app/cli/output.h"

#include <cerrno>
#include <cstdio>
#include <iterator>

#include <poll.h>
#include <unistd.h>

namespace tailrace::app {

namespace {

int output_error = 0;  // errno of the first write that failed

/// As write(2), but what does not fit now is waited for: whoever shares standard output may have
/// made it one that does not block. 0: it failed.
ssize_t write_waiting(void*, const char* bytes, size_t count) {
  size_t done = 0;
  while (done < count) {
    const ssize_t written = ::write(STDOUT_FILENO, bytes + done, count - done);
    if (written >= 0) {
      done += static_cast<size_t>(written);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return 0;
    pollfd room{STDOUT_FILENO, POLLOUT, 0};
    (void)::poll(&room, 1, -1);
  }
  return static_cast<ssize_t>(done);
}

/// Standard output with its own buffer: that of stdio loses what does not fit.
FILE* output() {
  static FILE* const file = [] {
    FILE* const made = ::fopencookie(nullptr, "w", {nullptr, write_waiting, nullptr, nullptr});
    if (made == nullptr) return stdout;
    (void)std::setvbuf(made, nullptr, ::isatty(STDOUT_FILENO) == 1 ? _IOLBF : _IOFBF, BUFSIZ);
    return made;
  }();
  return file;
}

void note_failure(bool failed) {
  if (failed && output_error == 0) output_error = errno != 0 ? errno : EIO;
}

}  // namespace

void gather_output() {
  static char memory[size_t{64} << 10];
  if (::isatty(STDOUT_FILENO) == 1) return;
  (void)std::setvbuf(output(), memory, _IOFBF, sizeof memory);
}

void write_out(std::string_view bytes) {
  if (output_error != 0) return;
  note_failure(std::fwrite(bytes.data(), 1, bytes.size(), output()) != bytes.size());
}

void write_error(std::string_view bytes) {
  (void)std::fwrite(bytes.data(), 1, bytes.size(), stderr);
}

bool output_fails() {
  return output_error != 0;
}

Result<> flush_output() {
  note_failure(std::fflush(output()) != 0);
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
