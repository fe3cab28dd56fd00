// Tailrace's half: the loops of `tailrace bench kv` (app/bench/kv_load.cc), without its clock.

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <string>
#include <vector>

#include "app/bench/add_one.h"
#include "app/bench/key_sequence.h"
#include "core/bytes.h"
#include "kv/store.h"
#include "storage/file_system.h"
#include "tests/load/faster/side.h"

namespace beside {

namespace {

namespace app = tailrace::app;
namespace kv = tailrace::kv;
using app::bytes_of;

constexpr app::AddOne kAddOne;
constexpr uint64_t kZero = 0;

void expect_ok(const tailrace::Result<>& result) {
  if (!result) [[unlikely]]
    throw std::runtime_error("Tailrace: " + result.error().message);
}

template <typename Value>
Value take(tailrace::Result<Value> result) {
  if (!result) throw std::runtime_error("Tailrace: " + result.error().message);
  return std::move(*result);
}

class TailraceSide final : public Side {
  static constexpr uint64_t kRecordBytes = 32;

 public:
  explicit TailraceSide(const Shape& shape) {
    kv::StoreOptions options;
    options.directory = tailrace::storage::Path(shape.directory) / "store";
    options.owner = "beside";
    // Twice the room that the records take, as in the other half.
    options.memory_bytes = std::max<uint64_t>(shape.keys * kRecordBytes * 2, 256u << 20);
    options.page_bytes = static_cast<uint32_t>(std::clamp<uint64_t>(
        std::bit_floor(options.memory_bytes / 16), uint64_t{1} << 20, uint64_t{16} << 20));
    options.index_buckets = shape.index_buckets;
    store_ = take(kv::Store::open(tailrace::storage::posix_file_system(), options));
  }

  void load(const uint64_t* keys, uint64_t count, uint32_t thread) override {
    const auto session = take(store_->start_session(thread + 1));
    constexpr uint64_t kBatch = 32;
    kv::Operation operations[kBatch];
    for (uint64_t at = 0; at < count;) {
      size_t filled = 0;
      for (; filled < kBatch && at < count; ++filled, ++at) {
        operations[filled].kind = kv::OperationKind::kUpsert;
        operations[filled].key = bytes_of(keys[at]);
        operations[filled].value = bytes_of(kZero);
        operations[filled].serial = at + 1;
      }
      expect_ok(session->run({operations, filled}));
    }
  }

  void run(const Stretch& stretch) override {
    const auto session = take(store_->start_session(stretch.thread + 1));
    if (stretch.batch > 1)
      batches(stretch, *session);
    else if (stretch.rmw)
      single_calls<true>(stretch, *session);
    else
      single_calls<false>(stretch, *session);
  }

  uint64_t sum_of_values(const uint64_t* keys, uint64_t count) override {
    uint64_t sum = 0;
    std::string value;
    for (uint64_t i = 0; i < count; ++i) {
      expect_ok(store_->read(bytes_of(keys[i]), value));
      sum += tailrace::load<uint64_t>(tailrace::as_bytes(value).data());
    }
    return sum;
  }

 private:
  template <bool kRmw>
  static void single_calls(const Stretch& stretch, kv::Session& session) {
    const uint64_t* const draws = stretch.draws;
    const uint64_t mask = stretch.mask, write = stretch.write;
    const kv::Serial serial = session.last_serial();
    const uint64_t from = stretch.at->load(std::memory_order_relaxed);
    uint64_t at = from;
    std::string value;
    while (!stretch.stop->load(std::memory_order_relaxed)) {
      for (uint64_t i = 0; i < kBetweenLooks; ++i) {
        const uint64_t draw = draws[at++ & mask];
        const uint64_t key = draw & ~write;
        if ((draw & write) == 0) {
          expect_ok(session.read(bytes_of(key), value));
        } else if constexpr (kRmw) {
          const auto added = session.rmw(bytes_of(key), kAddOne, serial + at - from);
          if (!added) [[unlikely]]
            throw std::runtime_error("Tailrace: " + added.error().message);
        } else {
          expect_ok(session.upsert(bytes_of(key), bytes_of(at), serial + at - from));
        }
      }
      stretch.at->store(at, std::memory_order_relaxed);
    }
  }

  static void batches(const Stretch& stretch, kv::Session& session) {
    const size_t batch = stretch.batch;
    const kv::Serial serial = session.last_serial();
    std::vector<uint64_t> keys(batch);
    std::vector<std::string> values(batch);
    std::vector<kv::Operation> operations(batch);
    for (size_t i = 0; i < batch; ++i) {
      operations[i].key = bytes_of(keys[i]);
      operations[i].value = bytes_of(kZero);
      operations[i].modify = kv::Modify(kAddOne);
      operations[i].result = &values[i];
    }
    const auto writing = stretch.rmw ? kv::OperationKind::kRmw : kv::OperationKind::kUpsert;
    const uint64_t from = stretch.at->load(std::memory_order_relaxed);
    uint64_t at = from;
    while (!stretch.stop->load(std::memory_order_relaxed)) {
      for (size_t i = 0; i < batch; ++i) {
        const uint64_t draw = stretch.draws[at++ & stretch.mask];
        keys[i] = draw & ~stretch.write;
        operations[i].kind = (draw & stretch.write) != 0 ? writing : kv::OperationKind::kRead;
        operations[i].serial = serial + at - from;
      }
      expect_ok(session.run(operations));
      stretch.at->store(at, std::memory_order_relaxed);
    }
  }

  std::unique_ptr<kv::Store> store_;
};

}  // namespace

std::unique_ptr<Side> open_tailrace(const Shape& shape) {
  return std::make_unique<TailraceSide>(shape);
}

}  // namespace beside
