#include "server_side.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace tailrace::simulation {

using namespace replication;
using statemachine::LogPoint;

namespace {

constexpr const char* kKey = "served";
constexpr size_t kMostRecordsApplied = 40;
constexpr Time kReadPatience = std::chrono::milliseconds(500);
constexpr Time kRequestsEnd = std::chrono::milliseconds(5300);

uint64_t served_count(const ModelState& state) {
  return std::stoull(state.value(kKey).value_or("0"));
}

}  // namespace

Cluster::ServerSide::ServerSide(Cluster& cluster, SimNode& node)
    : cluster_(cluster),
      node_(node),
      random_(cluster.served_.random),
      desk_(cluster.options_.answers) {
  applied_ = {epoch_before(node.log.begin), node.log.begin};
  state_.apply(node.log, applied_.address);
  const auto& batches = node.log.batches();
  while (batches_ < batches.size() && batches[batches_].end() <= applied_.address)
    ++batches_;
  apply_soon();
}

// ---- Threads. ----------------------------------------------------------------------------------

/// What a thread needs for its next step; now and then it stands still.
Time Cluster::ServerSide::pause() {
  const int64_t most_us = !cluster_.faults_       ? 300
                          : random_.chance(1, 60) ? 800000
                          : random_.chance(1, 10) ? 30000
                                                  : 400;
  return std::chrono::microseconds(random_.between(0, static_cast<uint64_t>(most_us)));
}

void Cluster::ServerSide::post(std::function<void()> task) {
  tasks_.push_back(std::move(task));
  run_tasks();
}

/// One after the other, in the order in which they were posted.
void Cluster::ServerSide::run_tasks() {
  if (tasks_.empty() || std::exchange(runs_, true)) return;
  cluster_.after(node_, pause(), [this] {
    const auto task = std::move(tasks_.front());
    tasks_.pop_front();
    task();
    runs_ = status_.has_value();  // a pass over frames goes on
    if (!runs_) run_tasks();
  });
}

void Cluster::ServerSide::arrive(std::function<void()> frame) {
  frames_.push_back(std::move(frame));
  if (std::exchange(pass_posted_, true)) return;
  post([this] {
    pass_posted_ = false;
    frames_left_ = frames_.size();
    status_ = published_;
    take_frames();
  });
}

/// All that have come, by one look at the status; and the thread may stand still between two.
void Cluster::ServerSide::take_frames() {
  if (frames_left_ == 0) {
    status_.reset();
    runs_ = false;
    return run_tasks();
  }
  --frames_left_;
  const auto frame = std::move(frames_.front());
  frames_.pop_front();
  frame();
  cluster_.after(node_, pause(), [this] { take_frames(); });
}

const Cluster::ServerSide::Status& Cluster::ServerSide::status() {
  return status_ ? *status_ : published_;
}

// ---- What the core does. -----------------------------------------------------------------------

void Cluster::ServerSide::observe(const Action& action) {
  if (const auto* writer = std::get_if<BecomeWriter>(&action)) {
    writer_ = writer->epoch;
  } else if (std::holds_alternative<BecomeCopy>(action)) {
    writer_.reset();
  } else if (const auto* confirmed = std::get_if<Confirmed>(&action)) {
    settle_confirmations(confirmed->round);
  } else if (std::holds_alternative<StateChanged>(action)) {
    publish();
    post([this, status = published_, applied = applied_] { role_changed(status, applied); });
    settle_confirmations(0);
  }
}

void Cluster::ServerSide::tick() {
  publish();
  if (desk_.waiters().empty() || std::exchange(look_posted_, true)) return;
  post([this] {
    look_posted_ = false;
    look_at_waiters();
  });
}

void Cluster::ServerSide::publish() {
  const CoreState& state = node_.core->state();
  published_ = {state.role == Role::kLeader, state.leadership.serving, state.epoch};
}

void Cluster::ServerSide::confirm(std::function<void(std::optional<Address>)> done) {
  cluster_.after(node_, pause(), [this, done = std::move(done)]() mutable {
    const CoreState& state = node_.core->state();
    if (state.role != Role::kLeader || state.leadership.epoch_start.empty() ||
        state.committed < state.leadership.epoch_start.end)
      return done(std::nullopt);
    confirmations_.push_back({state.round + 1, state.epoch, state.committed, std::move(done)});
    cluster_.feed(node_, ConfirmAsked{cluster_.now_ + node_.clock});
  });
}

void Cluster::ServerSide::settle_confirmations(uint64_t confirmed) {
  const CoreState& state = node_.core->state();
  std::vector<Confirmation> all;
  all.swap(confirmations_);
  for (Confirmation& one : all) {
    if (state.role != Role::kLeader || state.epoch != one.epoch)
      one.done(std::nullopt);
    else if (one.round <= confirmed)
      one.done(one.committed);
    else
      confirmations_.push_back(std::move(one));
  }
}

// ---- The applier. ------------------------------------------------------------------------------

