#pragma once
// Blocks of event files that were read lately, decompressed and checked; one cache for all files.

#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>

#include "core/mutex.h"

namespace tailrace::history {

/// Any thread. A lock for each block, none for each event.
class BlockCache {
 public:
  /// `most_bytes` of memory for what is kept; what somebody still reads is beyond that.
  explicit BlockCache(size_t most_bytes) : most_bytes_(most_bytes) {}

  /// A number for a file that is opened now; never the same again.
  uint64_t next_file();
  /// Null: it is not there.
  template <class Block>
  std::shared_ptr<const Block> find(uint64_t file, uint64_t at) {
    return std::static_pointer_cast<const Block>(find_any({file, at}));
  }
  /// Forgets those that were not asked for longest. One that is longer than a quarter of the cache
  /// is not kept.
  void put(uint64_t file, uint64_t at, std::shared_ptr<const void> block, size_t bytes);
  /// Of a file that is closed.
  void forget(uint64_t file);
  size_t bytes() const;

 private:
  struct Key {
    uint64_t file, at;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    size_t operator()(const Key& key) const { return key.file * 0x9e3779b97f4a7c15 + key.at; }
  };
  struct Kept {
    Key key;
    std::shared_ptr<const void> block;
    size_t bytes;
  };
  using List = std::list<Kept>;

  std::shared_ptr<const void> find_any(Key key);
  void remove(List::iterator kept) TAILRACE_REQUIRES(mutex_);

  const size_t most_bytes_;
  mutable Mutex mutex_;
  List kept_ TAILRACE_GUARDED_BY(mutex_);  // asked for lately first
  std::unordered_map<Key, List::iterator, Hash> by_key_ TAILRACE_GUARDED_BY(mutex_);
  size_t bytes_ TAILRACE_GUARDED_BY(mutex_) = 0;
  uint64_t files_ TAILRACE_GUARDED_BY(mutex_) = 0;
};

}  // namespace tailrace::history
