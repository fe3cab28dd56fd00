#include "rpc/scan_table.h"

#include <algorithm>

#include <asio/post.hpp>
#include <fmt/format.h>

namespace tailrace::rpc {
namespace {

constexpr size_t kSliceBytes = 1u << 20;       // of keys and values
constexpr uint64_t kSliceLogBytes = 1u << 20;  // looked at in one step
constexpr std::chrono::milliseconds kSliceTime{20};
// What one step may bring beyond kSliceBytes.
constexpr size_t kOvershootBytes = 8u << 20;
constexpr size_t kMostPairsAtOnce = 256;
// Of a pair's place in an answer.
constexpr size_t kPairOverhead = 32;

}  // namespace

ScanTable::ScanTable(statemachine::StateMachine& machine, size_t max_value_bytes,
                     std::chrono::milliseconds idle_timeout)
    : machine_(machine),
      pairs_at_once_(std::clamp<size_t>(kOvershootBytes / std::max<size_t>(max_value_bytes, 1), 1,
                                        kMostPairsAtOnce)),
      idle_timeout_(idle_timeout),
      ids_(random_seed()),
      sweep_(thread_) {}

ScanTable::~ScanTable() {
  stop();
}

void ScanTable::stop() {
  asio::post(thread_, [this] {
    stopping_ = true;
    sweep_.cancel();
    scans_.clear();
  });
  thread_.join();
}

void ScanTable::open(std::string prefix, size_t most_pairs, ShownState shown, Done done) {
  asio::post(thread_,
             [this, prefix = std::move(prefix), most_pairs, shown, done = std::move(done)] {
               if (!stopping_) done(open_now(prefix, most_pairs, shown));
             });
}

void ScanTable::next(uint64_t scan, uint64_t slice, size_t most_pairs, Done done) {
  asio::post(thread_, [this, scan, slice, most_pairs, done = std::move(done)] {
    if (!stopping_) done(next_now(scan, slice, most_pairs));
  });
}

Result<ScanTable::Slice> ScanTable::open_now(const std::string& prefix, size_t most_pairs,
                                             const ShownState& shown) {
  if (scans_.size() >= kMostScans)
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
  entry.shown = shown;
  entry.shown.point = {entry.scan->epoch(), entry.scan->address()};
  arm_sweep();
  return take(id, entry, most_pairs);
}

Result<ScanTable::Slice> ScanTable::next_now(uint64_t scan, uint64_t slice, size_t most_pairs) {
  const auto found = scans_.find(scan);
  if (found == scans_.end() || found->second.next_slice != slice)
    return make_error(ErrorCode::kNotFound,
                      "the scan is not open any more, or a part of it went to a connection that "
                      "broke; begin it again");
  if (most_pairs == 0) {
    const Slice last{0, found->second.shown, {}};
    scans_.erase(found);
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
    const auto idle_since = std::chrono::steady_clock::now() - idle_timeout_;
    std::erase_if(scans_, [&](const auto& one) { return one.second.used < idle_since; });
    if (!scans_.empty()) arm_sweep();
  });
}

}  // namespace tailrace::rpc
