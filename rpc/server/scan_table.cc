#include "rpc/server/scan_table.h"

#include <algorithm>

#include <asio/post.hpp>
#include <fmt/format.h>

#include "core/thread.h"

namespace tailrace::rpc {
namespace {

constexpr uint64_t kSliceLogBytes = 1u << 20;  // looked at in one step
constexpr std::chrono::milliseconds kSliceTime{20};
// What one step may bring beyond kSliceBytes.
constexpr size_t kOvershootBytes = 8u << 20;
constexpr size_t kMostPairsAtOnce = 256;
constexpr std::chrono::milliseconds kBetweenClosings{100};
// After one was closed for writes, none begins.
constexpr std::chrono::seconds kNoneAfterClosing{5};
// Of a pair's place in an answer.
constexpr size_t kPairOverhead = 32;

}  // namespace

ScanTable::ScanTable(statemachine::StateMachine& machine, size_t max_value_bytes,
                     std::chrono::milliseconds idle_timeout, std::chrono::milliseconds lifetime)
    : machine_(machine),
      pairs_at_once_(std::clamp<size_t>(kOvershootBytes / std::max<size_t>(max_value_bytes, 1), 1,
                                        kMostPairsAtOnce)),
      idle_timeout_(idle_timeout),
      lifetime_(lifetime),
      ids_(random_seed()),
      sweep_(thread_) {
  asio::post(thread_, [] { name_thread("scans"); });
}

ScanTable::~ScanTable() {
  stop();
}

void ScanTable::stop() {
  asio::post(thread_, [this] {
    stopping_ = true;
    sweep_.cancel();
    scans_.clear();
    open_.store(scans_.size(), std::memory_order_relaxed);
  });
  thread_.join();
}

void ScanTable::open(const void* owner, std::string prefix, size_t most_pairs, ShownState shown,
                     Done done) {
  asio::post(thread_,
             [this, owner, prefix = std::move(prefix), most_pairs, shown, done = std::move(done)] {
               if (!stopping_) done(open_now(owner, prefix, most_pairs, shown));
             });
}

void ScanTable::give_way() {
  asio::post(thread_, [this] {
    const SteadyTime now = std::chrono::steady_clock::now();
    if (stopping_ || now - gave_way_ < kBetweenClosings) return;
    const auto oldest = std::min_element(
        scans_.begin(), scans_.end(),
        [](const auto& one, const auto& other) { return one.second.opened < other.second.opened; });
    if (oldest == scans_.end()) return;
    gave_way_ = now;
    close_for_others(oldest->first);
  });
}

void ScanTable::close_for_others(uint64_t scan) {
  note_closed(scan);
  scans_.erase(scan);
  open_.store(scans_.size(), std::memory_order_relaxed);
}

size_t ScanTable::count_of(const void* owner) const {
  return static_cast<size_t>(
      std::ranges::count_if(scans_, [&](const auto& one) { return one.second.owner == owner; }));
}

bool ScanTable::make_place(const void* owner) {
  size_t most = 0;
  for (const auto& one : scans_)
    most = std::max(most, count_of(one.second.owner));
  const bool shares = most >= count_of(owner) + 2;
  const auto no_later_than = std::chrono::steady_clock::now() - kLeastTime;
  std::optional<std::pair<SteadyTime, uint64_t>> oldest;
  for (const auto& [id, entry] : scans_) {
    const bool may_go = shares ? count_of(entry.owner) == most : entry.opened <= no_later_than;
    if (may_go && (!oldest || entry.opened < oldest->first)) oldest = {entry.opened, id};
  }
  if (!oldest) return false;
  close_for_others(oldest->second);
  return true;
}

void ScanTable::note_closed(uint64_t scan) {
  closed_.push_back(scan);
  if (closed_.size() > kMostScans) closed_.pop_front();
}

Error ScanTable::not_open(uint64_t scan) const {
  if (std::find(closed_.begin(), closed_.end(), scan) != closed_.end())
    return Error{
        ErrorCode::kNotFound,
        "the server has closed the scan: it lasted too long, or held back room that writes "
        "needed, or others needed its place; begin it again, and read it faster or in smaller "
        "parts"};
  return Error{ErrorCode::kNotFound,
               "the scan is not open any more, or a part of it went to a connection that broke; "
               "begin it again"};
}

void ScanTable::next(uint64_t scan, uint64_t slice, size_t most_pairs, Done done) {
  asio::post(thread_, [this, scan, slice, most_pairs, done = std::move(done)] {
    if (!stopping_) done(next_now(scan, slice, most_pairs));
  });
}

Result<ScanTable::Slice> ScanTable::open_now(const void* owner, const std::string& prefix,
                                             size_t most_pairs, const ShownState& shown) {
  // Else whoever begins again at once holds back what writes need for ever.
  if (std::chrono::steady_clock::now() - gave_way_ < kNoneAfterClosing)
    return make_error(ErrorCode::kResourceExhausted,
                      "writes need the room that scans hold back: try again in some seconds");
  if (count_of(owner) >= kMostScansOfOne)
    return make_error(ErrorCode::kFailedPrecondition,
                      fmt::format("{} scans are open on this connection, the most that one has; "
                                  "end one of them first",
                                  kMostScansOfOne));
  if (scans_.size() >= kMostScans && !make_place(owner))
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("{} scans are open, the most that this server takes; try again "
                                  "when one of them has ended",
                                  kMostScans));
  auto scan = machine_.start_scan(as_bytes(prefix));
  if (!scan) return tl::unexpected(with_context("scan", std::move(scan).error()));
  uint64_t id = 0;
  while (id == 0 || scans_.contains(id))
    id = ids_.next();
  Entry& entry = scans_[id];
  entry.scan = std::move(*scan);
  entry.owner = owner;
  entry.opened = std::chrono::steady_clock::now();
  entry.shown = shown;
  entry.shown.point = {entry.scan->epoch(), entry.scan->address()};
  arm_sweep();
  return take(id, entry, most_pairs);
}

