#include "replication/promise_file.h"

#include <utility>

#include "observability/logging.h"
#include "storage/atomic_file.h"

namespace tailrace::replication {

namespace {

constexpr storage::AtomicFileFormat kFormat{storage::four_letters("PROM"), 4};
/// Written while the cluster's identity is not known, and while starts are not counted, so that a
/// version before can still read it.
constexpr storage::AtomicFileFormat kFormat3{storage::four_letters("PROM"), 3};
constexpr storage::AtomicFileFormat kFormat2{storage::four_letters("PROM"), 2};
constexpr size_t kFixedBytes = 32;      // of versions 1 and 2; version 3 goes on with
constexpr size_t kMoreFixedBytes = 24;  // starts, run, how many lives were seen, and are owed;
constexpr size_t kIdentityBytes = 16;   // version 4 with the cluster's identity

size_t fixed_bytes_of(uint32_t version) {
  return kFixedBytes + (version >= 3 ? kMoreFixedBytes : 0) + (version >= 4 ? kIdentityBytes : 0);
}
constexpr size_t kSeenBytes = 28;
constexpr size_t kMostClusterBytes = 255;

}  // namespace

PromiseFile::PromiseFile(storage::FileSystem& file_system, storage::Path directory, NodeId node,
                         std::string cluster)
    : file_system_(file_system),
      directory_(std::move(directory)),
      path_(directory_ / "PROMISE"),
      node_(node),
      cluster_(std::move(cluster)) {}

Result<Promise> PromiseFile::open(uint64_t new_incarnation) {
  Result<Promise> found = read();
  if (found) TAILRACE_RETURN_IF_ERROR(keep_room());
  if (found || found.error().code != ErrorCode::kNotFound) return found;
  TAILRACE_RETURN_IF_ERROR(file_system_.make_directory(directory_));
  Promise fresh;
  fresh.incarnation = new_incarnation;
  fresh.starts = 1;
  TAILRACE_RETURN_IF_ERROR(write(fresh));
  return fresh;
}

Result<> PromiseFile::keep_room() {
  if (room_ == Room::kKept) return {};
  TAILRACE_ASSIGN_OR_RETURN(
      const auto reserved,
      storage::reserve_atomic_file(file_system_, path_, kFixedBytes + cluster_.size()));
  if (!reserved && std::exchange(room_, Room::kMissing) != Room::kMissing)
    observability::log_warning(
        "{}: the disk has no room to reserve for the next promises: this node may have to stop "
        "when "
        "the leader changes. Free disk space; it is tried again until there is some",
        path_.string());
  if (reserved) room_ = Room::kKept;
  return {};
}

Result<Promise> PromiseFile::read() const {
  Result<storage::AtomicFileContent> content =
      storage::read_atomic_file(file_system_, path_, kFormat);
  if (!content && content.error().code == ErrorCode::kCorruption)
    return make_error(ErrorCode::kCorruption,
                      "read the promise: " + content.error().message +
                          ", or move it away: the node then counts as one with a new disk, and the "
                          "only voter of a cluster goes on after `tailrace promote`");
  if (!content) return tl::unexpected(with_context("read the promise", std::move(content).error()));
  const std::vector<std::byte>& bytes = content->bytes;
  const bool counts_starts = content->version >= 3;
  const size_t fixed_bytes = fixed_bytes_of(content->version);
  const bool has_fixed = bytes.size() >= fixed_bytes;
  const uint64_t cluster_bytes = has_fixed ? load<uint32_t>(bytes.data() + 24) : 0;
  const uint64_t seen = has_fixed && counts_starts ? load<uint32_t>(bytes.data() + 48) : 0;
  const uint64_t owed = has_fixed && counts_starts ? load<uint32_t>(bytes.data() + 52) : 0;
  if (!has_fixed || bytes.size() != fixed_bytes + cluster_bytes + (seen + owed) * kSeenBytes)
    return make_error(ErrorCode::kCorruption,
                      path_.string() + ": a promise of " + std::to_string(bytes.size()) +
                          " bytes; remove the node from the cluster and add it anew");
  const NodeId node{load<uint32_t>(bytes.data() + 20)};
  const std::string cluster = to_string(ByteSpan(bytes).subspan(fixed_bytes, cluster_bytes));
  if (node != node_ || cluster != cluster_)
    return make_error(ErrorCode::kFailedPrecondition,
                      path_.string() + " belongs to node " + std::to_string(node.value) +
                          " of cluster '" + cluster + "', this is node " +
                          std::to_string(node_.value) + " of '" + cluster_ +
                          "': give it a data directory of its own");
  Promise promise;
  promise.epoch = Epoch{load<uint64_t>(bytes.data())};
  promise.incarnation = load<uint64_t>(bytes.data() + 8);
  promise.leader = NodeId{load<uint32_t>(bytes.data() + 16)};
  // Version 1 had no votes: every voter's word counted.
  const uint32_t vote =
      content->version < 2 ? static_cast<uint32_t>(Vote::kFull) : load<uint32_t>(bytes.data() + 28);
  if (vote > static_cast<uint32_t>(Vote::kFull))
    return make_error(ErrorCode::kCorruption,
                      path_.string() + ": a vote of kind " + std::to_string(vote) +
                          "; remove the node from the cluster and add it anew");
  promise.vote = static_cast<Vote>(vote);
  if (!counts_starts) return promise;
  promise.starts = load<uint64_t>(bytes.data() + 32);
  promise.run = load<uint64_t>(bytes.data() + 40);
  if (promise.starts == 0)
    return make_error(ErrorCode::kCorruption,
                      path_.string() +
                          ": no start of the disk is counted; "
                          "remove the node from the cluster and add it anew");
  if (content->version >= 4)
    promise.identity = {load<uint64_t>(bytes.data() + 56), load<uint64_t>(bytes.data() + 64)};
  const std::byte* at = bytes.data() + fixed_bytes + cluster_bytes;
  for (uint64_t i = 0; i < seen; ++i, at += kSeenBytes)
    promise.seen.emplace_back(
        NodeId{load<uint32_t>(at)},
        Life{load<uint64_t>(at + 4), load<uint64_t>(at + 12), load<uint64_t>(at + 20)});
  for (uint64_t i = 0; i < owed; ++i, at += kSeenBytes)
    promise.owed.push_back({NodeId{load<uint32_t>(at)}, load<uint64_t>(at + 4),
                            Epoch{load<uint64_t>(at + 12)}, Address{load<uint64_t>(at + 20)}});
  return promise;
}

Result<> PromiseFile::write(const Promise& promise) {
  if (cluster_.size() > kMostClusterBytes)
    return make_error(ErrorCode::kInvalidArgument, "a cluster's name has at most 255 bytes");
  const bool counts_starts = promise.starts != 0;
  const bool has_identity = counts_starts && promise.identity.known();
  const size_t fixed_bytes = fixed_bytes_of(has_identity ? 4 : counts_starts ? 3 : 2);
  const size_t seen = counts_starts ? promise.seen.size() : 0;
  const size_t owed = counts_starts ? promise.owed.size() : 0;
  std::vector<std::byte> bytes(fixed_bytes + cluster_.size() + (seen + owed) * kSeenBytes);
  store(bytes.data(), promise.epoch.value);
  store(bytes.data() + 8, promise.incarnation);
  store(bytes.data() + 16, promise.leader.value);
  store(bytes.data() + 20, node_.value);
  store(bytes.data() + 24, static_cast<uint32_t>(cluster_.size()));
  store(bytes.data() + 28, static_cast<uint32_t>(promise.vote));
  if (!cluster_.empty()) std::memcpy(bytes.data() + fixed_bytes, cluster_.data(), cluster_.size());
  if (room_ == Room::kKept) room_ = Room::kUnknown;
  if (!counts_starts) return storage::replace_reserved_file(file_system_, path_, kFormat2, bytes);
  store(bytes.data() + 32, promise.starts);
  store(bytes.data() + 40, promise.run);
  store(bytes.data() + 48, static_cast<uint32_t>(seen));
  store(bytes.data() + 52, static_cast<uint32_t>(owed));
  if (has_identity) {
    store(bytes.data() + 56, promise.identity.high);
    store(bytes.data() + 64, promise.identity.low);
  }
  std::byte* at = bytes.data() + fixed_bytes + cluster_.size();
  for (const auto& [node, life] : promise.seen) {
    store(at, node.value);
    store(at + 4, life.incarnation);
    store(at + 12, life.starts);
    store(at + 20, life.run);
    at += kSeenBytes;
  }
  for (const Promise::Owed& one : promise.owed) {
    store(at, one.teller.value);
    store(at + 4, one.incarnation);
    store(at + 12, one.last_epoch.value);
    store(at + 20, one.end.value);
    at += kSeenBytes;
  }
  return storage::replace_reserved_file(file_system_, path_, has_identity ? kFormat : kFormat3,
                                        bytes);
}

}  // namespace tailrace::replication
