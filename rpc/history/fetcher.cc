#include "rpc/history/fetcher.h"

#include <algorithm>
#include <utility>

#include "core/thread.h"
#include "observability/logging.h"

namespace tailrace::rpc {
namespace {

constexpr uint32_t kPieceBytes = 1u << 20;
constexpr const char* kFetchedName = "fetched.tmp";

history::EventFileInfo info_of(const HistoryFile& file) {
  history::EventFileInfo info;
  info.range = file.range;
  info.revision = file.revision;
  info.digest = {file.digest_high, file.digest_low};
  info.bytes = file.bytes;
  return info;
}

}  // namespace

HistoryFetcher::HistoryFetcher(storage::FileSystem& file_system, history::History& history,
                               Others others, FetcherOptions options)
    : file_system_(file_system), history_(history), others_(std::move(others)), options_(options) {}

HistoryFetcher::~HistoryFetcher() {
  stop();
}

void HistoryFetcher::start() {
  thread_ = named_thread("history-fetch", [this] { run(); });
}

void HistoryFetcher::stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  if (thread_.joinable()) thread_.join();
}

bool HistoryFetcher::stopping() const {
  const MutexLock lock(mutex_);
  return stopping_;
}

void HistoryFetcher::run() {
  SteadyTime asked{}, read = std::chrono::steady_clock::now();
  bool is_whole = false;
  for (;;) {
    const SteadyTime now = std::chrono::steady_clock::now();
    const bool lacks = !history_.missing().empty();
    if (now - asked >= (is_whole && !lacks ? options_.idle_interval : options_.interval)) {
      is_whole = look_around();
      asked = std::chrono::steady_clock::now();
    }
    if (now - read >= options_.scrub_interval) {
      read = now;
      scrub();
    }
    MutexLock lock(mutex_);
    work_.wait_for(lock, options_.interval / 4,
                   [this]() TAILRACE_REQUIRES(mutex_) { return stopping_; });
    if (stopping_) return;
  }
}

/// Files of the others that have what no file here has.
bool HistoryFetcher::wants(const HistoryFile& file) const {
  if (file.range.first >= file.range.end || file.range.end > history_.complete()) return false;
  const auto next = history_.catalogue().first_behind(file.range.first);
  return !next || next->range.first >= file.range.end;
}

bool HistoryFetcher::look_around() {
  const auto servers = others_();
  history_.set_others(!servers.empty());
  if (servers.empty()) {
    history_.nobody_has(history_.catalogue().gaps({Address{}, history_.complete()}));
    return true;
  }
  ClientOptions options;
  options.servers = servers;
  options.timeout = options_.timeout;
  const auto client = Client::create(options);
  bool all_asked = client.has_value(), failed = false;
  Address complete;  // up to there one of them has all that there will be
  for (size_t i = 0; client && i < servers.size(); ++i) {
    if (stopping()) return false;
    const auto answer = (*client)->history(servers[i]);
    // An older program has no history, and says that it does not know the question.
    if (!answer && answer.error().code != ErrorCode::kUnsupported) all_asked = false;
    if (!answer) continue;
    complete = std::max(complete, answer->range.end);
    for (auto file = answer->listed.rbegin(); file != answer->listed.rend(); ++file) {
      if (stopping()) return false;
      if (!wants(*file)) continue;
      const auto fetched = fetch(**client, servers[i], *file);
      if (fetched) continue;
      failed = true;
      observability::log_warning(
          "history: the event file of the log from {} to {} did not come "
          "from {}: {}",
          file->range.first.value, file->range.end.value, servers[i], fetched.error().message);
      break;
    }
  }
  if (!all_asked || failed) return false;
  // What lies behind is in their logs: it comes when they have written it.
  std::vector<AddressRange> left;
  for (const AddressRange& gap : history_.catalogue().gaps({Address{}, history_.complete()}))
    if (gap.first < complete) left.push_back({gap.first, std::min(gap.end, complete)});
  history_.nobody_has(left);
  return true;
}

Result<> HistoryFetcher::fetch(Client& client, const std::string& server, const HistoryFile& file) {
  const storage::Path path = history_.catalogue().directory() / kFetchedName;
  const auto fetched = fetch_to(path, client, server, file);
  // Nobody reads what has come of it, and it may be of events that are to be erased.
  if (!fetched) (void)file_system_.remove(path);
  return fetched;
}

Result<> HistoryFetcher::fetch_to(const storage::Path& path, Client& client,
                                  const std::string& server, const HistoryFile& file) {
  TAILRACE_RETURN_IF_ERROR(history_.check_room(file.bytes));
  {
    TAILRACE_ASSIGN_OR_RETURN(
        const auto to, file_system_.open(path, {storage::OpenMode::kCreateReadWrite, false}));
    TAILRACE_RETURN_IF_ERROR(to->truncate(0));
    for (uint64_t offset = 0; offset < file.bytes;) {
      if (stopping()) return make_error(ErrorCode::kCancelled, "the node stops");
      TAILRACE_ASSIGN_OR_RETURN(const std::string piece,
                                client.history_piece(server, file, offset, kPieceBytes));
      if (piece.empty()) return make_error(ErrorCode::kCorruption, "it ends early");
      TAILRACE_RETURN_IF_ERROR(to->write_at(offset, as_bytes(piece)));
      offset += piece.size();
    }
  }
  return history_.adopt(path, info_of(file));
}

void HistoryFetcher::scrub() {
  const auto files = history_.catalogue().files();
  if (files.empty()) return;
  auto next = std::find_if(files.begin(), files.end(),
                           [&](const auto& info) { return info.range.first >= scrubbed_; });
  if (next == files.end()) next = files.begin();
  scrubbed_ = next->range.end;
  if (const auto sound = history_.verify(*next); !sound)
    observability::log_error("history: {}", sound.error().message);
}

}  // namespace tailrace::rpc
