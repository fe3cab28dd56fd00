#include "replication/copy/checkpoint_sender.h"

#include <algorithm>
#include <utility>

#include "core/thread.h"
#include "observability/logging.h"
#include "storage/crc32c.h"

namespace tailrace::replication {

namespace {

constexpr size_t kMostJobs = 64;  // a receiver that gets no answer asks again
constexpr uint32_t kMostPartBytes = 4u << 20;
constexpr std::chrono::milliseconds kLook{1000};

std::string anchor_of(NodeId peer) {
  return "transfer:" + std::to_string(peer.value);
}

}  // namespace

CheckpointSender::CheckpointSender(fasterlog::Log& log, statemachine::StateMachine& state_machine,
                                   statemachine::AnchorRegistry& anchors,
                                   CheckpointSenderOptions options, Send send, Probe& probe)
    : log_(log),
      state_machine_(state_machine),
      anchors_(anchors),
      options_(std::move(options)),
      send_(std::move(send)),
      probe_(probe),
      taking_(std::make_shared<std::atomic<bool>>(false)) {}

CheckpointSender::~CheckpointSender() {
  stop();
}

void CheckpointSender::stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void CheckpointSender::add(Job job) {
  {
    const MutexLock lock(mutex_);
    if (stopping_ || jobs_.size() >= kMostJobs) return;
    jobs_.push_back(std::move(job));
    if (!thread_.joinable()) thread_ = named_thread("copy_send", [this] { run(); });
  }
  work_.notify_all();
}

void CheckpointSender::run() {
  MutexLock lock(mutex_);
  while (!stopping_) {
    if (jobs_.empty()) {
      work_.wait_for(lock, kLook);
      lock.unlock();
      let_go_of_idle();
      lock.lock();
      continue;
    }
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    std::visit([&](const auto& message) { answer(job.peer, message); }, job.message);
    lock.lock();
  }
  lock.unlock();
  while (!held_.empty())
    let_go(held_.begin()->first);
}

void CheckpointSender::answer(NodeId peer, const AskCheckpoint& message) {
  const auto found = held_.find(peer);
  if (found != held_.end() && found->second.source->plan().token == message.token) {
    found->second.used = std::chrono::steady_clock::now();
    send_(peer, OfferCheckpoint{found->second.source->plan(), ""});
    return;
  }
  let_go(peer);
  // Before the log's begin is looked at: from here on it stays.
  anchors_.set(anchor_of(peer), log_.begin());
  const std::string& owner = options_.owner;
  auto source = state_machine_.open_copy(owner, message.token);
  if (!source && message.token != 0) source = state_machine_.open_copy(owner, 0);
  if (source && (*source)->plan().applied >= message.at_least) {
    const statemachine::StateCopyPlan& plan = (*source)->plan();
    observability::log_info(
        "node {} copies this node's state: checkpoint {} at {}, {} bytes in {} files", peer.value,
        plan.token, plan.applied.value, plan.bytes(), plan.files.size());
    anchors_.set(anchor_of(peer), plan.log.end);
    send_(peer, OfferCheckpoint{plan, ""});
    hold(peer, std::move(*source));
    return;
  }
  anchors_.remove(anchor_of(peer));
  if (!source && source.error().code != ErrorCode::kNotFound &&
      source.error().code != ErrorCode::kTruncated) {
    send_(peer, OfferCheckpoint{{}, source.error().message});
    return;
  }
  take_checkpoint();
  send_(peer, OfferCheckpoint{{}, "a checkpoint is being taken"});
}

void CheckpointSender::hold(NodeId peer, std::unique_ptr<statemachine::StateCopySource> source) {
  auto read = [from = source.get()](uint64_t offset, MutableByteSpan into) {
    return from->read(offset, into);
  };
  auto reader = std::make_unique<CopyReader>(source->plan().bytes(), std::move(read));
  held_[peer] = {std::move(source), std::chrono::steady_clock::now(), std::move(reader)};
}

void CheckpointSender::take_checkpoint() {
  if (taking_->exchange(true)) return;
  state_machine_.request_checkpoint([taking = taking_](const Result<Address>& done) {
    if (!done)
      observability::log_warning("the checkpoint that another node needs failed: {}",
                                 done.error().message);
    taking->store(false);
  });
}

void CheckpointSender::answer(NodeId peer, const ReadCheckpoint& message) {
  const auto found = held_.find(peer);
  CheckpointPart part;
  part.fingerprint = message.fingerprint;
  part.offset = message.offset;
  if (found == held_.end() || found->second.source->plan().fingerprint != message.fingerprint) {
    part.problem = "this copy is no longer held; ask anew";
    send_(peer, std::move(part));
    return;
  }
  Held& held = found->second;
  held.used = std::chrono::steady_clock::now();
  const uint64_t total = held.source->plan().bytes();
  const uint64_t left = total - std::min(total, message.offset);
  const size_t size = std::min<uint64_t>({left, message.bytes, kMostPartBytes});
  if (!wait_for_rate(size)) return;
  auto bytes = std::make_shared<std::vector<std::byte>>(size);
  if (const auto there = held.reader->read(message.offset, *bytes); !there) {
    observability::log_error("the state cannot be copied to node {}: {}", peer.value,
                             there.error().message);
    part.problem = there.error().message;
    send_(peer, std::move(part));
    return;
  }
  part.checksum = crc32c(*bytes);
  part.bytes = std::move(bytes);
  probe_.checkpoint_sent_bytes.add(size);
  send_(peer, std::move(part));
}

bool CheckpointSender::wait_for_rate(uint64_t bytes) {
  if (options_.bytes_per_s == 0) return true;
  MutexLock lock(mutex_);
  if (work_.wait_until(lock, free_at_, [&]() TAILRACE_REQUIRES(mutex_) { return stopping_; }))
    return false;
  const auto cost =
      std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(
          static_cast<double>(bytes) / static_cast<double>(options_.bytes_per_s)));
  free_at_ = std::max(free_at_, std::chrono::steady_clock::now()) + cost;
  return true;
}

void CheckpointSender::let_go_of_idle() {
  std::vector<NodeId> idle;
  const SteadyTime now = std::chrono::steady_clock::now();
  for (const auto& [peer, held] : held_) {
    const Address end = held.source->plan().log.end;
    const bool too_far = log_.durable() > end && log_.durable() - end > options_.most_log_bytes;
    if (too_far)
      observability::log_warning(
          "the log is no longer kept for the copy that node {} takes: it grew by more than "
          "follower_pin_bytes meanwhile",
          peer.value);
    if (too_far || now - held.used > options_.idle_after) idle.push_back(peer);
  }
  for (const NodeId peer : idle)
    let_go(peer);
}

void CheckpointSender::let_go(NodeId peer) {
  if (held_.erase(peer) > 0) anchors_.remove(anchor_of(peer));
}

}  // namespace tailrace::replication
