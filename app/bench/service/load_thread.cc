#include "app/bench/service/load_thread.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/format.h>

namespace tailrace::app {

LoadThread::LoadThread(rpc::Runtime& runtime, uint32_t thread, const LoadOptions& options)
    : runtime_(runtime), thread_(thread), options_(options), value_(options.value_bytes, '\0') {
  random_.fill({reinterpret_cast<std::byte*>(value_.data()), value_.size()});
  events_.assign(options.batch, as_bytes(value_));
}

void LoadThread::add(std::unique_ptr<rpc::Client> client) {
  clients_.push_back(std::move(client));
}

void LoadThread::start(SteadyTime began, SteadyTime deadline) {
  began_ = began;
  deadline_ = last_answer_ = deadline;
  // One request of each client before the second of any.
  for (uint32_t i = 0; i < options_.in_flight; ++i)
    for (const auto& client : clients_)
      slots_.push_back({this, client.get(), static_cast<uint32_t>(slots_.size()), {}, {}, {}});
  if (options_.operation == LoadOptions::Operation::kEvents)
    event_requests_.emplace(options_, thread_, static_cast<uint32_t>(slots_.size()),
                            as_bytes(value_),
                            [this](uint32_t slot, uint64_t records, const Error* error) {
                              events_answered(slot, records, error);
                            });
  runtime_.post(thread_, [this] { guarded([this] { begin(); }); });
}

void LoadThread::stop() {
  runtime_.post(thread_, [this] { guarded([this] { end_now(nullptr); }); });
  wait();
  clients_.clear();
}

template <typename Work>
void LoadThread::guarded(const Work& work) noexcept {
  if (ended_) return;
  try {
    work();
  } catch (...) {
    end_now(std::current_exception());
  }
}

/// Their callbacks come meanwhile, and find it ended. The requests' memory is free afterwards.
void LoadThread::end_now(std::exception_ptr failure) {
  if (std::exchange(ended_, true)) return;
  failure_ = std::move(failure);
  clients_.clear();
  over_.set_value();
}

void LoadThread::begin() {
  running_ = 1;
  if (options_.rate) {
    for (Slot& slot : slots_)
      free_.push_back(&slot);
    pace_at(deadline_);
    return pace(system_clock().now());
  }
  for (Slot& slot : slots_) {
    ++running_;
    slot.began = system_clock().now();
    issue(slot);
  }
  end_one();
}

void LoadThread::end_one() {
  if (--running_ > 0) return;
  ended_ = true;
  over_.set_value();
}

ByteSpan LoadThread::draw_key() {
  key_.clear();
  fmt::format_to(std::back_inserter(key_), "bench/{}", random_.below(options_.keys));
  return as_bytes(key_);
}

void LoadThread::issue(Slot& slot) {
  // No more than one pointer is captured: that costs no memory of its own.
  const auto written = [at = &slot](const Result<rpc::CommandAnswer>& answer) {
    at->load->answered(*at, answer ? nullptr : &answer.error());
  };
  const auto read = [at = &slot](const Result<rpc::ReadAnswer>& answer) {
    at->load->answered(*at, answer ? nullptr : &answer.error());
  };
  const auto own = [at = &slot](const Result<rpc::CommandAnswer>& answer) {
    if (!answer) return at->load->answered(*at, &answer.error());
    at->load->guarded([&] {
      at->written = *answer;
      at->load->read_own(*at);
    });
  };
  using Kind = LoadOptions::Operation;
  Kind operation = options_.operation;
  if (operation == Kind::kMixed) operation = random_.chance(1, 2) ? Kind::kPut : Kind::kGet;
  switch (operation) {
    case Kind::kAppend:
      return slot.client->async_append("bench", events_, written);
    case Kind::kGet:
      return slot.client->async_get(draw_key(), options_.read, read);
    case Kind::kOwn: {
      const ByteSpan key = draw_key();
      slot.key = key_;
      return slot.client->async_put(key, as_bytes(value_), own);
    }
    case Kind::kEvents:
      return event_requests_->issue(*slot.client, slot.number);
    case Kind::kPut:
    case Kind::kMixed:
      return slot.client->async_put(draw_key(), as_bytes(value_), written);
  }
}

void LoadThread::read_own(Slot& slot) {
  rpc::ReadOptions own;
  own.level = rpc::ReadOptions::Level::kAtLeast;
  own.epoch = slot.written.epoch;
  own.address = slot.written.range.end;
  if (!options_.rate) slot.began = system_clock().now();
  slot.client->async_get(as_bytes(slot.key), own,
                         [at = &slot](const Result<rpc::ReadAnswer>& answer) {
                           at->load->answered(*at, answer ? nullptr : &answer.error());
                         });
}

void LoadThread::answered(Slot& slot, const Error* error) {
  guarded([&] { take_answer(slot, error); });
}

void LoadThread::events_answered(uint32_t slot, uint64_t records, const Error* error) {
  if (error == nullptr && !ended_) records_ += records;
  answered(slots_[slot], error);
}

void LoadThread::take_answer(Slot& slot, const Error* error) {
  const SteadyTime now = system_clock().now();
  last_answer_ = std::max(last_answer_, now);
  if (error == nullptr) {
    operations_.store(operations() + 1, std::memory_order_relaxed);
    latency_ns_.add(static_cast<uint64_t>(std::max<int64_t>(0, (now - slot.began).count())));
  } else if (errors_++ == 0) {
    first_error_ = *error;
  }
  if (options_.rate) {
    free_.push_back(&slot);
    pace(now);
    return end_one();
  }
  if (now >= deadline_) return end_one();
  slot.began = now;
  issue(slot);
}

SteadyTime LoadThread::due(uint64_t number) const {
  const auto of_all = static_cast<double>(number * options_.threads + thread_);
  return began_ + std::chrono::duration_cast<SteadyTime::duration>(
                      std::chrono::duration<double>(of_all / *options_.rate));
}

uint64_t LoadThread::due_from(uint64_t first) const {
  const auto late = [&](uint64_t count) { return due(first + count) >= deadline_; };
  if (late(0)) return 0;
  uint64_t before = 0, after = 1;  // the least that is late is beyond the one
  for (; !late(after); after *= 2)
    before = after;
  while (after - before > 1) {
    const uint64_t middle = before + (after - before) / 2;
    (late(middle) ? after : before) = middle;
  }
  return after;
}

void LoadThread::pace(SteadyTime now) {
  if (schedule_over_) return;
  SteadyTime next = due(next_);
  for (; !free_.empty() && next <= now && next < deadline_ && now < deadline_;
       next = due(++next_)) {
    Slot& slot = *free_.front();
    free_.pop_front();
    slot.began = next;
    ++running_;
    issue(slot);
  }
  if (now >= deadline_ || next >= deadline_) {
    not_started_ += due_from(next_);
    schedule_over_ = true;
    return end_one();
  }
  // While no client is free an answer is what begins the next operation.
  if (!free_.empty() && !std::exchange(timer_set_, true)) pace_at(next);
}

void LoadThread::pace_at(SteadyTime when) {
  ++running_;
  runtime_.post_at(thread_, when, [this, when] {
    guarded([&] {
      if (when < deadline_) timer_set_ = false;
      pace(system_clock().now());
      end_one();
    });
  });
}

SteadyTime LoadThread::add_to(LoadResult& result) const {
  const bool appends = options_.operation == LoadOptions::Operation::kAppend;
  const bool events = options_.operation == LoadOptions::Operation::kEvents;
  result.operations += operations();
  result.records += events ? records_ : operations() * (appends ? options_.batch : 1);
  result.latency_ns.add(latency_ns_);
  if (result.errors == 0) result.first_error = first_error_;
  result.errors += errors_;
  result.not_started += not_started_;
  return last_answer_;
}

}  // namespace tailrace::app
