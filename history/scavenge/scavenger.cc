#include "history/scavenge/scavenger.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "core/clock.h"
#include "core/thread.h"
#include "history/floor_cursor.h"
#include "history/format/content_hash.h"
#include "history/scavenge/dead_events.h"
#include "observability/logging.h"
#include "storage/atomic_file.h"

namespace tailrace::history {
namespace {

constexpr storage::AtomicFileFormat kScavengedFormat{storage::four_letters("EVSC"), 1};
constexpr std::string_view kScavengedName = "SCAVENGED";
/// After errors that follow each other a look is taken less and less often.
constexpr int kLongestInterval = 64;

}  // namespace

Scavenger::Scavenger(storage::FileSystem& file_system, ScavengeHost& host,
                     const ScavengerOptions& options)
    : file_system_(file_system), host_(host), options_(options) {}

Scavenger::~Scavenger() {
  stop();
}

Result<std::unique_ptr<Scavenger>> Scavenger::open(storage::FileSystem& file_system,
                                                   ScavengeHost& host, ScavengerOptions options) {
  std::unique_ptr<Scavenger> scavenger(new Scavenger(file_system, host, options));
  TAILRACE_RETURN_IF_ERROR(scavenger->load());
  scavenger->tell();
  return scavenger;
}

Result<> Scavenger::load() {
  static_assert(sizeof(Done) == 24 && std::is_trivially_copyable_v<Done>);
  const storage::Path path = host_.catalogue().directory() / kScavengedName;
  const auto content = storage::read_atomic_file(file_system_, path, kScavengedFormat);
  if (content && content->bytes.size() == sizeof done_) {
    done_ = tailrace::load<Done>(content->bytes.data());
    return {};
  }
  if (!content && content.error().code == ErrorCode::kNotFound) return {};
  if (!content && content.error().code != ErrorCode::kCorruption)
    return tl::unexpected(content.error());
  // Only work is at stake: it is done again, and finds nothing to do.
  observability::log_warning("{}: it is damaged; the event files are scavenged again",
                             path.string());
  return {};
}

void Scavenger::start() {
  thread_ = named_thread("scavenger", [this] { run(); });
}

void Scavenger::stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  stop_.request_stop();
  work_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Scavenger::scavenge(Address to) {
  {
    const MutexLock lock(mutex_);
    if (to <= wanted_) return;
    wanted_ = to;
    awake_ = true;
  }
  work_.notify_all();
}

void Scavenger::run() {
  for (int intervals = 1;;) {
    if (options_.wanted) scavenge(options_.wanted());
    const auto worked = work(stop_.get_token());
    note(worked);
    tell();
    // What is missing is found out without reading anything.
    const bool is_cheap = worked || worked.error().code == ErrorCode::kUnavailable;
    intervals = is_cheap ? 1 : std::min(intervals * 2, kLongestInterval);
    MutexLock lock(mutex_);
    work_.wait_for(lock, options_.interval * intervals,
                   [this]() TAILRACE_REQUIRES(mutex_) { return awake_ || stopping_; });
    awake_ = false;
    if (stopping_) return;
  }
}

void Scavenger::note(const Result<>& worked) {
  const MutexLock lock(mutex_);
  if (worked) {
    trouble_.reset();
    return;
  }
  if (stopping_ || trouble_ == worked.error()) return;
  observability::log_warning("history: dead events stay in the files for now: {}",
                             worked.error().message);
  trouble_ = worked.error();
}

void Scavenger::tell() {
  ScavengeStatus status;
  status.done = holds(done_) ? done_.to : Address{};
  {
    const MutexLock lock(mutex_);
    status.wanted = std::max(wanted_, done_.to);
    status.trouble = trouble_;
  }
  host_.set_scavenge_status(std::move(status));
}

// ---- What is done.

std::vector<EventFileInfo> Scavenger::files_up_to(Address to) const {
  auto files = host_.catalogue().files();
  std::erase_if(files, [to](const EventFileInfo& info) { return info.range.end > to; });
  return files;
}

Scavenger::Done Scavenger::sum_of(Address to, const std::vector<EventFileInfo>& files) {
  ContentHash hash;
  for (const EventFileInfo& info : files) {
    const uint64_t numbers[] = {info.range.first.value, info.range.end.value, info.revision,
                                info.digest.high, info.digest.low};
    hash.add(std::as_bytes(std::span(numbers)));
  }
  const ContentDigest sum = hash.digest({});
  return {to, sum.high, sum.low};
}

bool Scavenger::holds(const Done& done) const {
  return done == sum_of(done.to, files_up_to(done.to));
}

Result<> Scavenger::work(const std::stop_token& stop) {
  for (;;) {
    Address to;
    {
      const MutexLock lock(mutex_);
      // The first that was asked for, then the newest: whoever asks often holds nobody up.
      if (next_ <= done_.to) next_ = wanted_;
      to = std::max(next_, done_.to);
    }
    if (to == Address{} || (done_.to == to && holds(done_))) return {};
    // The files up to there are not all written yet.
    if (host_.complete() < to) return {};
    for (const AddressRange& gap : host_.missing())
      if (gap.first < to)
        return make_error(ErrorCode::kUnavailable,
                          fmt::format("the event files of the log from {} to {} are missing, and "
                                      "are looked for on the other members",
                                      gap.first.value, gap.end.value));
    TAILRACE_RETURN_IF_ERROR(scavenge_all(to, stop));
  }
}

Result<> Scavenger::scavenge_all(Address to, const std::stop_token& stop) {
  auto files = files_up_to(to);
  std::optional<Error> damage;
  for (std::optional<std::string> first = std::string(); first;) {
    FloorTable floors(*first, options_.floor_bytes);
    const auto passed = pass(floors, files, stop);
    if (!passed && passed.error().code != ErrorCode::kCorruption) return passed;
    if (!passed && !damage) damage = passed.error();
    first = floors.end();
  }
  if (damage) return tl::unexpected(*damage);
  // Another one came, or one was dropped: all begins again.
  if (files_up_to(to) != files) return {};
  return confirm(sum_of(to, files));
}

/// `files` are those that are there behind it. kCorruption: all was done but for a damaged file.
Result<> Scavenger::pass(FloorTable& floors, std::vector<EventFileInfo>& files,
                         const std::stop_token& stop) {
  std::optional<Error> damage;
  const auto is_damage = [&](const EventFileInfo& info, const Error& error) {
    const bool is_absent = error.code == ErrorCode::kNotFound;
    // Dropped or replaced meanwhile: scavenge_all() sees that.
    if (is_absent && host_.catalogue().find(info.range.first) != info) return true;
    if (!is_absent && error.code != ErrorCode::kCorruption) return false;
    const Error lost{ErrorCode::kCorruption, error.message};
    if (!damage) damage = lost;
    host_.found_damaged(info, lost);
    return true;
  };
  for (const EventFileInfo& info : files)
    if (const auto read = read_floors(info, floors); !read && !is_damage(info, read.error()))
      return read;
  for (EventFileInfo& info : files) {
    if (floors.empty()) break;
    const SteadyTime begun = std::chrono::steady_clock::now();
    const auto now = scavenge_file(info, floors, stop);
    if (!now && !is_damage(info, now.error())) return tl::unexpected(now.error());
    if (now) info = *now;
    MutexLock lock(mutex_);
    if (options_.pauses)
      work_.wait_for(lock, std::chrono::steady_clock::now() - begun,
                     [this]() TAILRACE_REQUIRES(mutex_) { return stopping_; });
    if (stopping_ || stop.stop_requested())
      return make_error(ErrorCode::kCancelled, "the scavenger stops");
  }
  if (damage) return tl::unexpected(*damage);
  return {};
}

Result<> Scavenger::read_floors(const EventFileInfo& info, FloorTable& into) {
  TAILRACE_ASSIGN_OR_RETURN(const auto file, host_.catalogue().open_file(info, cache_));
  FloorCursor cursor = file->floors();
  for (;;) {
    TAILRACE_ASSIGN_OR_RETURN(const auto floor, cursor.next());
    if (!floor) return {};
    into.add(*floor);
  }
}

/// The file that is there now.
Result<EventFileInfo> Scavenger::scavenge_file(const EventFileInfo& info, const FloorTable& floors,
                                               const std::stop_token& stop) {
  TAILRACE_ASSIGN_OR_RETURN(const auto file, host_.catalogue().open_file(info, cache_));
  TAILRACE_ASSIGN_OR_RETURN(const uint32_t dead, count_dead(file, floors));
  if (dead == 0) return info;
  TAILRACE_RETURN_IF_ERROR(host_.check_room(info.bytes));
  TAILRACE_ASSIGN_OR_RETURN(const auto written,
                            write_without_dead(file_system_, host_.catalogue().directory(), file,
                                               floors, dead, options_.files, stop));
  TAILRACE_RETURN_IF_ERROR(host_.replace(info, written, dead));
  return written;
}

Result<> Scavenger::confirm(const Done& done) {
  const storage::Path& directory = host_.catalogue().directory();
  TAILRACE_RETURN_IF_ERROR(host_.catalogue().remove_replaced());
  std::byte content[sizeof done];
  store(content, done);
  TAILRACE_RETURN_IF_ERROR(storage::replace_atomic_file(file_system_, directory / kScavengedName,
                                                        kScavengedFormat, content));
  done_ = done;
  observability::log_info("history: no dead event is left in the files of the log up to address {}",
                          done.to.value);
  return {};
}

}  // namespace tailrace::history
