// Named readers: a scanner, and a position in the table of consumers.

#include "fasterlog/log_impl.h"

namespace tailrace::fasterlog {

namespace {

class ConsumerImpl final : public Consumer {
 public:
  ConsumerImpl(LogCore& core, std::string name, std::unique_ptr<CutAwareScanner> scanner)
      : core_(core), name_(std::move(name)), scanner_(std::move(scanner)) {}
  ~ConsumerImpl() override { core_.consumers.close(name_); }

  const std::string& name() const override { return name_; }
  Address position() const override { return core_.consumers.position(name_); }
  Result<std::optional<Record>> next() override { return scanner_->next(Address::max()); }
  Result<> wait(SteadyTime deadline, std::stop_token stop) override {
    return scanner_->wait(deadline, std::move(stop));
  }
  Result<> acknowledge(Address end) override {
    if (end > scanner_->position())
      return make_error(ErrorCode::kInvalidArgument,
                        "consumer '" + name_ + "' acknowledges address " +
                            std::to_string(end.value) + ", but has read only up to " +
                            std::to_string(scanner_->position().value));
    if (end <= position()) return scanner_->check_cuts();
    if (!record_ends_at(end))
      return make_error(ErrorCode::kInvalidArgument,
                        "consumer '" + name_ + "' acknowledges address " +
                            std::to_string(end.value) + ", where no record ends");
    return core_.consumers.acknowledge(name_, end, [this] { return scanner_->check_cuts(); });
  }

 private:
  /// A position inside a record would never be read on from. True in doubt: a cut and a truncation
  /// are told of elsewhere.
  bool record_ends_at(Address end) const {
    if (end == scanner_->position()) return true;
    if (end.value % kRecordAlignment != 0) return false;
    LogSource source(core_);
    RecordReader reader(source, core_.options.page_bytes, storage::kBlockBytes);
    reader.seek(end);
    auto step = reader.next(Address{core_.durable.load()});
    return !step || step->status != RecordReader::Status::kBad || !scanner_->check_cuts() ||
           end < Address{core_.begin.load()};
  }

  LogCore& core_;
  const std::string name_;
  const std::unique_ptr<CutAwareScanner> scanner_;
};

}  // namespace

Result<std::unique_ptr<Consumer>> LogImpl::open_consumer(const std::string& name,
                                                         ConsumerOptions options) {
  if (core_->closed.load()) return make_error(ErrorCode::kClosed, "the log was closed");
  // A truncation between choosing a new one's position and storing it would leave it behind.
  const MutexLock truncating(truncate_mutex_);
  const Address fresh = options.from_end ? durable() : begin();
  TAILRACE_ASSIGN_OR_RETURN(auto position,
                            core_->consumers.open(name, fresh, options.most_pinned_bytes));
  return std::make_unique<ConsumerImpl>(*core_, name, make_scanner(*core_, position, {}));
}

Result<> LogImpl::remove_consumer(const std::string& name) {
  return core_->consumers.remove(name);
}

std::vector<ConsumerStatus> LogImpl::consumers() const {
  return core_->consumers.all(durable());
}

}  // namespace tailrace::fasterlog
