#include "app/bench/service/history_file.h"

#include <nlohmann/json.hpp>

#include "app/cli/json_text.h"

namespace tailrace::app {

namespace {

using Operation = HistoryEntry::Operation;
using Outcome = HistoryEntry::Outcome;

std::string_view name_of(Operation operation) {
  switch (operation) {
    case Operation::kPut:
      return "put";
    case Operation::kGet:
      return "get";
    case Operation::kCas:
      return "cas";
    case Operation::kInsert:
      return "insert";
    case Operation::kAdd:
      return "add";
    case Operation::kDelete:
      break;
  }
  return "delete";
}

std::string_view name_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kOk:
      return "ok";
    case Outcome::kFail:
      return "fail";
    case Outcome::kUnknown:
      break;
  }
  return "unknown";
}

uint64_t nanoseconds(SteadyTime time) {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<Nanoseconds>(time.time_since_epoch()).count());
}

/// All of the line but its times, which are known last.
nlohmann::ordered_json describe(const HistoryEntry& entry) {
  nlohmann::ordered_json out = {
      {"client", entry.client}, {"op", name_of(entry.operation)}, {"key", entry.key}};
  if (entry.operation != Operation::kGet && entry.operation != Operation::kDelete)
    out["value"] = entry.value;
  if (entry.operation == Operation::kCas) out["expected"] = entry.expected;
  const auto seen = [&] {
    return entry.seen ? nlohmann::ordered_json(*entry.seen) : nlohmann::ordered_json();
  };
  const bool swaps = entry.operation == Operation::kCas || entry.operation == Operation::kInsert;
  if (entry.done)
    out["result"] = *entry.done;
  else if (entry.said && !swaps)
    out["result"] = seen();
  if (entry.said && swaps) out["present"] = seen();
  return out;
}

}  // namespace

Result<std::unique_ptr<HistoryFile>> HistoryFile::create(storage::FileSystem& file_system,
                                                         const storage::Path& path) {
  TAILRACE_ASSIGN_OR_RETURN(auto file,
                            file_system.open(path, {.mode = storage::OpenMode::kCreateReadWrite}));
  TAILRACE_ASSIGN_OR_RETURN(const auto size, file->size());
  if (size > 0) TAILRACE_RETURN_IF_ERROR(file->truncate(0));
  return std::make_unique<HistoryFile>(std::move(file));
}

Result<SteadyTime> HistoryFile::add(const HistoryEntry& entry) {
  nlohmann::ordered_json out = describe(entry);
  const MutexLock lock(mutex_);
  if (failed_) return tl::unexpected(*failed_);
  // Under the lock: the order of the lines is that of these times. An interval that is longer by
  // the wait is no less true.
  const SteadyTime returned = system_clock().now();
  out["invoke_ns"] = nanoseconds(entry.invoked);
  out["return_ns"] = nanoseconds(returned);
  out["outcome"] = name_of(entry.outcome);
  if (entry.outcome != Outcome::kOk) out["error"] = entry.error;
  // What is no UTF-8 was not written by this load: replaced, it is still not what was written.
  const std::string line = json_text(out) + "\n";
  if (auto written = file_->write_at(end_, as_bytes(line)); !written) {
    failed_ = std::move(written).error();
    return tl::unexpected(*failed_);
  }
  end_ += line.size();
  return returned;
}

}  // namespace tailrace::app
