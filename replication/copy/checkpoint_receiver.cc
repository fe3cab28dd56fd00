#include "replication/copy/checkpoint_receiver.h"

#include <algorithm>
#include <utility>

#include "core/thread.h"
#include "observability/logging.h"
#include "storage/crc32c.h"

namespace tailrace::replication {

namespace {

constexpr uint32_t kPartBytes = 1u << 20;
constexpr uint64_t kWindowBytes = 32u << 20;
// So much, or so long a time, is copied again after a crash.
constexpr uint64_t kSaveBytes = 256u << 20;
constexpr std::chrono::milliseconds kSaveTime{1000};
constexpr std::chrono::milliseconds kAskAgain{1000};
constexpr std::chrono::milliseconds kStillThere{10'000};
constexpr std::chrono::milliseconds kPatience{5000};
constexpr std::chrono::milliseconds kPause{1000}, kLongPause{10'000};

}  // namespace

std::string_view name_of(CheckpointCopyStatus::Stage stage) {
  switch (stage) {
    case CheckpointCopyStatus::Stage::kIdle:
      return "idle";
    case CheckpointCopyStatus::Stage::kAsking:
      return "asking";
    case CheckpointCopyStatus::Stage::kReceiving:
      return "receiving";
    case CheckpointCopyStatus::Stage::kChecking:
      return "checking";
    case CheckpointCopyStatus::Stage::kComplete:
      return "complete";
    case CheckpointCopyStatus::Stage::kFailed:
      return "failed";
  }
  return "unknown";
}

CheckpointReceiver::CheckpointReceiver(storage::FileSystem& file_system,
                                       statemachine::StateCopyOptions options, Hooks hooks,
                                       const Clock& clock, Probe& probe)
    : hooks_(std::move(hooks)),
      clock_(clock),
      probe_(probe),
      incoming_(file_system, std::move(options)) {}

CheckpointReceiver::~CheckpointReceiver() {
  stop();
}

void CheckpointReceiver::stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  if (thread_.joinable()) thread_.join();
}

// ---- What the driver tells. --------------------------------------------------------------------

void CheckpointReceiver::start() {
  // Nothing but a copy that could be gone on with is lost by beginning anew.
  if (const auto loaded = incoming_.load(); !loaded)
    observability::log_warning("what an earlier copy left is of no use: {}",
                               loaded.error().message);
  plan_ = incoming_.plan();
  requested_ = arrived_ = written_ = incoming_.received();
}

void CheckpointReceiver::wanted(NodeId from, Address end, Address committed) {
  at_least_ = committed;
  refused_end_ = end;
  if (status_.stage == Stage::kComplete || status_.stage == Stage::kFailed) return;
  if (status_.stage != Stage::kIdle && status_.from == from) return;
  observability::log_info(
      "this node's log, which ends at {}, cannot be extended by node {}: its state is copied from "
      "there",
      end.value, from.value);
  status_.from = from;
  if (status_.stage != Stage::kChecking) ask();
}

void CheckpointReceiver::not_wanted() {
  if (status_.stage == Stage::kIdle && plan_.token == 0) return;
  observability::log_info("the leader extends this node's log: its state need not be copied");
  ++generation_;
  busy_ = false;
  status_ = {};
  plan_ = {};
  requested_ = arrived_ = written_ = 0;
  work_then([this] { return incoming_.drop(); }, [](const Result<>&) {});
}

void CheckpointReceiver::tick() {
  const SteadyTime now = clock_.now();
  switch (status_.stage) {
    case Stage::kAsking:
      if (!busy_ && now >= not_before_ && now - asked_ >= kAskAgain) ask();
      break;
    case Stage::kReceiving:
      if (arrived_ < plan_.bytes() && now - heard_ >= kPatience) {
        status_.problem = "the source is silent";
        ask();
      }
      break;
    case Stage::kChecking:
      // So that the source keeps what this node will go on with.
      if (now - asked_ >= kStillThere) {
        asked_ = now;
        hooks_.send(status_.from, AskCheckpoint{plan_.token, at_least_});
      }
      break;
    case Stage::kIdle:
    case Stage::kComplete:
    case Stage::kFailed:
      break;
  }
}

// ---- Asking. -----------------------------------------------------------------------------------

void CheckpointReceiver::ask() {
  status_.stage = Stage::kAsking;
  asked_ = clock_.now();
  hooks_.send(status_.from, AskCheckpoint{plan_.token, at_least_});
}

void CheckpointReceiver::pause(std::string problem, std::chrono::milliseconds time) {
  status_.stage = Stage::kAsking;
  status_.problem = std::move(problem);
  asked_ = clock_.now();
  not_before_ = asked_ + time;
}

void CheckpointReceiver::received(NodeId peer, OfferCheckpoint message) {
  if (peer != status_.from || status_.stage != Stage::kAsking || busy_) return;
  if (!message.problem.empty()) return pause(message.problem, kPause);
  if (auto possible = statemachine::check_plan(message.plan); !possible)
    return pause(possible.error().message, kLongPause);
  if (message.plan.applied < at_least_)
    return pause("the copy that is offered ends before what this node knows to be committed",
                 kPause);
  if (message.plan == plan_) {
    observability::log_info("the copy of node {}'s state goes on at byte {} of {}", peer.value,
                            arrived_, plan_.bytes());
    begun(generation_, {});
    return;
  }
  ++generation_;
  plan_ = std::move(message.plan);
  requested_ = arrived_ = written_ = 0;
  busy_ = true;
  work_then(
      [this, plan = plan_] { return incoming_.begin(plan); },
      [this, generation = generation_](const Result<>& result) { begun(generation, result); });
}

void CheckpointReceiver::begun(uint64_t generation, const Result<>& result) {
  if (generation != generation_) return;
  busy_ = false;
  if (!result) return failed(result.error());
  status_.stage = Stage::kReceiving;
  status_.problem.clear();
  status_.bytes = plan_.bytes();
  // What has arrived may still be on its way to the disk.
  status_.received = requested_ = arrived_;
  heard_ = clock_.now();
  request();
}

// ---- Receiving. --------------------------------------------------------------------------------

void CheckpointReceiver::request() {
  const uint64_t total = plan_.bytes();
  while (requested_ < total && requested_ - written_ < kWindowBytes) {
    const auto bytes = static_cast<uint32_t>(std::min<uint64_t>(kPartBytes, total - requested_));
    hooks_.send(status_.from, ReadCheckpoint{plan_.fingerprint, requested_, bytes});
    requested_ += bytes;
  }
  if (written_ < total || busy_) return;
  status_.stage = Stage::kChecking;
  busy_ = true;
  observability::log_info("all {} bytes of node {}'s state have come and are checked", total,
                          status_.from.value);
  work_then(
      [this] { return incoming_.check(); },
      [this, generation = generation_](const Result<>& result) { checked(generation, result); });
}

void CheckpointReceiver::received(NodeId peer, CheckpointPart message) {
  // What was asked for before a new request for the same comes twice, or out of order.
  if (peer != status_.from || status_.stage != Stage::kReceiving ||
      message.fingerprint != plan_.fingerprint || message.offset != arrived_)
    return;
  if (!message.problem.empty()) return pause(message.problem, kPause);
  const size_t size = message.bytes ? message.bytes->size() : 0;
  if (size == 0 || size > plan_.bytes() - arrived_ || crc32c(*message.bytes) != message.checksum)
    return pause("a part of the copy was damaged on its way", kPause);
  heard_ = clock_.now();
  arrived_ += size;
  requested_ = std::max(requested_, arrived_);
  status_.received = arrived_;
  probe_.checkpoint_received_bytes.add(size);
  work_then(
      [this, bytes = std::move(message.bytes)]() -> Result<> {
        TAILRACE_RETURN_IF_ERROR(incoming_.write(*bytes));
        unsaved_bytes_ += bytes->size();
        const SteadyTime now = std::chrono::steady_clock::now();
        if (unsaved_bytes_ < kSaveBytes && now - saved_at_ < kSaveTime) return {};
        unsaved_bytes_ = 0;
        saved_at_ = now;
        return incoming_.save();
      },
      [this, size, generation = generation_](const Result<>& result) {
        written(generation, size, result);
      });
}

void CheckpointReceiver::written(uint64_t generation, uint64_t bytes, const Result<>& result) {
  if (generation != generation_) return;
  if (!result) return failed(result.error());
  written_ += bytes;
  if (status_.stage == Stage::kReceiving) request();
}

void CheckpointReceiver::checked(uint64_t generation, const Result<>& result) {
  if (generation != generation_) return;
  busy_ = false;
  if (!result) return failed(result.error());
  status_.stage = Stage::kComplete;
  observability::log_info("the copy of node {}'s state is complete", status_.from.value);
  hooks_.complete();
}

Result<> CheckpointReceiver::commit() {
  return incoming_.commit();
}

void CheckpointReceiver::failed(const Error& error) {
  observability::log_error("the copy of node {}'s state failed: {}", status_.from.value,
                           error.message);
  ++generation_;
  busy_ = false;
  plan_ = {};
  requested_ = arrived_ = written_ = 0;
  status_.received = status_.bytes = 0;
  const bool is_final = error.code == ErrorCode::kIo;
  if (is_final) {
    status_.stage = Stage::kFailed;
    status_.problem = error.message;
    return;
  }
  work_then([this] { return incoming_.drop(); }, [](const Result<>&) {});
  pause(error.message, kLongPause);
}

// ---- The thread. -------------------------------------------------------------------------------

void CheckpointReceiver::work_then(std::function<Result<>()> function,
                                   std::function<void(const Result<>&)> then) {
  work([this, function = std::move(function), then = std::move(then)] {
    Result<> result = function();
    hooks_.post([then, result = std::move(result)] { then(result); });
  });
}

void CheckpointReceiver::work(Work work) {
  {
    const MutexLock lock(mutex_);
    if (stopping_) return;
    jobs_.push_back(std::move(work));
    if (!thread_.joinable()) thread_ = named_thread("copy_receive", [this] { run(); });
  }
  work_.notify_all();
}

void CheckpointReceiver::run() {
  MutexLock lock(mutex_);
  for (;;) {
    work_.wait(lock, [&]() TAILRACE_REQUIRES(mutex_) { return stopping_ || !jobs_.empty(); });
    if (stopping_) return;
    const Work job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    lock.lock();
  }
}

}  // namespace tailrace::replication
