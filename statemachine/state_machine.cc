#include "statemachine/state_machine.h"

#include "fasterlog/format/record.h"
#include "observability/metric_table.h"
#include "statemachine/applier.h"
#include "statemachine/background_digest.h"
#include "statemachine/checkpointer.h"
#include "statemachine/digest.h"
#include "statemachine/read_together.h"

namespace tailrace::statemachine {
namespace {

const std::string& user_key(ByteSpan key) {
  thread_local std::string full;
  full.assign(1, kUserKey);
  full.append(as_text(key));
  return full;
}

tl::unexpected<Error> unreadable_value() {
  return make_error(ErrorCode::kCorruption, "the store holds a value that does not parse");
}

/// What is stored becomes what the user has put. False when it has expired.
Result<bool> unwrap(std::string& stored, uint64_t log_time_ns) {
  const auto value = decode_state_value(as_bytes(stored));
  if (!value) return unreadable_value();
  if (value->is_expired(log_time_ns)) return false;
  stored.erase(0, stored.size() - value->value.size());
  return true;
}

/// The same for all of it; `into.value` is what is stored.
Result<bool> unwrap(KeyState& into, uint64_t log_time_ns) {
  const auto value = decode_state_value(as_bytes(into.value));
  if (value) {
    into.modified_at = value->modified_at;
    into.expires_at_ns = value->expires_at_ns;
  }
  return unwrap(into.value, log_time_ns);
}

class StateScanImpl final : public StateScan {
 public:
  StateScanImpl(std::unique_ptr<kv::Scan> scan, LogPoint at, uint64_t log_time_ns)
      : scan_(std::move(scan)), at_(at), log_time_ns_(log_time_ns) {}
  Address address() const override { return at_.address; }
  Epoch epoch() const override { return at_.epoch; }
  Result<bool> next(size_t most_pairs, uint64_t most_log_bytes, const Visitor& visit) override {
    bool readable = true;
    auto more = scan_->next(most_pairs, most_log_bytes, [&](ByteSpan key, ByteSpan stored) {
      const auto value = decode_state_value(stored);
      readable &= value.has_value();
      if (value && !value->is_expired(log_time_ns_)) visit(key.subspan(1), value->value);
    });
    if (more && !readable)
      return make_error(ErrorCode::kCorruption, "the store holds a value that does not parse");
    return more;
  }

 private:
  const std::unique_ptr<kv::Scan> scan_;
  const LogPoint at_;
  const uint64_t log_time_ns_;
};

class StateMachineImpl final : public StateMachine {
 public:
  StateMachineImpl(fasterlog::Log& log, kv::Store& store, Watermarks& watermarks,
                   AnchorRegistry& anchors, const StateMachineOptions& options, const Clock& clock)
      : log_(log),
        store_(store),
        watermarks_(watermarks),
        anchors_(anchors),
        options_(options),
        applier_(log, store, watermarks, options, probe_),
        checkpointer_(log, store, watermarks, anchors, applier_, options, clock, probe_),
        digests_(store, options.digest_bytes_per_s, probe_,
                 [this](const StateDigest& digest) { applier_.keep(digest); }) {
    applier_.set_background(&digests_);
  }
  ~StateMachineImpl() override { stop(); }

