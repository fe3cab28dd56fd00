#include "app/bench/apply_load.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <memory>
#include <vector>

#include "app/bench/key_sequence.h"
#include "app/bench/measuring.h"
#include "core/random.h"
#include "fasterlog/batch_writer.h"
#include "fasterlog/log.h"
#include "kv/store.h"
#include "statemachine/anchors.h"
#include "statemachine/command/command.h"
#include "statemachine/state_machine.h"
#include "statemachine/txn/txn.h"
#include "statemachine/types/rules.h"
#include "statemachine/watermarks.h"

namespace tailrace::app {

namespace {

using Clock = std::chrono::steady_clock;
using statemachine::Command;

constexpr uint64_t kApplyStretch = 64u << 10;  // commands; a few megabytes of log
constexpr uint64_t kKeptLogBytes = uint64_t{1} << 30;

class ApplyLoad {
 public:
  ApplyLoad(storage::FileSystem& file_system, const ApplyLoadOptions& options)
      : file_system_(file_system), options_(options) {}

  Result<ApplyLoadResult> run(const std::function<void(const std::string&)>& stage) {
    TAILRACE_RETURN_IF_ERROR(open());
    ApplyLoadResult result;
    TAILRACE_RETURN_IF_ERROR(write_rules());
    stage("loading keys");
    for (uint64_t done = 0; done < options_.keys; done += kApplyStretch)
      TAILRACE_RETURN_IF_ERROR(
          stretch(done, std::min(kApplyStretch, options_.keys - done), true, result));
    stage("applying commands");
    result = ApplyLoadResult();
    const kv::Store::LogExtent loaded = store_->log_extent();
    result.store_bytes = loaded.tail - loaded.begin;
    result.memory_bytes = loaded.tail - loaded.head;
    double reading_seconds = 0;
    for (uint64_t done = 0; done < options_.commands; done += kApplyStretch) {
      const uint64_t count = std::min(kApplyStretch, options_.commands - done);
      TAILRACE_RETURN_IF_ERROR(stretch(done, count, false, result));
      reading_seconds += reading_seconds_;
    }
    result.commands_per_s = static_cast<double>(options_.commands) / result.seconds;
    result.scan_records_per_s = static_cast<double>(options_.commands) / reading_seconds;
    state_machine_->stop();
    TAILRACE_RETURN_IF_ERROR(log_->close());
    return result;
  }

 private:
  Result<> open() {
    fasterlog::LogOptions log_options;
    log_options.directory = options_.directory / "log";
    log_options.owner = "bench";
    TAILRACE_ASSIGN_OR_RETURN(log_, fasterlog::Log::open(file_system_, log_options));
    TAILRACE_RETURN_IF_ERROR(log_->become_writer(Epoch{1}));
    kv::StoreOptions store_options;
    store_options.directory = options_.directory / "store";
    store_options.owner = "bench";
    // Room for keys, sessions and their answers; nothing is to be read from the disk. A stream has
    // a head and the ids of its last events.
    const uint64_t key_bytes = options_.kind == ApplyLoadKind::kTxn ? 2048 : 128;
    store_options.memory_bytes = options_.memory_bytes != 0
                                     ? options_.memory_bytes
                                     : std::max<uint64_t>(options_.keys * key_bytes, 512u << 20);
    const uint64_t pairs = options_.keys * (options_.kind == ApplyLoadKind::kTxn ? 2 : 1);
    store_options.index_buckets = std::bit_ceil(std::max<uint64_t>(pairs / 3, 1024));
    TAILRACE_ASSIGN_OR_RETURN(store_, kv::Store::open(file_system_, store_options));
    watermarks_ = std::make_unique<statemachine::Watermarks>(*log_);
    statemachine::StateMachineOptions state_options;
    state_options.checkpoint_interval = std::chrono::seconds(0);
    state_options.checkpoint_log_bytes = 0;
    TAILRACE_ASSIGN_OR_RETURN(
        state_machine_,
        statemachine::StateMachine::create(*log_, *store_, *watermarks_, anchors_, state_options));
    state_machine_->start();
    return {};
  }

