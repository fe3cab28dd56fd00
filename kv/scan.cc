// Scans: the records of the log in the order of their addresses, of which those are shown that are
// their keys' newest as of a point. Complete, for the pin holds the log's begin where it was at the
// point; consistent, for nothing of the point changes in place any more.

#include <algorithm>
#include <string>
#include <utility>

#include "core/check.h"
#include "kv/engine/record_window.h"
#include "kv/store_impl.h"

namespace tailrace::kv {

using Outcome = Engine::Outcome;

namespace {

// Of the log, between two reports of progress.
constexpr uint64_t kProgressBytes = 64u << 20;

class ScanImpl final : public Scan {
 public:
  ScanImpl(StoreImpl& store, StoreImpl::Moment moment, ByteSpan prefix, Filter wanted,
           std::atomic<size_t>* open_scans)
      : store_(store),
        engine_(store.engine()),
        moment_(std::move(moment)),
        prefix_(to_string(prefix)),
        wanted_(std::move(wanted)),
        open_scans_(open_scans),
        stream_(store.file_system(), engine_, moment_.begin, moment_.point.end),
        window_(store.file_system(), engine_) {}
  ~ScanImpl() override {
    store_.unpin(moment_.pin);
    if (open_scans_ != nullptr) open_scans_->fetch_sub(1);
  }

  const std::vector<SessionPoint>& points() const override { return moment_.points; }

  Result<bool> next(size_t most_pairs, uint64_t most_log_bytes, const Visitor& visit) override {
    const LogAddress from = stream_.position();
    for (size_t pairs = 0;;) {
      for (; shown_ < window_.entries().size(); ++shown_) {
        RecordWindow::Entry& entry = window_.entries()[shown_];
        if (!entry.wanted) continue;
        if (pairs == most_pairs) return true;
        ++pairs;
        visit(entry.record().key(), entry.record().stable_value());
      }
      if (stream_.position() >= moment_.point.end) return false;
      if (stream_.position() - from >= most_log_bytes) return true;
      TAILRACE_RETURN_IF_ERROR(look_further());
    }
  }

  double fraction() const override {
    const LogAddress end = moment_.point.end;
    if (end <= moment_.begin) return 1;
    return std::min(1.0, static_cast<double>(stream_.position() - moment_.begin) /
                             static_cast<double>(end - moment_.begin));
  }

 private:
  Result<> look_further() {
    window_.clear();
    shown_ = 0;
    TAILRACE_RETURN_IF_ERROR(stream_.fill(window_));
    const auto attempt = [this](RecordWindow::Entry& entry, Engine::Waiting& waiting) {
      Record& record = entry.record();
      if ((record.state.load(std::memory_order_relaxed) & Record::kTombstone) != 0 ||
          !moment_.point.counts(entry.address, record, engine_.undone()) ||
          !as_text(record.key()).starts_with(prefix_)) {
        return Outcome::kKept;
      }
      if (wanted_ && entry.fetch.found.from == 0 && !wanted_(record.key(), record.stable_value()))
        return Outcome::kKept;
      // The chain of a moment does not change: what the disk has said is final.
      const ColdFound& cold = entry.fetch.found;
      const Outcome outcome =
          cold.from == 0
              ? engine_.is_newest(HashedKey(record.key()), entry.address, moment_.point, waiting)
              : (cold.address == entry.address ? Outcome::kDone : Outcome::kKept);
      entry.wanted = outcome == Outcome::kDone;
      return outcome;
    };
    const auto provide = [](Outcome, const Engine::Waiting&) -> Result<> {
      TAILRACE_FATAL("a scan waits for room");
    };
    return window_.settle(&moment_.point, attempt, provide);
  }

  StoreImpl& store_;
  Engine& engine_;
  const StoreImpl::Moment moment_;
  const std::string prefix_;
  const Filter wanted_;  // null: all
  std::atomic<size_t>* const open_scans_;
  RecordStream stream_;
  RecordWindow window_;
  size_t shown_ = 0;  // entries of the window
};

}  // namespace

Result<std::unique_ptr<Scan>> StoreImpl::start_scan(ByteSpan prefix, Scan::Filter wanted) {
  if (open_scans_.fetch_add(1) >= Store::kMostScans) {
    open_scans_.fetch_sub(1);
    return make_error(ErrorCode::kResourceExhausted,
                      "there are " + std::to_string(Store::kMostScans) + " scans already");
  }
  auto moment = freeze_moment();
  if (!moment) {
    open_scans_.fetch_sub(1);
    return tl::unexpected(std::move(moment.error()));
  }
  return std::make_unique<ScanImpl>(*this, std::move(*moment), prefix, std::move(wanted),
                                    &open_scans_);
}

Result<> StoreImpl::for_each(const Scan::Filter* wanted, const Scan::Visitor& visit,
                             const std::function<void(double)>& progress) {
  Moment now;
  now.pin = pin(0);
  now.begin = engine_->log().begin();
  pins_.lift(now.pin, now.begin);
  // All that is there counts as it does for any reader.
  now.point.end = now.point.boundary = engine_->log().tail();
  ScanImpl scan(*this, std::move(now), {}, wanted != nullptr ? *wanted : Scan::Filter(), nullptr);
  for (;;) {
    TAILRACE_ASSIGN_OR_RETURN(auto more, scan.next(SIZE_MAX, kProgressBytes, visit));
    if (progress) progress(scan.fraction());
    if (!more) return {};
  }
}

}  // namespace tailrace::kv