  Result<> recover() {
    TAILRACE_RETURN_IF_ERROR(validate(applier_.rules().wanted));
    if (store_.max_record_bytes() < SessionTable::kMostRecordBytes)
      return make_error(ErrorCode::kInvalidArgument,
                        "a record of the store holds " + std::to_string(store_.max_record_bytes()) +
                            " bytes, a client's session may take " +
                            std::to_string(SessionTable::kMostRecordBytes) +
                            "; raise the store's page_bytes to 128 KiB or more");
    Address from = log_.begin();
    const auto& recovered = store_.recovered();
    if (recovered) {
      TAILRACE_ASSIGN_OR_RETURN(from, point_of(*recovered));
      if (from < log_.begin()) {
        std::string message = "the log begins at " + std::to_string(log_.begin().value) +
                              ", above the checkpoint at " + std::to_string(from.value) +
                              ": what lies between is gone; copy the state from a peer";
        // Why an older one had to be used, when that is the reason.
        for (const std::string& note : store_.recovery_notes())
          message += "; " + note;
        return make_error(ErrorCode::kCorruption, message);
      }
      if (from > log_.durable())
        return make_error(ErrorCode::kCorruption,
                          "the log ends at " + std::to_string(log_.durable().value) +
                              ", below the checkpoint at " + std::to_string(from.value) +
                              ": the log lost what was durable; copy log and state from a peer");
    } else if (from > fasterlog::kFirstAddress) {
      return make_error(ErrorCode::kCorruption,
                        "the log begins at " + std::to_string(from.value) +
                            " and there is no checkpoint of what came before; restore the "
                            "checkpoint directory or copy the state from a peer");
    }
    TAILRACE_RETURN_IF_ERROR(applier_.recover(from, options_.on_recovery_progress));
    if (options_.outcomes)
      TAILRACE_RETURN_IF_ERROR(options_.outcomes->open(from, applier_.knows_no_stream()));
    if (recovered && options_.expiry_horizon)
      options_.expiry_horizon->advance(applier_.log_time_ns());
    // A checkpoint holds only what was committed.
    watermarks_.advance_committed(from);
    watermarks_.advance_applied(from, log_.epoch_before(from));
    watermarks_.advance_checkpointed(from);
    if (recovered) checkpointer_.recovered(*recovered, from);
    return {};
  }

  void set_applied_listener(
      std::function<void(std::shared_ptr<const AppliedBatch>)> listener) override {
    applier_.set_listener(std::move(listener));
  }
  void start() override {
    digests_.start();
    applier_.start();
    checkpointer_.start();
  }
  void stop() override {
    applier_.give_up_waiting();
    checkpointer_.stop();  // first: a checkpoint that runs needs the applier's session
    digests_.stop();       // the same
    applier_.stop();
  }
  void notify() override {
    // Often one of the two watermarks has moved, and the other one not yet. Each is stored before
    // its mover comes here: the fence is for two movers on two threads, of whom one has to see
    // both.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (watermarks_.applicable() > watermarks_.applied()) applier_.wake();
  }
  std::optional<Error> failure() const override { return applier_.failure(); }

