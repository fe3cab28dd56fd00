#include "rpc/server/io_thread.h"

#include <algorithm>
#include <future>

#include <asio/post.hpp>

#include "core/thread.h"
#include "rpc/server/connection.h"

namespace tailrace::rpc {
namespace {

constexpr std::chrono::milliseconds kRoomRetry{1};
constexpr std::chrono::milliseconds kHeldLook{100};
constexpr std::chrono::milliseconds kTick{10};
constexpr std::chrono::seconds kLookAtTime{1};
constexpr size_t kMostWaitersAtOnce = 256;
constexpr int64_t kCostStep = 64 << 10;
constexpr std::chrono::milliseconds kBetweenEvictions{10};
constexpr std::chrono::milliseconds kTimeForRequest{100};
// While others wait for room one leaves in each of these times, however long a turn is: it bounds
// what a newcomer waits behind thousands that come again and again, and what these cost those who
// have a place.
constexpr std::chrono::microseconds kEvictionTime{500};
constexpr int64_t kMostEvicted = 64;
// On average; who asks a few times in a row gets what was not used lately.
constexpr std::chrono::milliseconds kBetweenLooksAround{100};
constexpr int kLooksAroundSaved = 10;

/// A value may be as long as it is allowed to be: what is read at a time takes a quarter of what
/// clients may make the server hold.
size_t most_cold_reads(const ServerOptions& options) {
  const uint64_t most = options.memory_bytes / 4 / std::max<size_t>(options.max_value_bytes, 1);
  return std::clamp<uint64_t>(most / options.io_threads, 4, 1024);
}

/// Runs `function` on the thread of `io` and waits for what it returns.
bool on_thread(asio::io_context& io, std::function<bool()> function) {
  // The thread may still be in set_value() when the caller has the value and goes on.
  const auto promise = std::make_shared<std::promise<bool>>();
  auto answer = promise->get_future();
  asio::post(io, [promise, function = std::move(function)] { promise->set_value(function()); });
  return answer.get();
}

}  // namespace

void Poster::post(std::function<void()> function) {
  const MutexLock lock(mutex_);
  if (io_ != nullptr) asio::post(*io_, std::move(function));
}

void Poster::close() {
  const MutexLock lock(mutex_);
  io_ = nullptr;
}

IoThread::IoThread(ServerContext& context)
    : context_(context),
      work_(asio::make_work_guard(io_)),
      poster_(std::make_shared<Poster>(io_)),
      counts_(context.probe.add_thread()),
      stages_(context.probe, context.to.watermarks->steps(), random_seed()),
      cold_reads_(most_cold_reads(context.options)),
      loop_watch_(io_,
                  [&probe = context.probe, &counts = counts_](double late) {
                    probe.lateness.observe(late);
                    counts.turns.note();
                  }),
      room_timer_(io_),
      held_timer_(io_),
      ticker_(io_),
      clock_(io_) {}

IoThread::~IoThread() {
  stop();
}

void IoThread::start() {
  arm_clock();
  loop_watch_.start();
  thread_ = named_thread("clients", [this] {
    while (io_.run_one() != 0)
      ++turn_;
  });
}

void IoThread::stop() {
  poster_->close();
  if (thread_.joinable()) {
    asio::post(io_, [this] {
      const auto all = connections_;
      for (const auto& connection : all)
        connection->close("the server stops");
      io_.stop();
    });
    thread_.join();
  }
  connections_.clear();
  touched_.clear();
}

void IoThread::arm_clock() {
  clock_.expires_after(kLookAtTime);
  clock_.async_wait([this](const std::error_code& error) {
    if (error) return;
    const SteadyTime now = std::chrono::steady_clock::now();
    const auto all = connections_;
    for (const auto& connection : all)
      connection->look_at_time(now);
    std::optional<uint64_t> lag;
    for (const Connection* connection : tailing_)
      lag = std::max(lag, connection->tail_lag());
    tail_lag_.store(lag.value_or(UINT64_MAX), std::memory_order_relaxed);
    arm_clock();
  });
}

std::optional<uint64_t> IoThread::tail_lag() const {
  const uint64_t lag = tail_lag_.load(std::memory_order_relaxed);
  return lag == UINT64_MAX ? std::nullopt : std::optional(lag);
}

void IoThread::make_room(bool unplaced) {
  const SteadyTime now = std::chrono::steady_clock::now();
  if (now - evicted_ >= kBetweenEvictions) evict_idle(now);
  if (unplaced && context_.too_many_unplaced()) evict_unplaced(now);
}

void IoThread::evict_unplaced(SteadyTime now) {
  std::vector<Connection*> leave;
  for (const auto& [number, connection] : unplaced_) {
    const auto idle = connection->idle_for(now);
    if (idle && *idle >= kTimeForRequest) leave.push_back(connection);
  }
  // By when they came, which nothing that they send can change: each newcomer has the time in which
  // so many others come, and what operators ask is mostly answered in less.
  const bool none = leave.empty();
  const SteadyTime since = std::max(unplaced_evicted_, context_.crowded_since.load());
  const int64_t most = std::clamp<int64_t>((now - since) / kEvictionTime, 1, kMostEvicted);
  unplaced_evicted_ = now;
  for (const auto& [number, connection] : unplaced_) {
    if (!none || std::ssize(leave) == most || now - connection->came() < kTimeForRequest) break;
    leave.push_back(connection);
  }
  for (Connection* connection : leave) {
    context_.probe.evicted.add();
    connection->close(none ? "others need the place, and it has waited for longest"
                           : "others need the place, and it asks nothing");
  }
}

void IoThread::evict_idle(SteadyTime now) {
  evicted_ = now;
  std::shared_ptr<Connection> longest, waits;
  std::chrono::nanoseconds time = context_.options.evict_after, waited{0};
  for (const auto& connection : connections_) {
    if (!connection->has_place()) continue;
    if (const auto idle = connection->idle_for(now)) {
      if (*idle < time) continue;
      time = *idle;
      longest = connection;
    } else if (const auto in_vain = connection->waits_in_vain_for(now)) {
      if (*in_vain < waited) continue;
      waited = *in_vain;
      waits = connection;
    }
  }
  if (!longest && !waits) return;
  context_.probe.evicted.add();
  // All is sent, and nothing has come: there is nothing to wait for.
  if (longest) return longest->close("others need the place of a connection that is idle");
  waits->close("others need the place of a connection that has only waited for long");
}

void IoThread::adopt(asio::ip::tcp::socket socket) {
  auto connection = std::make_shared<Connection>(std::move(socket), *this);
  connections_.insert(connection);
  unplaced_.emplace(connection->number(), connection.get());
  if (reading_stopped_) return connection->close("the server stops");
  connection->begin();
}

void IoThread::forget(const std::shared_ptr<Connection>& connection) {
  tailing_.erase(connection.get());
  connections_.erase(connection);
}

void IoThread::stop_reading() {
  on_thread(io_, [this] {
    reading_stopped_ = true;
    for (const auto& connection : connections_)
      connection->stop_reading();
    return true;
  });
}

bool IoThread::all_sent() {
  return on_thread(io_, [this] {
    return std::all_of(connections_.begin(), connections_.end(),
                       [](const auto& connection) { return connection->unsent_bytes() == 0; });
  });
}

void IoThread::close_after_sending() {
  on_thread(io_, [this] {
    const auto all = connections_;
    for (const auto& connection : all)
      connection->close_after_sending("the server stops");
    return true;
  });
}

void IoThread::applied(std::shared_ptr<const statemachine::AppliedBatch> batch) {
  if (desk_.applied(std::move(batch))) poster_->post([this] { take_inbox(); });
}

void IoThread::take_inbox() {
  const auto done = [this](const PendingCommand& pending, const statemachine::Answer* answer) {
    note_cost(-static_cast<int64_t>(pending.asker.extra));
    const StageTimes::Sample sample = stages_.answered(pending.asker.tag);
    auto connection = pending.asker.connection.lock();
    if (!connection) return;
    connection->answer_command(pending, answer, sample);
    touch(std::move(connection));
  };
  desk_.take_applied(done, [this](const PendingCommand& pending) { answer_unknown(pending); });
  try_waiting();
  run_waiters();
  const auto tailing = tailing_;
  for (Connection* connection : tailing) {
    if (tailing_.contains(connection)) connection->pump_tails();
  }
  settle();
}

/// Some at a time: others have their turn in between, however many become ready at once.
void IoThread::run_waiters() {
  const Address applied = context_.to.watermarks->applied();
  AppliedWaiters& waiters = desk_.waiters();
  bool more = waiters.run_ready(applied, context_.to.node->status()->epoch, kMostWaitersAtOnce);
  more |= waiters.run_expired(std::chrono::steady_clock::now(), applied, kMostWaitersAtOnce);
  if (!more || std::exchange(waiters_go_on_, true)) return;
  asio::post(io_, [this] {
    waiters_go_on_ = false;
    run_waiters();
    settle();
  });
}

void IoThread::touch(std::shared_ptr<Connection> connection) {
  if (connection->mark_touched()) touched_.push_back(std::move(connection));
}

void IoThread::settle() {
  std::vector<std::shared_ptr<Connection>> touched;
  touched.swap(touched_);
  for (const auto& connection : touched) {
    connection->flush();
    connection->answered();
  }
  if (tailing_.empty() && waiting_for_applied_.empty()) desk_.rest();
}

void IoThread::note_cost(int64_t change) {
  cost_ += change;
  const int64_t untold = cost_ - cost_told_;
  if (untold < kCostStep && -untold < kCostStep) return;
  context_.extra_in_flight.fetch_add(untold, std::memory_order_relaxed);
  cost_told_ = cost_;
}

void IoThread::answer_unknown(const PendingCommand& pending) {
  note_cost(-static_cast<int64_t>(pending.asker.extra));
  stages_.dropped(pending.asker.tag);
  auto connection = pending.asker.connection.lock();
  if (!connection) return;
  connection->answer_unknown(pending);
  touch(std::move(connection));
}

void IoThread::role_changed(Epoch epoch, bool leads, statemachine::LogPoint applied) {
  poster_->post([this, epoch, leads, applied] {
    const std::optional<Epoch> ours = leads ? std::optional(epoch) : std::nullopt;
    desk_.role_changed(ours, applied,
                       [this](const PendingCommand& pending) { answer_unknown(pending); });
    try_waiting();
    run_waiters();
    settle();
  });
}

/// Those whose commands wait for others to be applied.
void IoThread::try_waiting() {
  std::vector<std::weak_ptr<Connection>> waiting;
  waiting.swap(waiting_for_applied_);
  for (const auto& weak : waiting) {
    if (const auto connection = weak.lock()) connection->try_again();
  }
}

void IoThread::members_changed() {
  poster_->post([this] {
    const auto all = connections_;
    for (const auto& connection : all)
      connection->tell_members();
  });
}

AppliedWaiters::Id IoThread::when_applied(Address applied, Epoch epoch, SteadyTime deadline,
                                          AppliedWaiters::Callback callback) {
  desk_.expect();
  if (context_.to.watermarks->applied() >= applied &&
      (epoch.value == 0 || context_.to.node->status()->epoch >= epoch)) {
    callback({});
    return 0;
  }
  arm_ticker();
  return desk_.waiters().add(applied, epoch, deadline, std::move(callback));
}

void IoThread::confirm_leadership(SteadyTime deadline, Confirmed callback) {
  if (unasked_.empty() || unasked_deadline_ < deadline) unasked_deadline_ = deadline;
  unasked_.push_back(std::move(callback));
  if (!confirming_) ask_confirmation();
}

void IoThread::ask_confirmation() {
  confirming_ = true;
  auto asked = std::make_shared<std::vector<Confirmed>>();
  asked->swap(unasked_);
  auto answered = [this, poster = poster_, asked](const Result<Address>& committed) {
    poster->post([this, asked, committed] {
      confirming_ = false;
      if (!unasked_.empty()) ask_confirmation();
      for (const Confirmed& callback : *asked)
        callback(committed);
      settle();
    });
  };
  context_.to.node->confirm_leadership(unasked_deadline_, std::move(answered));
}

void IoThread::arm_ticker() {
  if (ticking_) return;
  ticking_ = true;
  ticker_.expires_after(kTick);
  ticker_.async_wait([this](const std::error_code& error) {
    ticking_ = false;
    if (error) return;
    run_waiters();
    settle();
    if (!desk_.waiters().empty()) arm_ticker();
  });
}

void IoThread::resume_soon(std::weak_ptr<Connection> connection) {
  context_.probe.stalls.add();
  waiting_for_room_.push_back(std::move(connection));
  if (waiting_for_room_.size() > 1) return;
  room_timer_.expires_after(kRoomRetry);
  room_timer_.async_wait([this](const std::error_code& error) {
    if (error) return;
    std::vector<std::weak_ptr<Connection>> waiting;
    waiting.swap(waiting_for_room_);
    for (const auto& weak : waiting) {
      if (const auto held = weak.lock()) held->try_again();
    }
  });
}

void IoThread::look_again(std::weak_ptr<Connection> connection, bool when_applied) {
  context_.probe.stalls.add();
  if (when_applied) waiting_for_applied_.push_back(connection);
  held_.insert(std::move(connection));
  arm_held_timer();
}

void IoThread::arm_held_timer() {
  if (looking_at_held_ || held_.empty()) return;
  looking_at_held_ = true;
  held_timer_.expires_after(kHeldLook);
  held_timer_.async_wait([this](const std::error_code& error) {
    looking_at_held_ = false;
    if (error) return;
    std::set<std::weak_ptr<Connection>, std::owner_less<>> held;
    held.swap(held_);
    waiting_for_applied_.clear();  // they are among the held, and may come back
    for (const auto& weak : held) {
      const auto connection = weak.lock();
      if (!connection) continue;
      if (connection->other_side_closed())
        connection->close("the other side closed the connection");
      else
        connection->try_again();
    }
    arm_held_timer();
  });
}

bool IoThread::may_look_around() {
  const SteadyTime now = std::chrono::steady_clock::now();
  const SteadyTime next =
      std::max(looked_around_, now - kLooksAroundSaved * kBetweenLooksAround) + kBetweenLooksAround;
  if (next > now) return false;
  looked_around_ = next;
  return true;
}

void IoThread::set_tailing(Connection& connection, bool tailing) {
  if (tailing) {
    tailing_.insert(&connection);
    desk_.expect();
  } else {
    tailing_.erase(&connection);
  }
}

}  // namespace tailrace::rpc
