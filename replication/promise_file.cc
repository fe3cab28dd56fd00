#include "replication/promise_file.h"

#include <utility>

#include "observability/logging.h"
#include "storage/atomic_file.h"

namespace tailrace::replication {

namespace {

constexpr storage::AtomicFileFormat kFormat{storage::four_letters("PROM"), 2};
constexpr size_t kFixedBytes = 32;
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
  TAILRACE_RETURN_IF_ERROR(write(fresh));
  return fresh;
}

Result<> PromiseFile::keep_room() {
  if (room_ == Room::kKept) return {};
  const auto reserved =
      storage::reserve_atomic_file(file_system_, path_, kFixedBytes + cluster_.size());
  if (!reserved) return tl::unexpected(reserved.error());
  if (!*reserved && std::exchange(room_, Room::kMissing) != Room::kMissing)
    observability::log_warning(
        "{}: the disk has no room to reserve for the next promises: this node may have to stop "
        "when "
        "the leader changes. Free disk space; it is tried again until there is some",
        path_.string());
  if (*reserved) room_ = Room::kKept;
  return {};
}

Result<Promise> PromiseFile::read() const {
  Result<storage::AtomicFileContent> content =
      storage::read_atomic_file(file_system_, path_, kFormat);
  if (!content) return tl::unexpected(with_context("read the promise", std::move(content).error()));
  const std::vector<std::byte>& bytes = content->bytes;
  const size_t cluster_bytes = bytes.size() >= kFixedBytes ? load<uint32_t>(bytes.data() + 24) : 0;
  if (bytes.size() < kFixedBytes || bytes.size() != kFixedBytes + cluster_bytes)
    return make_error(ErrorCode::kCorruption,
                      path_.string() + ": a promise of " + std::to_string(bytes.size()) +
                          " bytes; remove the node from the cluster and add it anew");
  const NodeId node{load<uint32_t>(bytes.data() + 20)};
  const std::string cluster = to_string(ByteSpan(bytes).subspan(kFixedBytes));
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
  return promise;
}

Result<> PromiseFile::write(const Promise& promise) {
  if (cluster_.size() > kMostClusterBytes)
    return make_error(ErrorCode::kInvalidArgument, "a cluster's name has at most 255 bytes");
  std::vector<std::byte> bytes(kFixedBytes + cluster_.size());
  store(bytes.data(), promise.epoch.value);
  store(bytes.data() + 8, promise.incarnation);
  store(bytes.data() + 16, promise.leader.value);
  store(bytes.data() + 20, node_.value);
  store(bytes.data() + 24, static_cast<uint32_t>(cluster_.size()));
  store(bytes.data() + 28, static_cast<uint32_t>(promise.vote));
  if (!cluster_.empty()) std::memcpy(bytes.data() + kFixedBytes, cluster_.data(), cluster_.size());
  if (room_ == Room::kKept) room_ = Room::kUnknown;
  return storage::replace_reserved_file(file_system_, path_, kFormat, bytes);
}

}  // namespace tailrace::replication