  Result<> admit(const CommandCost& cost, uint64_t extra_in_flight) const override {
    const Address applied = watermarks_.applied();  // before tail, which is never below it
    const uint64_t unapplied = log_.tail() - applied;
    const uint64_t own = cost.log_bytes * kStoreBytesForLogByte + extra_store_bytes(cost) +
                         (cost.frees_room ? 0 : options_.store_reserve_bytes);
    const uint64_t waiting = unapplied * kStoreBytesForLogByte + extra_in_flight;
    const uint64_t capacity = store_.capacity_bytes();
    // An erase may go by what is left once compaction has cleared away the rest: it makes room.
    const uint64_t used = cost.frees_room ? store_.settled_bytes() : store_.used_bytes();
    if (used + waiting + own <= capacity) return {};
    const std::string need = std::to_string(used + waiting + own) + " bytes";
    // Asked by whoever writes while there is no room, so often: it goes by what was measured last.
    const std::string message =
        store_.is_limited_by_disk()
            ? "the store's disk is too full: there is room for " + std::to_string(capacity) +
                  " bytes of keys and values on it, and this write would need " + need
            : "the store would need " + need + " of the " + std::to_string(capacity) +
                  " that store.disk_bytes leaves for keys and values";
    if (store_.settled_bytes() + own <= capacity)
      return make_error(ErrorCode::kWouldBlock,
                        message + " until what waits is applied and garbage is cleared away");
    return make_error(
        ErrorCode::kResourceExhausted,
        message + (store_.is_limited_by_disk() ? "; free disk space"
                                               : "; delete keys, or raise store.disk_bytes"));
  }
  void note_refused_write() const override { store_.note_refused_write(); }
  Result<> read(ByteSpan key, std::string& value) const override {
    TAILRACE_RETURN_IF_ERROR(store_.read(as_bytes(user_key(key)), value));
    TAILRACE_ASSIGN_OR_RETURN(const auto found, unwrap(value, applier_.log_time_ns()));
    if (found) return {};
    return make_error(ErrorCode::kNotFound, "the key has expired");
  }
  Result<ReadOutcome> try_read(ByteSpan key, std::string& value) const override {
    const ReadOutcome outcome = store_.try_read(as_bytes(user_key(key)), value);
    if (outcome != ReadOutcome::kFound) return outcome;
    TAILRACE_ASSIGN_OR_RETURN(const auto found, unwrap(value, applier_.log_time_ns()));
    return found ? ReadOutcome::kFound : ReadOutcome::kAbsent;
  }
  void read_async(ByteSpan key, ReadDone done) const override {
    auto wrapped = [this, done = std::move(done)](Result<bool> found, std::string value) {
      if (found && *found) found = unwrap(value, applier_.log_time_ns());
      done(std::move(found), std::move(value));
    };
    store_.read_async(as_bytes(user_key(key)), std::move(wrapped));
  }
  Result<> read_state(ByteSpan key, KeyState& into) const override {
    TAILRACE_RETURN_IF_ERROR(store_.read(as_bytes(user_key(key)), into.value));
    TAILRACE_ASSIGN_OR_RETURN(const auto found, unwrap(into, applier_.log_time_ns()));
    if (found) return {};
    return make_error(ErrorCode::kNotFound, "the key has expired");
  }
  Result<ReadOutcome> try_read_state(ByteSpan key, KeyState& into) const override {
    const ReadOutcome outcome = store_.try_read(as_bytes(user_key(key)), into.value);
    if (outcome != ReadOutcome::kFound) return outcome;
    TAILRACE_ASSIGN_OR_RETURN(const auto found, unwrap(into, applier_.log_time_ns()));
    return found ? ReadOutcome::kFound : ReadOutcome::kAbsent;
  }
  void read_state_async(ByteSpan key, StateDone done) const override {
    auto wrapped = [this, done = std::move(done)](Result<bool> found, std::string value) {
      KeyState state{std::move(value)};
      if (found && *found) found = unwrap(state, applier_.log_time_ns());
      done(std::move(found), std::move(state));
    };
    store_.read_async(as_bytes(user_key(key)), std::move(wrapped));
  }
  Result<KeysTogether> read_together(const std::vector<std::string>& keys, size_t most_bytes,
                                     const GoOn& go_on) override {
    std::vector<std::string> stored;
    for (const std::string& key : keys)
      stored.push_back(user_key(as_bytes(key)));
    return read_keys_together(
        store_, applier_.visits(), [this] { applier_.wake(); },
        [this] { return applier_.log_time_ns(); }, std::move(stored), most_bytes, go_on);
  }
  Result<std::optional<StreamHead>> stream_head(std::string_view stream) const override {
    return StreamReader<kv::Store>(store_).head(stream);
  }
  Result<StreamEntries> stream_entries(std::string_view stream, StreamVersion from, size_t most,
                                       Direction direction) const override {
    return StreamReader<kv::Store>(store_).entries(stream, from, most, direction);
  }
  Result<std::unique_ptr<StreamList>> start_stream_list(std::string_view prefix,
                                                        std::string_view after,
                                                        StreamListLimits limits) override {
    const Applier::Hurry hurry(applier_);
    return StreamList::start(store_, prefix, after, limits);
  }
  Result<std::unique_ptr<StateScan>> start_scan(ByteSpan prefix) override {
    Result<std::unique_ptr<kv::Scan>> scan;
    {
      const Applier::Hurry hurry(applier_);
      scan = store_.start_scan(as_bytes(user_key(prefix)));
    }
    if (!scan) return tl::unexpected(scan.error());
    for (const kv::SessionPoint& point : (*scan)->points()) {
      if (point.session != kApplierSession) continue;
      const Address address{align_down(point.point, fasterlog::kRecordAlignment)};
      const auto log_time_ns = applier_.log_time_at(address);
      if (!log_time_ns) break;
      const LogPoint at{log_.epoch_before(address), address};
      return std::make_unique<StateScanImpl>(std::move(*scan), at, *log_time_ns);
    }
    return make_error(ErrorCode::kUnavailable, "the state is not being applied; try again");
  }
  uint64_t log_time_ns() const override { return applier_.log_time_ns(); }
  bool wants_log_time(uint64_t now_ns) const override { return applier_.expiries().due(now_ns); }
  RulesStatus rules() const override { return applier_.rules(); }
  ScavengePoint scavenge_point() const override { return applier_.scavenge_point(); }
  StoreStatus store_status() const override {
    return {store_.used_bytes(), store_.capacity_bytes(), store_.live_records(),
            store_.log_extent()};
  }
  Result<> wait_applied(Address address, SteadyTime deadline) override {
    return applier_.wait_applied(address, deadline);
  }
  void request_checkpoint(std::function<void(Result<Address>)> done) override {
    checkpointer_.request(std::move(done));
  }
  CheckpointStatus checkpoint_status() const override { return checkpointer_.status(); }
  Result<StateDigest> digest_at(Address address) const override {
    return applier_.digest_at(address);
  }
  DigestProgress digest_progress() const override {
    DigestProgress progress = digests_.progress();
    progress.moved = applier_.moved();
    return progress;
  }
  Result<std::pair<uint64_t, uint64_t>> log_digest(AddressRange range,
                                                   const GoOn& go_on) const override {
    return digest_of(log_, range, go_on);
  }
  Result<std::unique_ptr<StateCopySource>> open_copy(std::string owner, uint64_t token) override {
    return StateCopySource::open(log_, store_, std::move(owner), token);
  }

