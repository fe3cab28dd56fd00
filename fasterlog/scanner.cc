#include "fasterlog/log_source.h"

namespace tailrace::fasterlog {

namespace {

class Scanner final : public LogScanner {
 public:
  Scanner(LogCore& core, Address from, Log::ScanOptions options)
      : core_(core),
        options_(options),
        source_(core),
        reader_(source_, core.options.page_bytes,
                std::max<size_t>(options.read_ahead_bytes, 4096)) {
    reader_.seek(from);
  }

  Result<std::optional<Record>> next(Address limit) override {
    // Only whole batches are looked into, so no record is cut off by `durable`.
    const Address durable{core_.durable.load()};
    for (;;) {
      const Address at = next_record_address(reader_.position(), core_.options.page_bytes);
      if (reader_.position() < Address{core_.begin.load()})
        return tl::unexpected(source_.truncated(reader_.position()));
      if (at >= std::min(limit, durable)) return std::optional<Record>{};
      auto step = reader_.next(durable);
      if (!step || step->status == RecordReader::Status::kBad) {
        if (at < Address{core_.begin.load()}) return tl::unexpected(source_.truncated(at));
        if (!step) return tl::unexpected(std::move(step).error());
        return tl::unexpected(source_.bad_record(step->bad_at, step->reason));
      }
      const ParsedRecord& record = step->record;
      if (record.end > limit && limit < durable) {
        reader_.seek(record.address);
        return std::optional<Record>{};
      }
      if (record.kind == RecordKind::kPadding) continue;
      if (record.kind == RecordKind::kCommitMark && !options_.with_commit_marks) continue;
      return std::optional<Record>(
          Record{record.address, record.end, record.epoch, record.kind, record.payload});
    }
  }

  Address position() const override { return reader_.position(); }

 private:
  LogCore& core_;
  const Log::ScanOptions options_;
  LogSource source_;
  RecordReader reader_;
};

}  // namespace

std::unique_ptr<LogScanner> make_scanner(LogCore& core, Address from, Log::ScanOptions options) {
  return std::make_unique<Scanner>(core, from, options);
}

}  // namespace tailrace::fasterlog
