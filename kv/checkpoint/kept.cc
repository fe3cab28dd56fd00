#include "kv/checkpoint/kept.h"

#include <algorithm>
#include <limits>

namespace tailrace::kv {

namespace {
bool is_state(const Manifest& manifest) {
  return manifest.info.kind != CheckpointKind::kIndexOnly;
}
}  // namespace

const Manifest* KeptCheckpoints::find(uint64_t token) const {
  for (const Manifest& manifest : manifests_) {
    if (manifest.token() == token) return &manifest;
  }
  return nullptr;
}

const Manifest* KeptCheckpoints::newest_state() const {
  const auto newest = std::find_if(manifests_.rbegin(), manifests_.rend(), is_state);
  return newest == manifests_.rend() ? nullptr : &*newest;
}

LogAddress KeptCheckpoints::begin() const {
  LogAddress least = std::numeric_limits<LogAddress>::max();
  for (const Manifest& manifest : manifests_) {
    if (manifest.format > 1 && is_state(manifest)) least = std::min(least, manifest.info.begin);
  }
  return least;
}

KeptCheckpoints::Plan KeptCheckpoints::plan(const std::vector<uint64_t>& on_disk, uint64_t image,
                                            const std::multiset<uint64_t>& being_read) const {
  std::set<uint64_t> states;
  std::set<uint64_t> needed{image};
  for (auto manifest = manifests_.rbegin(); manifest != manifests_.rend(); ++manifest) {
    const uint64_t token = manifest->token();
    if (!is_state(*manifest) || (states.size() >= wanted_ && !being_read.contains(token))) continue;
    states.insert(token);
    for (const uint64_t other : manifest->needed_tokens())
      needed.insert(other);
  }
  Plan plan;
  for (auto token = on_disk.rbegin(); token != on_disk.rend(); ++token) {
    if (states.contains(*token)) continue;
    if (needed.contains(*token)) {
      const Manifest* manifest = find(*token);
      if (manifest != nullptr && is_state(*manifest)) plan.retire.push_back(*token);
      continue;
    }
    const bool is_evidence =
        damaged_.contains(*token) && !states.empty() && *token > *states.begin();
    if (!is_evidence) plan.remove.push_back(*token);
  }
  return plan;
}

void KeptCheckpoints::forget(uint64_t token) {
  std::erase_if(manifests_, [&](const Manifest& manifest) { return manifest.token() == token; });
  damaged_.erase(token);
}

}  // namespace tailrace::kv
