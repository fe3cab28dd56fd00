#include "history/history.h"

#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "fasterlog/format/record.h"
#include "history/format/file_name.h"
#include "history/posting_walk.h"
#include "observability/logging.h"
#include "observability/metric_table.h"

namespace tailrace::history {
namespace {

constexpr size_t kMostOpenFiles = 64;

}  // namespace

History::History(storage::FileSystem& file_system, std::unique_ptr<Catalogue> catalogue,
                 fasterlog::Log& log, statemachine::AnchorRegistry& anchors,
                 statemachine::OutcomeLog& outcomes, const HistorianOptions& options)
    : catalogue_(std::move(catalogue)),
      logged_(outcomes),
      historian_(file_system, log, anchors, *catalogue_, logged_, options),
      file_system_(file_system),
      reserve_disk_bytes_(options.reserve_disk_bytes) {}

Result<std::unique_ptr<History>> History::open(storage::FileSystem& file_system,
                                               storage::Path directory, fasterlog::Log& log,
                                               statemachine::AnchorRegistry& anchors,
                                               statemachine::OutcomeLog& outcomes,
                                               HistorianOptions options) {
  TAILRACE_ASSIGN_OR_RETURN(auto catalogue, Catalogue::open(file_system, std::move(directory)));
  options.known_from = outcomes.known_from();
  options.has_no_outcomes_yet = outcomes.bytes_on_disk() == 0;
  options.on_complete = [&outcomes](Address complete) { return outcomes.release(complete); };
  return std::unique_ptr<History>(
      new History(file_system, std::move(catalogue), log, anchors, outcomes, options));
}

Result<std::shared_ptr<const EventFile>> History::file_of(const EventFileInfo& info) {
  MutexLock lock(files_mutex_);
  const auto found = std::find_if(open_files_.begin(), open_files_.end(),
                                  [&](const auto& each) { return each.first == info; });
  if (found != open_files_.end()) {
    std::rotate(open_files_.begin(), found, found + 1);
    return open_files_.front().second;
  }
  lock.unlock();
  TAILRACE_ASSIGN_OR_RETURN(auto file, catalogue_->open_file(info, cache_));
  lock.lock();
  if (catalogue_->find(info.range.first) != info) return file;  // dropped meanwhile
  open_files_.insert(open_files_.begin(), {info, file});
  if (open_files_.size() > kMostOpenFiles) open_files_.pop_back();
  return file;
}

Result<> History::read_stream(std::string_view stream, uint64_t version, Address record,
                              Order order, const Visitor& visit) {
  const auto info = catalogue_->find(record);
  if (!info) {
    const std::string what =
        fmt::format("no event file has the record at address {}", record.value);
    const MutexLock lock(files_mutex_);
    const bool is_gone = std::any_of(nobody_has_.begin(), nobody_has_.end(),
                                     [&](const AddressRange& gap) { return gap.contains(record); });
    if (is_gone) return make_error(ErrorCode::kNotFound, what);
    return make_error(ErrorCode::kUnavailable,
                      what + " on this node; it is looked for on the others");
  }
  const auto file = file_of(*info);
  // Scavenged meanwhile: there is another one in its place.
  if (!file && catalogue_->find(record) != info)
    return read_stream(stream, version, record, order, visit);
  // A file that is not there is as lost as one that is damaged.
  const Result<> read = file ? read_file(**file, stream, version, order, visit)
                             : Result<>(make_error(ErrorCode::kCorruption, file.error().message));
  if (read || !is_lost(read.error())) return read;
  drop(*info, read.error());
  return make_error(ErrorCode::kUnavailable,
                    fmt::format("the event file that has event {} of stream '{}' is damaged on "
                                "this node; it is fetched from another",
                                version, stream));
}

Result<> History::read_file(const EventFile& file, std::string_view stream, uint64_t version,
                            Order order, const Visitor& visit) const {
  EventCursor cursor = file.events_of_stream(stream, version, order);
  for (uint64_t expected = version;;) {
    TAILRACE_ASSIGN_OR_RETURN(const EventEntry* const event, cursor.next());
    if (event == nullptr && expected != version) return {};
    if (event == nullptr || event->version != expected)
      return make_error(ErrorCode::kNotFound,
                        fmt::format("{}: event {} of stream '{}' is not in the file",
                                    file.path().string(), expected, stream));
    if (!visit(*event)) return {};
    expected += order == Order::kForwards ? 1 : uint64_t{0} - 1;
  }
}

bool History::is_lost(const Error& error) const {
  const bool is_damage = error.code == ErrorCode::kCorruption || error.code == ErrorCode::kIo;
  // Alone, what is sound of the file is still worth having.
  return is_damage && has_others_.load();
}

void History::drop(const EventFileInfo& info, const Error& why) {
  observability::log_error("history: {}; the file is put aside, and another is looked for",
                           why.message);
  damaged_.add();
  close(info);
  forget_scavenged();
  // Whoever else has found it was quicker.
  if (const auto dropped = catalogue_->drop(info);
      !dropped && dropped.error().code != ErrorCode::kNotFound)
    observability::log_error("history: {}", dropped.error().message);
}

void History::close(const EventFileInfo& info) {
  const MutexLock lock(files_mutex_);
  std::erase_if(open_files_, [&](const auto& each) { return each.first == info; });
}

// ---- Where events still are.

Result<uint64_t> History::count_events(const EventFileInfo& info, std::string_view stream) {
  BlockCache none(0);
  TAILRACE_ASSIGN_OR_RETURN(const auto file, catalogue_->open_file(info, none));
  StreamWalk streams(*file);
  TAILRACE_RETURN_IF_ERROR(streams.seek(stream));
  for (uint64_t events = 0;;) {
    TAILRACE_ASSIGN_OR_RETURN(const bool any, streams.next());
    if (!any || streams.name() != stream) return events;
    TAILRACE_ASSIGN_OR_RETURN(const uint32_t all, streams.count_below(UINT64_MAX));
    events += all;
  }
}

Result<std::vector<storage::Path>> History::unread_files() const {
  TAILRACE_ASSIGN_OR_RETURN(const auto names, file_system_.list(catalogue_->directory()));
  std::vector<storage::Path> found;
  for (const std::string& name : names) {
    const auto file = parse_file_name(name);
    // One that was replaced and could not be removed is an event file by its name only.
    const bool is_replaced = file && catalogue_->find(file->range.first) != file;
    if (is_replaced || name.ends_with(kDamagedSuffix) || name.ends_with(kTemporarySuffix))
      found.push_back(catalogue_->directory() / name);
  }
  return found;
}

// ---- Scavenging.

Result<> History::replace(const EventFileInfo& before, const EventFileInfo& now, uint32_t removed) {
  TAILRACE_RETURN_IF_ERROR(catalogue_->add(now));
  close(before);
  removed_.add(removed);
  return {};
}

void History::found_damaged(const EventFileInfo& info, const Error& error) {
  if (is_lost(error)) drop(info, error);
}

void History::set_scavenge_status(ScavengeStatus status) {
  historian_.want(status.wanted);
  const MutexLock lock(files_mutex_);
  scavenge_ = std::move(status);
}

void History::forget_scavenged() {
  const MutexLock lock(files_mutex_);
  scavenge_.done = {};
}

// ---- Files of others.

std::vector<AddressRange> History::missing() const {
  auto gaps = catalogue_->gaps({fasterlog::kFirstAddress, complete()});
  std::vector<AddressRange> nobodys;
  {
    const MutexLock lock(files_mutex_);
    nobodys = nobody_has_;
  }
  std::erase_if(gaps, [&](const AddressRange& gap) {
    return std::any_of(nobodys.begin(), nobodys.end(), [&](const AddressRange& range) {
      return range.first <= gap.first && gap.end <= range.end;
    });
  });
  return gaps;
}

void History::nobody_has(std::vector<AddressRange> gaps) {
  const MutexLock lock(files_mutex_);
  nobody_has_ = std::move(gaps);
}

Result<> History::check_room(uint64_t bytes) const {
  TAILRACE_ASSIGN_OR_RETURN(const auto space, file_system_.space(catalogue_->directory()));
  if (space.available_bytes >= reserve_disk_bytes_ + bytes) return {};
  return make_error(ErrorCode::kResourceExhausted,
                    fmt::format("{}: {} bytes are free, an event file takes {} and {} are to stay "
                                "free; make room on the disk",
                                catalogue_->directory().string(), space.available_bytes, bytes,
                                reserve_disk_bytes_));
}

Result<> History::adopt(const storage::Path& temporary, const EventFileInfo& promised) {
  {
    TAILRACE_ASSIGN_OR_RETURN(const auto file, EventFile::open(file_system_, temporary, cache_));
    if (file->summary().info != promised) {
      (void)file_system_.remove(temporary);
      return make_error(ErrorCode::kCorruption, "it is another file than was promised");
    }
  }
  TAILRACE_RETURN_IF_ERROR(catalogue_->adopt(temporary, cache_));
  forget_scavenged();
  fetched_.add();
  observability::log_info("history: the event file of the log from {} to {} was fetched",
                          promised.range.first.value, promised.range.end.value);
  return {};
}

Result<> History::verify(const EventFileInfo& info) {
  const auto file = catalogue_->open_file(info, cache_);
  if (!file && catalogue_->find(info.range.first) != info) return {};  // it is not to be sound now
  const Result<> sound =
      file ? (*file)->verify() : Result<>(make_error(ErrorCode::kCorruption, file.error().message));
  if (!sound && is_lost(sound.error())) drop(info, sound.error());
  return sound;
}

HistoryStatus History::status() const {
  HistoryStatus status;
  status.historian = historian_.status();
  const auto files = catalogue_->files();
  status.files = files.size();
  status.bytes = catalogue_->total_bytes();
  const Address end = status.historian.complete;
  const Address first = files.empty() ? end : files.front().range.first;
  status.range = {std::min(first, end), end};
  for (const AddressRange& gap : missing())
    status.missing += gap.bytes();
  status.removed = removed_.value();
  const MutexLock lock(files_mutex_);
  status.scavenge = scavenge_;
  return status;
}

void History::register_metrics(observability::MetricRegistry& registry) {
  metrics_ = registry.registration();
  const auto gauge = [&](const observability::MetricInfo& metric, auto read) {
    registry.add_gauge(metrics_, metric, {},
                       [this, read] { return static_cast<double>(read(status())); });
  };
  gauge(observability::metric("tailrace_history_files"),
        [](const HistoryStatus& status) { return status.files; });
  gauge(observability::metric("tailrace_history_bytes"),
        [](const HistoryStatus& status) { return status.bytes; });
  gauge(observability::metric("tailrace_history_missing_bytes"),
        [](const HistoryStatus& status) { return status.missing; });
  registry.add_counter(metrics_, observability::metric("tailrace_history_fetched_files_total"), {},
                       fetched_);
  registry.add_counter(metrics_, observability::metric("tailrace_history_damaged_files_total"), {},
                       damaged_);
  gauge(observability::metric("tailrace_history_scavenged_address_bytes"),
        [](const HistoryStatus& status) { return status.scavenge.done.value; });
  registry.add_counter(metrics_, observability::metric("tailrace_history_removed_events_total"), {},
                       removed_);
  gauge(observability::metric("tailrace_history_held_back"),
        [](const HistoryStatus& status) { return status.historian.trouble ? 1 : 0; });
}

}  // namespace tailrace::history
