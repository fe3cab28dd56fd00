#pragma once
// What comes through standard input or from a file: lines, or all of it as one value. Memory and
// time are bounded by what is taken, however much is sent.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"

namespace tailrace::app {

/// No event and no value is longer: each stands in one page of a log, and no log has larger pages.
inline constexpr size_t kMostValueBytes = size_t{64} << 20;

class LineReader {
 public:
  /// `descriptor` stays the caller's; `name` is for messages; a line may have `most_bytes`.
  LineReader(int descriptor, std::string name, size_t most_bytes)
      : descriptor_(descriptor), name_(std::move(name)), most_bytes_(most_bytes) {}

  /// The next line without its newline; nothing at the end. The last one needs no newline. Blocks
  /// unless ready(); only a call that reads more makes the lines before invalid.
  /// kInvalidArgument as soon as a line is too long, kIo when reading fails.
  Result<std::optional<std::string_view>> next();
  /// Whether next() has a line without reading more.
  bool ready();
  /// Of the line that next() gave last, from 1 on; 0: none yet.
  uint64_t number() const { return number_; }
  const std::string& name() const { return name_; }

 private:
  Result<> read_more();

  const int descriptor_;
  const std::string name_;
  const size_t most_bytes_;
  std::string text_;
  size_t begin_ = 0;    // of what was not given yet
  size_t scanned_ = 0;  // no newline stands between begin_ and this
  bool ended_ = false;
  uint64_t number_ = 0;
};

/// All that `descriptor` has, exactly. kInvalidArgument when it is more than `most_bytes`.
Result<std::string> read_whole(int descriptor, const std::string& name, size_t most_bytes);

}  // namespace tailrace::app
