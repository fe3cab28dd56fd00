// FASTER's half, by its public headers: its keys, values and contexts are compiled into the loop,
// as its users do it. Without a disk: all is in memory.

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include <core/faster.h>
#include <device/null_disk.h>
#include <sys/mman.h>

#include "tests/load/faster/side.h"

namespace {
constexpr size_t kHugePage = size_t{2} << 20;
}

// FASTER allocates its index and the pages of its log by this. Here what is larger than a huge page
// lies on huge pages, as all of Tailrace's does.
extern "C" void* aligned_alloc(size_t alignment, size_t bytes) {
  const bool huge = bytes >= kHugePage;
  void* memory = nullptr;
  const size_t least = std::max(alignment, sizeof(void*));
  if (::posix_memalign(&memory, huge ? std::max(least, kHugePage) : least, bytes) != 0)
    return nullptr;
  if (huge) ::madvise(memory, bytes, MADV_HUGEPAGE);
  return memory;
}

namespace beside {

namespace {

using FASTER::core::AsyncCallback;
using FASTER::core::IAsyncContext;
using FASTER::core::Status;

struct Key {
  uint64_t number;

  static constexpr uint32_t size() { return sizeof(Key); }
  FASTER::core::KeyHash GetHash() const {
    return FASTER::core::KeyHash(FASTER::core::FasterHashHelper<uint64_t>::compute(number));
  }
  bool operator==(const Key& other) const { return number == other.number; }
  bool operator!=(const Key& other) const { return number != other.number; }
};

struct Value {
  std::atomic<uint64_t> number{0};

  static constexpr uint32_t size() { return sizeof(Value); }
};
static_assert(sizeof(Value) == 8);

/// What the three kinds of context share.
template <typename Context>
class ContextOfKey : public IAsyncContext {
 public:
  using key_t = Key;
  using value_t = Value;

  explicit ContextOfKey(uint64_t key) : key_{key} {}
  const Key& key() const { return key_; }
  static constexpr uint32_t value_size() { return sizeof(Value); }
  static constexpr uint32_t value_size(const Value&) { return sizeof(Value); }

 protected:
  Status DeepCopy_Internal(IAsyncContext*& copy) override {
    return IAsyncContext::DeepCopy_Internal(static_cast<Context&>(*this), copy);
  }

 private:
  Key key_;
};

class Reading : public ContextOfKey<Reading> {
 public:
  using ContextOfKey::ContextOfKey;
  // The value is taken out, as a read of Tailrace does.
  void Get(const Value& value) { taken = value.number.load(std::memory_order_relaxed); }
  void GetAtomic(const Value& value) { taken = value.number.load(std::memory_order_acquire); }

  uint64_t taken = 0;
};

class Putting : public ContextOfKey<Putting> {
 public:
  Putting(uint64_t key, uint64_t number) : ContextOfKey(key), number_(number) {}
  void Put(Value& value) { value.number.store(number_, std::memory_order_relaxed); }
  // A plain store is all that it takes; one that is sequentially consistent would cost a fence.
  bool PutAtomic(Value& value) {
    value.number.store(number_, std::memory_order_release);
    return true;
  }

 private:
  uint64_t number_;
};

class Adding : public ContextOfKey<Adding> {
 public:
  using ContextOfKey::ContextOfKey;
  void RmwInitial(Value& value) { value.number.store(1, std::memory_order_relaxed); }
  void RmwCopy(const Value& old, Value& value) {
    value.number.store(old.number.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  bool RmwAtomic(Value& value) {
    value.number.fetch_add(1);
    return true;
  }
};

[[noreturn]] void not_at_once() {
  throw std::runtime_error("FASTER: an operation did not succeed at once");
}

void on_later(IAsyncContext*, Status) {}

void expect_ok(Status status) {
  if (status != Status::Ok) [[unlikely]]
    not_at_once();
}

class FasterSide final : public Side {
  using Store = FASTER::core::FasterKv<Key, Value, FASTER::device::NullDisk>;
  static constexpr uint64_t kPageBytes = uint64_t{32} << 20;  // FASTER's
  static constexpr uint64_t kRecordBytes = 24;

  class Session {
   public:
    explicit Session(Store& store) : store_(store) { store_.StartSession(); }
    ~Session() { store_.StopSession(); }

   private:
    Store& store_;
  };

 public:
  // Twice the room that the records take, so that all of them stay where they may be changed.
  explicit FasterSide(const Shape& shape)
      : store_(shape.index_buckets,
               std::max<uint64_t>(shape.keys * kRecordBytes * 2 / kPageBytes + 1, 8) * kPageBytes,
               "") {}

  void load(const uint64_t* keys, uint64_t count, uint32_t) override {
    const Session session(store_);
    for (uint64_t i = 0; i < count; ++i) {
      if (i % kBetweenLooks == 0) store_.Refresh();
      Putting putting(keys[i], 0);
      expect_ok(store_.Upsert(putting, on_later, i + 1));
    }
  }

  void run(const Stretch& stretch) override {
    const Session session(store_);
    if (stretch.rmw)
      loop<true>(stretch);
    else
      loop<false>(stretch);
  }

  uint64_t sum_of_values(const uint64_t* keys, uint64_t count) override {
    const Session session(store_);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; ++i) {
      Reading reading(keys[i]);
      expect_ok(store_.Read(reading, on_later, i + 1));
      sum += reading.taken;
    }
    return sum;
  }

 private:
  template <bool kRmw>
  void loop(const Stretch& stretch) {
    const uint64_t* const draws = stretch.draws;
    const uint64_t mask = stretch.mask, write = stretch.write;
    uint64_t at = stretch.at->load(std::memory_order_relaxed), sum = 0;
    while (!stretch.stop->load(std::memory_order_relaxed)) {
      store_.Refresh();
      for (uint64_t i = 0; i < kBetweenLooks; ++i) {
        const uint64_t draw = draws[at++ & mask];
        const uint64_t key = draw & ~write;
        if ((draw & write) == 0) {
          Reading reading(key);
          expect_ok(store_.Read(reading, on_later, at));
          sum += reading.taken;
        } else if constexpr (kRmw) {
          Adding adding(key);
          expect_ok(store_.Rmw(adding, on_later, at));
        } else {
          Putting putting(key, at);
          expect_ok(store_.Upsert(putting, on_later, at));
        }
      }
      stretch.at->store(at, std::memory_order_relaxed);
    }
    // What was read is used.
    asm volatile("" : : "r"(sum));
  }

  Store store_;
};

}  // namespace

std::unique_ptr<Side> open_faster(const Shape& shape) {
  return std::make_unique<FasterSide>(shape);
}

}  // namespace beside
