#include "history/stretch_writer.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "core/check.h"

namespace tailrace::history {

StretchWriter::StretchWriter(storage::FileSystem& file_system, fasterlog::Log& log,
                             Catalogue& catalogue, EventOutcomes& outcomes,
                             const HistorianOptions& options)
    : file_system_(file_system),
      log_(log),
      catalogue_(catalogue),
      outcomes_(outcomes),
      options_(options),
      events_(outcomes) {
  TAILRACE_CHECK(
      options.stretch_bytes > 0 && (options.stretch_bytes & (options.stretch_bytes - 1)) == 0,
      "a stretch of the log is a power of two");
}

Result<StretchWriter::Next> StretchWriter::next() const {
  const Address begin = log_.begin(), end = catalogue_.end();
  const Address needed = std::max(begin, options_.known_from);
  // A copied log may end before what this node knew: it gets that again.
  if (end > log_.durable() && options_.known_from == Address{})
    return make_error(
        ErrorCode::kFailedPrecondition,
        fmt::format("{}: the event files reach address {}, the log ends at {}; one of the two is "
                    "of another node: move the event files away",
                    catalogue_.directory().string(), end.value, log_.durable().value));
  if (end >= needed && end != Address{}) return Next{catalogue_.next_begin(), end};
  // The log begins for the first time, or what was truncated before transactions were known had
  // none. Later than that the event files were lost.
  const bool lacks_nothing = begin == fasterlog::kFirstAddress || options_.has_no_outcomes_yet;
  if (options_.known_from == Address{} && end == Address{} && lacks_nothing)
    return Next{fasterlog::kFirstAddress, begin};
  const Address whole{align_up(needed.value, options_.stretch_bytes)};
  return Next{whole, whole};
}

Result<Address> StretchWriter::complete() const {
  TAILRACE_ASSIGN_OR_RETURN(const Next next, this->next());
  // Known for the next start, too.
  if (catalogue_.end() == Address{} && next.begin < next.at)
    TAILRACE_RETURN_IF_ERROR(catalogue_.note_empty(next.begin, next.at));
  return next.at;
}

Result<> StretchWriter::check_room() const {
  TAILRACE_ASSIGN_OR_RETURN(const auto space, file_system_.space(catalogue_.directory()));
  const uint64_t wanted = options_.reserve_disk_bytes + options_.stretch_bytes;
  if (space.available_bytes >= wanted) return {};
  return make_error(ErrorCode::kResourceExhausted,
                    fmt::format("{}: {} bytes are free, an event file may take {} and {} are to "
                                "stay free; make room on the disk",
                                catalogue_.directory().string(), space.available_bytes,
                                options_.stretch_bytes, options_.reserve_disk_bytes));
}

Result<Address> StretchWriter::read(const Next& next, Address to, std::stop_token stop) {
  const auto scanner = log_.scan(next.at);
  const auto begin_file = [&]() -> Result<> {
    if (writer_) return {};
    TAILRACE_RETURN_IF_ERROR(check_room());
    TAILRACE_ASSIGN_OR_RETURN(writer_, EventFileWriter::create(file_system_, catalogue_.directory(),
                                                               next.begin, options_.files));
    return {};
  };
  RecordEvents::Sinks sinks;
  sinks.event = [&](const EventEntry& entry) -> Result<> {
    TAILRACE_RETURN_IF_ERROR(begin_file());
    return writer_->add(entry);
  };
  sinks.floor = [&](const StreamFloor& floor) -> Result<> {
    TAILRACE_RETURN_IF_ERROR(begin_file());
    return writer_->add_floor(floor);
  };
  for (;;) {
    if (stop.stop_requested()) return make_error(ErrorCode::kCancelled, "the historian stops");
    TAILRACE_ASSIGN_OR_RETURN(const auto record, scanner->next(to));
    if (!record) return to;
    epoch_ = record->epoch;
    TAILRACE_RETURN_IF_ERROR(events_.each(*record, sinks));
    if (writer_ && writer_->is_full()) return record->end;
  }
}

Result<std::optional<Address>> StretchWriter::end_of_stretch(Address at, Address limit) {
  const Address whole{align_down(at.value, options_.stretch_bytes) + options_.stretch_bytes};
  const Address known = std::min(limit, whole);
  if (searched_.first != at) {
    searched_ = {at, at};
    asked_end_.reset();
  }
  if (!asked_end_ && searched_.end < known) {
    TAILRACE_ASSIGN_OR_RETURN(asked_end_, outcomes_.end_within({searched_.end, known}));
    searched_.end = known;
  }
  const Address end = std::min(whole, asked_end_.value_or(whole));
  if (end > limit) return std::nullopt;
  return end;
}

Result<std::optional<Address>> StretchWriter::write_next(Address bound, std::stop_token stop) {
  TAILRACE_ASSIGN_OR_RETURN(const Next next, this->next());
  TAILRACE_ASSIGN_OR_RETURN(const auto end,
                            end_of_stretch(next.at, std::min(bound, log_.durable())));
  if (!end) return std::nullopt;
  const Address to = *end;
  writer_.reset();
  TAILRACE_ASSIGN_OR_RETURN(const bool any, outcomes_.begin({next.at, to}));
  const auto read = any ? this->read(next, to, std::move(stop)) : Result<Address>(to);
  const auto writer = std::exchange(writer_, nullptr);
  TAILRACE_RETURN_IF_ERROR(read);
  if (writer) {
    TAILRACE_ASSIGN_OR_RETURN(const auto info, writer->finish(*read, epoch_));
    TAILRACE_RETURN_IF_ERROR(catalogue_.add(info));
  } else {
    const Address from = catalogue_.end() == Address{} ? next.begin : next.at;
    TAILRACE_RETURN_IF_ERROR(catalogue_.note_empty(from, *read));
  }
  return *read;
}

}  // namespace tailrace::history