  /// Writes so many commands, waits until they are durable, and only then lets the applier see
  /// them: what is timed is the applier alone, with the records in memory as they are when it keeps
  /// up with the log. Before it, the same records are read and decoded, which is what it does
  /// first.
  Result<> stretch(uint64_t first, uint64_t count, bool loading, ApplyLoadResult& result) {
    const Address from = log_->tail();
    TAILRACE_RETURN_IF_ERROR(write_commands(first, count, loading));
    const Address end = log_->durable();
    result.log_bytes += end - from;
    Clock::time_point began = Clock::now();
    TAILRACE_RETURN_IF_ERROR(scan(from, end));
    reading_seconds_ = seconds_since(began);
    began = Clock::now();
    watermarks_->advance_committed(end);
    state_machine_->notify();
    TAILRACE_RETURN_IF_ERROR(state_machine_->wait_applied(end, SteadyTime::max()));
    result.seconds += seconds_since(began);
    if (end - log_->begin() > kKeptLogBytes) {
      TAILRACE_RETURN_IF_ERROR(log_->truncate_before(end));
    }
    return {};
  }

  /// Those that a leader writes today.
  Result<> write_rules() {
    statemachine::Rules rules;
    rules.limits.emplace();
    rules.positions = true;
    std::vector<std::byte> value, bytes;
    encode(rules, value);
    Command command;
    command.operation = statemachine::Operation::kRules;
    command.value = value;
    encode(command, bytes);
    TAILRACE_RETURN_IF_ERROR(log_->enqueue(statemachine::kCommandRecord, bytes));
    return {};
  }

  /// An append of one event to the stream of that name.
  void encode_append(ByteSpan stream) {
    static const std::string data(100, 'd');
    txn_.clear();
    txn_.time_ns = 1;
    statemachine::TxnEffect& append = txn_.then.emplace_back();
    append.kind = statemachine::TxnEffectKind::kAppend;
    append.name = stream;
    statemachine::EventIdBytes id;
    random_.fill(id);
    txn_.add_event(append, {.type = "placed", .id = id, .data = as_bytes(data)});
    encode(txn_, body_);
  }

  /// Each key once, in order, when loading; else draws.
  Result<> write_commands(uint64_t first, uint64_t count, bool loading) {
    fasterlog::BatchWriter writer(*log_, 64u << 10);
    std::vector<std::byte> bytes;
    for (uint64_t i = first; i < first + count; ++i) {
      const uint64_t key = key_of(loading ? i : random_.below(options_.keys));
      Command command;
      switch (options_.kind) {
        case ApplyLoadKind::kPut:
          command.operation = statemachine::Operation::kPut;
          command.key = bytes_of(key);
          command.value = bytes_of(i);
          break;
        case ApplyLoadKind::kAdd:
          command.operation = statemachine::Operation::kAdd;
          command.key = bytes_of(key);
          command.delta = 1;
          break;
        case ApplyLoadKind::kTxn:
          encode_append(bytes_of(key));
          command.operation = statemachine::Operation::kTxn;
          command.value = body_;
          break;
      }
      if (!loading && options_.sessions > 0) {
        const uint64_t client = i % options_.sessions;
        command.session = statemachine::SessionSerial{{1, client}, ++serials_[client]};
      }
      encode(command, bytes);
      TAILRACE_RETURN_IF_ERROR(writer.add(statemachine::kCommandRecord, ByteSpan(bytes)));
    }
    TAILRACE_ASSIGN_OR_RETURN(auto written, writer.enqueue());
    return log_->wait_durable(written.end);
  }

  Result<> scan(Address from, Address end) const {
    const auto scanner = log_->scan(from);
    for (;;) {
      TAILRACE_ASSIGN_OR_RETURN(auto record, scanner->next(end));
      if (!record) return {};
      TAILRACE_RETURN_IF_ERROR(statemachine::decode(record->payload));
    }
  }

  storage::FileSystem& file_system_;
  const ApplyLoadOptions& options_;
  std::unique_ptr<fasterlog::Log> log_;
  std::unique_ptr<kv::Store> store_;
  std::unique_ptr<statemachine::Watermarks> watermarks_;
  statemachine::AnchorRegistry anchors_;
  std::unique_ptr<statemachine::StateMachine> state_machine_;
  Random random_{1};
  std::vector<uint64_t> serials_ = std::vector<uint64_t>(options_.sessions);
  double reading_seconds_ = 0;
  statemachine::Txn txn_;
  std::vector<std::byte> body_;
};

}  // namespace

Result<ApplyLoadResult> run_apply_load(storage::FileSystem& file_system,
                                       const ApplyLoadOptions& options,
                                       const std::function<void(const std::string&)>& stage) {
  return ApplyLoad(file_system, options).run(stage);
}

}  // namespace tailrace::app
