#pragma once
// Which checkpoints stay on disk: the newest ones, as many as wanted, and the files that they need
// of older ones (a snapshot that an incremental one builds on, an index image). An older one whose
// files are needed loses its MANIFEST only: it holds back no part of the log any more.

#include <cstdint>
#include <set>
#include <vector>

#include "kv/checkpoint/files.h"

namespace tailrace::kv {

class KeptCheckpoints {
 public:
  explicit KeptCheckpoints(size_t wanted) : wanted_(wanted) {}

  /// In ascending order of token.
  void add(Manifest manifest) { manifests_.push_back(std::move(manifest)); }
  /// Set aside by recovery: they stay for whoever wants to look at them until they are older than
  /// all good ones.
  void add_damaged(uint64_t token) { damaged_.insert(token); }

  const std::vector<Manifest>& manifests() const { return manifests_; }
  const Manifest* find(uint64_t token) const;
  /// Null when there is none; an index image alone is no state.
  const Manifest* newest_state() const;
  /// The least address that one of them needs on disk; the greatest there is when there is none.
  LogAddress begin() const;

  struct Plan {
    std::vector<uint64_t> retire;  // take the MANIFEST away
    std::vector<uint64_t> remove;  // the directory
  };
  /// What to do with the directories that there are. Who needs others comes before them, so that a
  /// crash in between leaves no checkpoint without its files. `image`: the token of the index image
  /// that the next checkpoint may build on, or 0.
  Plan plan(const std::vector<uint64_t>& on_disk, uint64_t image,
            const std::multiset<uint64_t>& being_read) const;
  /// Retired or removed.
  void forget(uint64_t token);

 private:
  const size_t wanted_;
  std::vector<Manifest> manifests_;
  std::set<uint64_t> damaged_;
};

}  // namespace tailrace::kv
