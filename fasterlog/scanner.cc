#include "fasterlog/engine/log_source.h"
#include "fasterlog/log.h"

namespace tailrace::fasterlog {

namespace {

class Scanner final : public CutAwareScanner {
 public:
  Scanner(LogCore& core, Address from, Log::ScanOptions options)
      : core_(core),
        cuts_seen_(core.cut_count.load()),
        options_(options),
        source_(core),
        reader_(source_, core.options.page_bytes,
                std::max<size_t>(options.read_ahead_bytes, 4096)) {
    reader_.seek(from);
  }

  Result<std::optional<Record>> next(Address limit) override {
    if (core_.cut_count.load() != cuts_seen_) TAILRACE_RETURN_IF_ERROR(pass_cuts());
    // Only whole batches are looked into, so no record is cut off by the end.
    const Address end = this->end();
    for (;;) {
      const Address at = next_record_address(reader_.position(), core_.options.page_bytes);
      if (reader_.position() < Address{core_.begin.load()})
        return tl::unexpected(source_.truncated(reader_.position()));
      if (at >= std::min(limit, end)) return std::optional<Record>{};
      auto step = reader_.next(end);
      if (!step || step->status == RecordReader::Status::kBad) {
        if (at < Address{core_.begin.load()}) return tl::unexpected(source_.truncated(at));
        // The bytes changed under us: look again.
        if (core_.cut_count.load() != cuts_seen_) return next(limit);
        if (!step) return tl::unexpected(std::move(step).error());
        return tl::unexpected(source_.bad_record(step->bad_at, step->reason));
      }
      const ParsedRecord& record = step->record;
      if (record.end > limit && limit < end) {
        reader_.seek(record.address);
        return std::optional<Record>{};
      }
      if (record.kind == RecordKind::kPadding) continue;
      if (record.kind == RecordKind::kCommitMark && !options_.with_commit_marks) continue;
      return std::optional<Record>(
          Record{record.address, record.end, record.epoch, record.kind, record.payload});
    }
  }

  Result<> wait(SteadyTime deadline, std::stop_token stop) override {
    const auto more = [&] {
      return next_record_address(reader_.position(), core_.options.page_bytes) < end() ||
             core_.cut_count.load() != cuts_seen_;
    };
    if (more()) return {};
    return core_.wait_for(more, "no further record", deadline, std::move(stop));
  }

  Address position() const override { return reader_.position(); }

  Result<> check_cuts() const override {
    const auto cut = core_.least_cut_since(cuts_seen_);
    if (!cut || reader_.position() <= *cut) return {};
    return make_error(ErrorCode::kOutOfRange,
                      "the log was cut at address " + std::to_string(cut->value) +
                          ", below this scan's position " +
                          std::to_string(reader_.position().value) + "; scan again from there");
  }

 private:
  Address end() const {
    return Address{options_.with_unflushed ? core_.flushing.load() : core_.durable.load()};
  }
  Result<> pass_cuts() {
    // Cuts that come after this load are met by the next call.
    const uint64_t cuts = core_.cut_count.load();
    TAILRACE_RETURN_IF_ERROR(check_cuts());
    cuts_seen_ = cuts;
    source_.pass_cuts(cuts);
    reader_.forget();  // it may have read ahead
    return {};
  }

  LogCore& core_;
  uint64_t cuts_seen_;
  const Log::ScanOptions options_;
  LogSource source_;
  RecordReader reader_;
};

}  // namespace

std::unique_ptr<CutAwareScanner> make_scanner(LogCore& core, Address from,
                                              Log::ScanOptions options) {
  return std::make_unique<Scanner>(core, from, options);
}

}  // namespace tailrace::fasterlog
