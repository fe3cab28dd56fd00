#include "app/cli/line_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>
#include <unistd.h>

namespace tailrace::app {

namespace {

constexpr size_t kReadBytes = 1u << 20;

/// Appends what one read brings; false at the end.
Result<bool> read_onto(std::string& text, int descriptor, const std::string& name) {
  const size_t had = text.size();
  for (;;) {
    text.resize(had + kReadBytes);
    const ssize_t got = ::read(descriptor, text.data() + had, kReadBytes);
    const int error_number = errno;
    text.resize(had + (got > 0 ? static_cast<size_t>(got) : 0));
    if (got >= 0) return got > 0;
    if (error_number != EINTR) return tl::unexpected(io_error("read", name, error_number));
  }
}

}  // namespace

bool LineReader::ready() {
  const void* found = std::memchr(text_.data() + scanned_, '\n', text_.size() - scanned_);
  scanned_ = found == nullptr ? text_.size()
                              : static_cast<size_t>(static_cast<const char*>(found) - text_.data());
  return found != nullptr;
}

Result<std::optional<std::string_view>> LineReader::next() {
  while (!ready() && !ended_ && scanned_ - begin_ <= most_bytes_)
    TAILRACE_RETURN_IF_ERROR(read_more());
  if (begin_ == text_.size()) return std::nullopt;
  ++number_;
  const std::string_view line = std::string_view(text_).substr(begin_, scanned_ - begin_);
  if (line.size() > most_bytes_)
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("{}: line {} is longer than {} bytes, the most that a line may "
                                  "have",
                                  name_, number_, most_bytes_));
  begin_ = scanned_ = std::min(scanned_ + 1, text_.size());
  return line;
}

Result<> LineReader::read_more() {
  text_.erase(0, begin_);
  scanned_ -= begin_;
  begin_ = 0;
  TAILRACE_ASSIGN_OR_RETURN(const auto more, read_onto(text_, descriptor_, name_));
  ended_ = !more;
  return {};
}

Result<std::string> read_whole(int descriptor, const std::string& name, size_t most_bytes) {
  std::string text;
  for (;;) {
    TAILRACE_ASSIGN_OR_RETURN(const auto more, read_onto(text, descriptor, name));
    if (text.size() > most_bytes)
      return make_error(ErrorCode::kInvalidArgument,
                        fmt::format("{} has more than {} bytes, the most that a value may have",
                                    name, most_bytes));
    if (!more) return text;
  }
}

}  // namespace tailrace::app