void Cluster::ServerSide::apply_soon() {
  cluster_.after(node_, std::chrono::microseconds(200) + pause(), [this] {
    apply_stretch();
    apply_soon();
  });
}

/// Each epoch's records are a stretch of their own.
void Cluster::ServerSide::apply_stretch() {
  const auto& batches = node_.log.batches();
  const Address limit = Cluster::applied(node_);
  std::shared_ptr<statemachine::AppliedBatch> stretch;
  const auto tell = [&] {
    if (!stretch) return;
    applied_ = {stretch->epoch, stretch->range.end};
    if (desk_.applied(std::exchange(stretch, nullptr))) post([this] { take_inbox(); });
  };
  for (size_t most = kMostRecordsApplied;
       most > 0 && batches_ < batches.size() && batches[batches_].end() <= limit; --most) {
    const Batch& batch = batches[batches_++];
    if (stretch && stretch->epoch != batch.epoch) tell();
    if (!stretch)
      stretch = std::make_shared<statemachine::AppliedBatch>(
          statemachine::AppliedBatch{batch.epoch, {batch.start, batch.start}, {}});
    stretch->range.end = batch.end();
    state_.apply(node_.log, batch.end());
    const auto command = batch.configuration ? std::nullopt : decode(payload_of(batch));
    if (!command) continue;
    const auto answer = state_.answer(command->session, command->serial);
    if (answer && answer->seen)
      stretch->answers.push_back(
          {batch.start, {statemachine::Outcome::kDone, true, *answer->seen}});
  }
  tell();
}

void Cluster::ServerSide::take_inbox() {
  const auto done = [this](const Owed& owed, const statemachine::Answer* answer) {
    cluster_.told_done(owed.asker.session, owed.epoch, owed.range,
                       answer == nullptr ? std::string() : answer->value);
  };
  desk_.take_applied(done, [this](const Owed& owed) { told_unknown(owed); });
  look_at_waiters();
}

void Cluster::ServerSide::told_unknown(const Owed& owed) {
  ++cluster_.outcome_.served_unknown;
  // Nobody may name it, but if somebody did: the state must not be taken for its.
  cluster_.served_.tokens.push_back({owed.epoch, owed.range.end});
}

void Cluster::ServerSide::role_changed(Status status, LogPoint applied) {
  desk_.role_changed(status.leads ? std::optional(status.epoch) : std::nullopt, applied,
                     [this](const Owed& owed) { told_unknown(owed); });
  look_at_waiters();
}

void Cluster::ServerSide::look_at_waiters() {
  desk_.waiters().run_ready(applied_.address, published_.epoch);
  desk_.waiters().run_expired(SteadyTime(cluster_.now_), applied_.address);
  desk_.rest();
}

// ---- Requests. ---------------------------------------------------------------------------------

void Cluster::ServerSide::handle_add() {
  ModelCommand command;
  command.session = ++cluster_.sessions_;
  command.serial = 1;
  command.kind = ModelCommand::Kind::kAdd;
  command.key = kKey;
  command.value = "1";
  const Status& now = status();
  desk_.expect();
  if (!now.leads || !now.serving || writer_ != now.epoch) {
    cluster_.served_.refused.insert(command.session);
    return;
  }
  const AddressRange range = node_.log.append(now.epoch, ByteSpan(encode(command)));
  desk_.owe({now.epoch, range, range.first, {command.session}});
  cluster_.flush(node_);
}

/// Once all below is applied, and the node knows the epoch. Without patience there is no answer.
void Cluster::ServerSide::await(LogPoint needed, std::function<void()> then) {
  desk_.expect();
  if (applied_.address >= needed.address && published_.epoch >= needed.epoch) return then();
  desk_.waiters().add(needed.address, needed.epoch, SteadyTime(cluster_.now_ + kReadPatience),
                      [then = std::move(then)](const Result<>& arrived) {
                        if (arrived) then();
                      });
}

void Cluster::ServerSide::handle_read(Level level, LogPoint asked) {
  const Address told_before = cluster_.served_.told_end;
  switch (level) {
    case Level::kAny:
      return answer_read(level, asked, told_before);
    case Level::kAtLeast:
      return await(asked, [=, this] { answer_read(level, asked, told_before); });
    case Level::kLinearizable:
      break;
  }
  if (!status().leads || !status().serving) return;
  confirm([=, this](std::optional<Address> committed) {
    if (!committed) return;
    post([=, this] {
      await({Epoch{}, *committed}, [=, this] { answer_read(level, asked, told_before); });
    });
  });
}

/// Half of the values are on the disk: they are read later, and told by another task.
void Cluster::ServerSide::answer_read(Level level, LogPoint asked, Address told_before) {
  if (level == Level::kAtLeast && asked.epoch < applied_.epoch &&
      !rpc::check_named(epoch_before(asked.address), asked))
    return;
  ServedRead read{applied_, asked, Address{}, 0};
  if (cluster_.options_.names_node_epoch) read.shown.epoch = status().epoch;
  if (level != Level::kAtLeast) read.asked = {};
  if (level == Level::kLinearizable) read.told_before = told_before;
  if (random_.chance(1, 2)) {
    read.seen = served_count(state_);
    return cluster_.told_read(read);
  }
  cluster_.after(node_, pause(), [=, this]() mutable {
    read.seen = served_count(state_);
    post([=, this] { cluster_.told_read(read); });
  });
}