  uint64_t session_count() const override { return applier_.sessions().size(); }

  void register_metrics(observability::MetricRegistry& registry) override {
    metrics_ = registry.registration();
    auto& m = metrics_;
    registry.add_counter(m, observability::metric("tailrace_applied_records_total"), {},
                         probe_.applied_records);
    registry.add_counter(m, observability::metric("tailrace_applied_bytes_total"), {},
                         probe_.applied_bytes);
    registry.add_counter(m, observability::metric("tailrace_session_refusals_total"), {},
                         probe_.replays);
    registry.add_counter(m, observability::metric("tailrace_checkpoint_failures_total"), {},
                         probe_.checkpoint_failures);
    const auto gauge = [&](const observability::MetricInfo& metric, auto read) {
      registry.add_gauge(m, metric, {}, [read] { return static_cast<double>(read()); });
    };
    gauge(observability::metric("tailrace_last_checkpoint_duration_seconds"),
          [this] { return probe_.checkpoint_seconds.value(); });
    gauge(observability::metric("tailrace_last_checkpoint_size_bytes"),
          [this] { return probe_.checkpoint_bytes.value(); });
    registry.add_counter(m, observability::metric("tailrace_state_digests_total"), {},
                         probe_.digests);
    registry.add_counter(m, observability::metric("tailrace_state_digests_skipped_total"), {},
                         probe_.digests_skipped);
    gauge(observability::metric("tailrace_last_state_digest_duration_seconds"),
          [this] { return probe_.digest_seconds.value(); });
    gauge(observability::metric("tailrace_checkpoint_progress_ratio"),
          [this] { return checkpoint_status().progress; });
    gauge(observability::metric("tailrace_last_checkpoint_address_bytes"),
          [this] { return checkpoint_status().last_address.value; });
    gauge(observability::metric("tailrace_last_checkpoint_timestamp_seconds"), [this] {
      const uint64_t at_ns = checkpoint_status().last_unix_time_ns;
      return at_ns == 0 ? observability::kNotKnown : static_cast<double>(at_ns) * 1e-9;
    });
    gauge(observability::metric("tailrace_sessions"), [this] { return session_count(); });
    const auto limit = [this](auto of) {
      const RulesStatus now = rules();
      if (!now.in_log) return observability::kNotKnown;
      const std::optional<SessionLimits>& limits = now.in_force.limits;
      return limits ? static_cast<double>(of(*limits)) : 0.0;
    };
    gauge(observability::metric("tailrace_sessions_limit"),
          [limit] { return limit([](const SessionLimits& of) { return uint64_t{of.sessions}; }); });
    gauge(observability::metric("tailrace_session_answers_bytes"),
          [this] { return applier_.sessions().answers_bytes(); });
    gauge(observability::metric("tailrace_session_answers_limit_bytes"),
          [limit] { return limit([](const SessionLimits& of) { return of.answers_bytes; }); });
    registry.add_counter(m, observability::metric("tailrace_sessions_evicted_total"), {},
                         probe_.sessions_evicted);
    registry.add_counter(m, observability::metric("tailrace_session_answers_forgotten_total"), {},
                         probe_.answers_forgotten);
    gauge(observability::metric("tailrace_session_ttl_seconds"),
          [this] { return static_cast<double>(rules().in_force.session_ttl_ns) * 1e-9; });
    gauge(observability::metric("tailrace_apply_lag_bytes"), [this] {
      const Address applied = watermarks_.applied();
      return watermarks_.applicable() - applied;
    });
    gauge(observability::metric("tailrace_truncation_limit_address_bytes"),
          [this] { return std::max(anchors_.limit().first, log_.begin()).value; });
    using Samples = observability::MetricRegistry::Samples;
    registry.add_series(m, observability::metric("tailrace_checkpoint_phase"), [this] {
      using Phase = kv::CheckpointPhase;
      const Phase present = checkpoint_status().phase;
      Samples samples;
      for (const Phase phase : {Phase::kRest, Phase::kPrepare, Phase::kInProgress,
                                Phase::kWaitPending, Phase::kWaitFlush})
        samples.push_back(
            {{{"phase", std::string(kv::name_of(phase))}}, phase == present ? 1.0 : 0.0});
      return samples;
    });
    registry.add_series(m, observability::metric("tailrace_truncation_anchor_address_bytes"),
                        [this] {
                          Samples samples;
                          for (const auto& [name, at] : anchors_.all())
                            samples.push_back({{{"anchor", name}}, static_cast<double>(at.value)});
                          return samples;
                        });
    registry.add_series(m, observability::metric("tailrace_log_address_bytes"), [this] {
      const WatermarkSnapshot s = watermarks_.snapshot();
      Samples samples;
      const auto add = [&](const char* name, Address at) {
        samples.push_back({{{"watermark", name}}, static_cast<double>(at.value)});
      };
      add("begin", s.begin);
      add("checkpointed", s.checkpointed);
      add("applied", s.applied);
      add("committed", s.committed);
      add("durable", s.durable);
      add("tail", s.tail);
      return samples;
    });
  }

 private:
  fasterlog::Log& log_;
  kv::Store& store_;
  Watermarks& watermarks_;
  AnchorRegistry& anchors_;
  const StateMachineOptions options_;
  Probe probe_;
  Applier applier_;
  Checkpointer checkpointer_;
  BackgroundDigest digests_;
  observability::MetricRegistry::Registration metrics_;  // last: goes before what it reads
};

}  // namespace

Result<std::unique_ptr<StateMachine>> StateMachine::create(fasterlog::Log& log, kv::Store& store,
                                                           Watermarks& watermarks,
                                                           AnchorRegistry& anchors,
                                                           StateMachineOptions options,
                                                           const Clock& clock) {
  auto machine =
      std::make_unique<StateMachineImpl>(log, store, watermarks, anchors, options, clock);
  if (auto recovered = machine->recover(); !recovered)
    return tl::unexpected(with_context("state machine", recovered.error()));
  return machine;
}

}  // namespace tailrace::statemachine
