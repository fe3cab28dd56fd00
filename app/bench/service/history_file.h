#pragma once
// What clients asked and were told, an operation a line, for a judge of linearizability. The lines
// are described in docs/benchmarks.md.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/mutex.h"
#include "core/result.h"
#include "storage/file_system.h"

namespace tailrace::app {

struct HistoryEntry {
  enum class Operation : uint8_t { kPut, kGet, kCas, kInsert, kAdd, kDelete };
  enum class Outcome : uint8_t {
    kOk,
    kFail,     // certainly not done
    kUnknown,  // it may have been done, or may be yet
  };
  uint32_t client = 0;
  Operation operation = Operation::kPut;
  std::string key;
  std::string value;     // put, cas, insert: to be written; add: what is added
  std::string expected;  // cas
  SteadyTime invoked;
  Outcome outcome = Outcome::kOk;
  std::string error;  // unless kOk

  // Answers, of kOk.
  /// cas: the value was the expected one; insert: there was none; delete: the key was there.
  std::optional<bool> done;
  bool said = false;  // `seen` was answered; nothing in it: the key was absent
  /// get: the value; add: the sum; a cas or insert that was not done: the value in the way.
  std::optional<std::string> seen;
};

/// Any thread may call.
class HistoryFile {
 public:
  /// Replaces what the file held.
  static Result<std::unique_ptr<HistoryFile>> create(storage::FileSystem& file_system,
                                                     const storage::Path& path);
  explicit HistoryFile(std::unique_ptr<storage::File> file) : file_(std::move(file)) {}

  /// The operation returns now; the moment of the return is the result. Its line is with the
  /// operating system, whole, when this comes back, so that a killed process leaves whole lines.
  /// The lines are in the order of the returns. After a failed write every call fails.
  Result<SteadyTime> add(const HistoryEntry& entry);

 private:
  const std::unique_ptr<storage::File> file_;
  Mutex mutex_;
  uint64_t end_ TAILRACE_GUARDED_BY(mutex_) = 0;
  std::optional<Error> failed_ TAILRACE_GUARDED_BY(mutex_);
};

}  // namespace tailrace::app