Epoch Cluster::ServerSide::epoch_before(Address end) const {
  const auto& batches = node_.log.batches();
  const auto behind = std::ranges::lower_bound(batches, end, {}, &Batch::start);
  return behind == batches.begin() ? Epoch{} : std::prev(behind)->epoch;
}

// ---- Clients of the servers, and their judge. --------------------------------------------------

void Cluster::request() {
  Random& random = served_.random;
  const auto pause = std::chrono::microseconds(random.between(2000, 25000));
  after(pause, [this] {
    if (now_ > kRequestsEnd) return;
    Random& draw = served_.random;
    std::vector<SimNode*> up, serving;
    for (SimNode& node : nodes_) {
      if (node.boot == 0 || node.paused) continue;
      up.push_back(&node);
      if (node.core->state().leadership.serving) serving.push_back(&node);
    }
    const auto& some = serving.empty() || draw.chance(1, 5) ? up : serving;
    if (!some.empty()) {
      ServerSide* server = some[draw.below(some.size())]->server.get();
      for (uint64_t frames = draw.between(1, 4); frames > 0; --frames) {
        const uint64_t kind = draw.below(8);
        LogPoint token;
        if (!served_.tokens.empty())
          token = served_.tokens[served_.tokens.size() - 1 -
                                 draw.below(std::min<size_t>(served_.tokens.size(), 8))];
        if (kind < 5)
          server->arrive([server] { server->handle_add(); });
        else
          server->arrive([server, kind, token] {
            server->handle_read(kind == 5   ? ServerSide::Level::kLinearizable
                                : kind == 6 ? ServerSide::Level::kAtLeast
                                            : ServerSide::Level::kAny,
                                token);
          });
      }
    }
    request();
  });
}

/// The committed log decides, at the moment when the client is told.
void Cluster::told_done(uint64_t session, Epoch epoch, AddressRange range,
                        const std::string& answer) {
  const auto at = std::ranges::lower_bound(golden_, range.first, {}, &Batch::start);
  const bool there = at != golden_.end() && at->start == range.first && at->end() == range.end &&
                     at->epoch == epoch && !at->configuration;
  const auto command = there ? decode(payload_of(*at)) : std::nullopt;
  if (!command || command->session != session)
    return violate("a client was told \"done\" of a record that is not committed in epoch " +
                   std::to_string(epoch.value) + " at " + std::to_string(range.first.value));
  ++outcome_.served_done;
  served_.done[session] = answer;
  served_.told_end = std::max(served_.told_end, range.end);
  served_.tokens.push_back({epoch, range.end});
}

void Cluster::told_read(const ServedRead& read) {
  ++outcome_.served_reads;
  served_.reads.push_back(read);
}

/// The committed log from its beginning, and what everybody was told.
void Cluster::judge_served() {
  ModelLog log;
  ModelState state;
  std::map<Address, std::pair<Epoch, uint64_t>> points{{fasterlog::kFirstAddress, {}}};
  std::map<uint64_t, uint64_t> times;
  for (const Batch& batch : golden_) {
    if (!log.append_raw(batch.start, ByteSpan(batch.bytes)))
      return violate("the committed log is no log");
    state.apply(log, batch.end());
    points[batch.end()] = {batch.epoch, served_count(state)};
    const auto command = batch.configuration ? std::nullopt : decode(payload_of(batch));
    if (!command || command->key != kKey) continue;
    ++times[command->session];
    if (served_.refused.contains(command->session))
      return violate("a command that was refused is in the committed log");
    const auto told = served_.done.find(command->session);
    const auto answer = state.answer(command->session, 1);
    if (told != served_.done.end() && (!answer || answer->seen != told->second))
      return violate("a command's answer is not that of its record");
  }
  for (const auto& [session, answer] : served_.done)
    if (times[session] != 1) violate("a command that was told \"done\" does not stand there once");
  for (const ServedRead& read : served_.reads) {
    const auto shown = points.find(read.shown.address);
    if (shown == points.end() || shown->second.first != read.shown.epoch ||
        shown->second.second > read.seen)
      return violate("a read's answer is not of the state that it names");
    const auto named = points.lower_bound(read.asked.address);  // the record there, or around it
    if (read.asked.epoch != Epoch{} &&
        (named == points.end() || named->second.first > read.asked.epoch ||
         read.shown.address < read.asked.address))
      return violate("a read was answered from a state without what it named");
    if (read.told_before != Address{} && read.shown.address < read.told_before)
      return violate("a linearizable read misses what was told before");
  }
}

}  // namespace tailrace::simulation