Result<ScanTable::Slice> ScanTable::next_now(uint64_t scan, uint64_t slice, size_t most_pairs) {
  const auto found = scans_.find(scan);
  if (found == scans_.end() || found->second.next_slice != slice)
    return tl::unexpected(not_open(scan));
  if (most_pairs == 0) {
    const Slice last{0, found->second.shown, {}};
    scans_.erase(found);
    open_.store(scans_.size(), std::memory_order_relaxed);
    return last;
  }
  return take(scan, found->second, most_pairs);
}

Result<ScanTable::Slice> ScanTable::take(uint64_t id, Entry& entry, size_t most_pairs) {
  Slice slice{id, entry.shown, {}};
  size_t bytes = 0;
  const auto until = std::chrono::steady_clock::now() + kSliceTime;
  const auto visit = [&](ByteSpan key, ByteSpan value) {
    bytes += key.size() + value.size() + kPairOverhead;
    slice.pairs.emplace_back(tailrace::to_string(key), tailrace::to_string(value));
  };
  while (slice.pairs.size() < most_pairs && bytes < kSliceBytes) {
    const size_t pairs = std::min(pairs_at_once_, most_pairs - slice.pairs.size());
    auto more = entry.scan->next(pairs, kSliceLogBytes, visit);
    if (!more || !*more) {
      scans_.erase(id);
      open_.store(scans_.size(), std::memory_order_relaxed);
      if (!more) return tl::unexpected(with_context("scan", std::move(more).error()));
      slice.scan = 0;
      return slice;
    }
    if (std::chrono::steady_clock::now() >= until) break;
  }
  ++entry.next_slice;
  entry.used = std::chrono::steady_clock::now();
  return slice;
}

void ScanTable::arm_sweep() {
  if (std::exchange(sweeping_, true)) return;
  sweep_.expires_after(idle_timeout_ / 4);
  sweep_.async_wait([this](const std::error_code& error) {
    sweeping_ = false;
    if (error || stopping_) return;
    const SteadyTime now = std::chrono::steady_clock::now();
    std::erase_if(scans_, [&](const auto& one) {
      const bool too_old = now - one.second.opened > lifetime_;
      if (too_old) note_closed(one.first);
      return too_old || now - one.second.used > idle_timeout_;
    });
    if (!scans_.empty()) arm_sweep();
  });
}

}  // namespace tailrace::rpc
