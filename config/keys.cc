#include "config/keys.h"

#include "config/yaml_reader.h"
#include "statemachine/types/rules.h"

namespace tailrace::config {

namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kTiB = uint64_t{1} << 40;
constexpr uint64_t kSecond = 1000;
constexpr uint64_t kLongest = kMostDays * 24 * 3600 * kSecond;

/// An enumeration of one byte, read as its number.
template <typename Enum>
uint8_t* number_of(Enum& value) {
  static_assert(sizeof(Enum) == 1);
  return reinterpret_cast<uint8_t*>(&value);
}

// clang-format off
#define TARGET(field) [](NodeConfig& c) -> Target { return &c.field; }
#define TARGET_CHOICE(field) [](NodeConfig& c) -> Target { return number_of(c.field); }

constexpr Key kKeys[] = {
  // ---- the node
  {"", "cluster", Form::kText, 0, 0, "", TARGET(node.cluster), "must be given",
   "The cluster's name, the same on every node; at most 255 bytes. A data directory of another cluster is refused."},
  {"", "node", Form::kNumber, 1, UINT32_MAX, "", TARGET(node.self.value), "must be given",
   "This node's number, which no other node of the cluster has."},
  {"", "data_dir", Form::kText, 0, 0, "", TARGET(data_dir), "must be given",
   "The directory of the log, the store and the promise. A relative one begins at the working directory."},
  {"", "log_level", Form::kText, 0, 0, "", TARGET(log_level), "",
   "What is written to standard error: debug, info, warning, error or off."},

  // ---- storage
  {"storage", "io", Form::kChoice, 0, 0, "auto io_uring posix", TARGET_CHOICE(io), "",
   "How files are read and written. auto: by io_uring, or by ordinary system calls where the kernel refuses that; the log says why. io_uring: end instead. posix: ordinary calls, slower."},

  // ---- log
  {"log", "page_bytes", Form::kPowerOfTwo, 64 * kKiB, 64 * kMiB, "", TARGET(log.page_bytes), "",
   "A page of the log's memory. Bounds a record: the largest value is 128 KiB less. Records do not cross pages, so with 4 MiB a third more is written and sent for values of 1 MiB, with 16 MiB a fifteenth. The same on all nodes. Fixed when the log is created."},
  {"log", "buffer_pages", Form::kNumber, 4, 4096, "", TARGET(log.buffer_pages), "",
   "How many pages are in memory; a power of two. More where the disk has pauses and writers must not wait for it."},
  {"log", "segment_bytes", Form::kPowerOfTwo, 64 * kKiB, 64 * kGiB, "", TARGET(log.segment_bytes), "",
   "One file of the log, and what is given back to the disk at a time. Fixed when the log is created."},
  {"log", "spare_segments", Form::kNumber, 0, 1024, "", TARGET(log.spare_segments), "",
   "How many files that truncation has emptied are kept, to be written again: that is faster than new ones."},
  {"log", "flushes_in_flight", Form::kNumber, 1, 64, "", TARGET(log.flushes_in_flight), "",
   "How many writes may be under way at a time. More for disks with many queues."},
  {"log", "overlap_bytes", Form::kSize, 0, 64 * kMiB, "", TARGET(log.overlap_bytes), "",
   "While a write is under way, the next one begins once so many bytes wait for it; what is less goes together when the first is done. 0: at once."},
  {"log", "reserve_disk_bytes", Form::kSize, 0, kTiB, "", TARGET(log.reserve_disk_bytes), "",
   "Writes are refused while the disk has less than this to spare, so that what must be written finds room."},
  {"log", "proven_lag_bytes", Form::kSize, kMiB, kTiB, "", TARGET(log.proven_lag_bytes), "",
   "How much of what is durable may be unnoted in META. Less: damage is told from an unfinished write in more of the log; more writes of META."},
  {"log", "proven_lag_time", Form::kTime, 10, kLongest, "", TARGET(log.proven_lag_time), "",
   "The same in time."},
  {"log", "huge_pages", Form::kFlag, 0, 0, "", TARGET(log.huge_pages), "",
   "Whether the log's memory is in huge pages, where the system has them."},

  // ---- store
  {"store", "memory_bytes", Form::kSize, kMiB, 16 * kTiB, "", TARGET(store.memory_bytes), "",
   "Memory for the newest records; older ones are read from the disk. At least four pages."},
  {"store", "disk_bytes", Form::kSize, 0, 1024 * kTiB, "", TARGET(store.disk_bytes), "what the disk has",
   "What the store may take on disk. Beyond it writes are refused until compaction has made room. At least four segments; twice what the live pairs take is a good value."},
  {"store", "page_bytes", Form::kPowerOfTwo, 64 * kKiB, kGiB, "", TARGET(store.page_bytes), "",
   "A page of the store's memory. Bounds a pair. Fixed when the store is created."},
  {"store", "segment_bytes", Form::kPowerOfTwo, 64 * kKiB, 64 * kGiB, "", TARGET(store.segment_bytes), "",
   "One file of the store, and what is given back to the disk at a time. Fixed when the store is created."},
  {"store", "index_buckets", Form::kPowerOfTwo, 64, uint64_t{1} << 34, "", TARGET(store.index_buckets), "",
   "Places of the hash index at first, each of 64 bytes for seven keys."},
  {"store", "index_grows", Form::kFlag, 0, 0, "", TARGET(store.index_grows), "",
   "Whether the index doubles while the node works, when there are more keys than places."},
  {"store", "mutable_fraction", Form::kFraction, 0, 0, "", TARGET(store.mutable_fraction), "",
   "The part of memory in which records are updated where they stand; in the rest an update writes a copy."},
  {"store", "copy_reads_to_tail", Form::kFlag, 0, 0, "", TARGET(store.copy_reads_to_tail), "",
   "Whether a record that was read from the disk is kept in memory. For reads that come again."},
  {"store", "huge_pages", Form::kFlag, 0, 0, "", TARGET(store.huge_pages), "",
   "Whether the store's memory is in huge pages, where the system has them."},
  {"store", "checkpoints_kept", Form::kNumber, 1, 100, "", TARGET(store.checkpoints_kept), "",
   "How many checkpoints stay on disk. A damaged newest one falls back to the one before."},
  {"store", "check_log_at_open", Form::kFlag, 0, 0, "", TARGET(store.check_log_at_open), "",
   "Whether a start reads and checks all of the store. Without it a start is shorter, and damage is found when it is read."},
  {"store", "recovery_threads", Form::kNumber, 0, 64, "", TARGET(store.recovery_threads), "one for each processor, at most four",
   "Threads that check the store and build its index at a start."},
  {"store.compaction", "automatic", Form::kFlag, 0, 0, "", TARGET(store.compaction.automatic), "",
   "Whether garbage is cleared away without being asked."},
  {"store.compaction", "target_utilisation", Form::kFraction, 0, 0, "", TARGET(store.compaction.target_utilisation), "",
   "Compact while less than this part of the store's log is live. Higher: less disk, more writing."},
  {"store.compaction", "bytes_per_s", Form::kSize, 0, kTiB, "", TARGET(store.compaction.bytes_per_s), "no limit",
   "How much compaction reads a second. A store that needs room ignores it."},
  {"store.compaction", "least_log_bytes", Form::kSize, 0, 1024 * kTiB, "", TARGET(store.compaction.least_log_bytes), "",
   "Do not compact before the store's log is this long, or takes a quarter of disk_bytes."},
  {"store.compaction", "quiet_from_hour", Form::kNumber, 0, 24, "", TARGET(store.compaction.quiet_from_hour), "",
   "From this hour (UTC) on only a store that needs room compacts."},
  {"store.compaction", "quiet_to_hour", Form::kNumber, 0, 24, "", TARGET(store.compaction.quiet_to_hour), "",
   "Until this hour. The same as quiet_from_hour: there are no quiet hours."},

  // ---- state machine
  {"state_machine", "checkpoint_interval", Form::kTimeOrNever, kSecond, kLongest, "", TARGET(state_machine.checkpoint_interval), "",
   "How often a checkpoint is taken, after which the log is truncated. 0 s: never by time."},
  {"state_machine", "checkpoint_log_bytes", Form::kSize, 0, 16 * kTiB, "", TARGET(state_machine.checkpoint_log_bytes), "",
   "A checkpoint is taken as well after so much was applied. 0: never by bytes."},
  {"state_machine", "checkpoint_kind", Form::kChoice, 1, 0, "fold_over snapshot incremental", TARGET_CHOICE(state_machine.checkpoint_kind), "",
   "fold_over: the store's log becomes durable; cheapest for the disk. snapshot: what is in memory is written to a file of its own, and updates in place go on. incremental: as snapshot, but only what changed."},
  {"state_machine", "retention_bytes", Form::kSize, 0, 1024 * kTiB, "", TARGET(state_machine.retention_bytes), "",
   "Log that is kept for tails, below what is applied. 0: a checkpoint removes all that it covers. Events of streams stay in event files, unless history.keep is none."},
  {"state_machine", "session_ttl", Form::kTime, kSecond, kLongest, "", TARGET(state_machine.session_ttl), "",
   "How long a client's session is remembered after its last command: a command that is sent again within it is applied once. Longer than any client may take to send one again. In force for the cluster is what the leader's file says."},
  {"state_machine", "session_answers", Form::kNumber, 1, 65536, "", TARGET(state_machine.session_answers), "",
   "How many answers of each session are remembered, for commands that are sent again. As the leader's file says."},
  {"state_machine", "sessions", Form::kNumber, 1000, statemachine::kMostSessions, "", TARGET(state_machine.session_limits.sessions), "",
   "How many sessions are remembered; the one that was idle for longest goes first. Each takes 90 bytes of memory. As the leader's file says."},
  {"state_machine", "answers_bytes", Form::kSize, kMiB, statemachine::kMostAnswersBytes, "", TARGET(state_machine.session_limits.answers_bytes), "",
   "Memory for all remembered answers; the oldest goes first. As the leader's file says."},
  {"state_machine", "answer_value_bytes", Form::kSize, 64, statemachine::kMostAnswerBytes, "", TARGET(state_machine.session_limits.answer_value_bytes), "",
   "A longer value of an answer is not remembered with it. As the leader's file says."},
  {"state_machine", "store_reserve_bytes", Form::kSize, 0, kTiB, "", TARGET(state_machine.store_reserve_bytes), "",
   "Commands are refused so far below what the store can take, so that those on their way find room."},
  {"state_machine", "digest_bytes_per_s", Form::kSize, 0, kTiB, "", TARGET(state_machine.digest_bytes_per_s), "",
   "How much of the store a digest reads a second (replication.digest_interval). 0: as fast as it can."},

  // ---- history
  {"history", "keep", Form::kChoice, 0, 0, "events none", TARGET_CHOICE(history.keep), "",
   "What is kept of the log when it is truncated. events: the events of streams, in files that can be read; keys and values take no room there. none: nothing, so events end with the log. The same on all nodes."},
  {"history", "compression", Form::kChoice, 0, 0, "none zstd", TARGET_CHOICE(history.compression), "",
   "How event files are compressed. zstd: events of text take a fifth or less. none: for data that are compressed already."},

  // ---- replication
  {"replication", "listen", Form::kAddress, 0, 0, "", TARGET(peers.listen), "this member's `peer`",
   "Where other nodes connect, if that is not what they are told (0.0.0.0, a container's port)."},
  {"replication", "tick_interval", Form::kTime, 1, kLongest, "", TARGET(node.tick_interval), "",
   "How often timeouts are looked at. At most half of peer_timeout."},
  {"replication", "heartbeat_interval", Form::kTime, 10, kLongest, "", TARGET(node.heartbeat_interval), "",
   "How often a leader with nothing to ship says that it leads."},
  {"replication", "peer_timeout", Form::kTime, 100, kLongest, "", TARGET(node.peer_timeout), "",
   "Silence after which another node is taken for gone. At least twice heartbeat_interval."},
  {"replication", "give_up_after", Form::kTime, 100, kLongest, "", TARGET(node.give_up_after), "",
   "A leader without a majority for so long lets another one try (kind: etcd). At least peer_timeout."},
  {"replication", "transfer_timeout", Form::kTime, 100, kLongest, "", TARGET(node.transfer_timeout), "",
   "A planned hand-over that takes longer is called off, and the leader goes on."},
  {"replication", "finalize_after", Form::kTime, 0, kLongest, "", TARGET(node.finalize_after), "",
   "When all members know a newer cluster version, the leader waits for so long before the cluster goes over to it. Until then the older program can be put back. 0 s: at once."},
  {"replication", "cluster_version", Form::kNumber, kOldestClusterVersion + 1, kClusterVersion, "", TARGET(node.most_cluster_version), "",
   "The newest version that the cluster goes over to. Lower than its own it changes nothing: no version is ever lowered."},
  {"replication", "digest_interval", Form::kTimeOrNever, kSecond, kLongest, "", TARGET(node.digest_interval), "",
   "How often, at most, all nodes digest their states and the leader compares them. 0 s: never."},
  {"replication", "apply_stall_after", Form::kTime, kSecond, kLongest, "", TARGET(node.apply_stall_after), "",
   "A node that has applied nothing for so long, although more is committed, answers no reads and says why."},
  {"replication", "window_bytes", Form::kSize, 64 * kKiB, 16 * kGiB, "", TARGET(node.window_bytes), "",
   "How much is shipped to a follower beyond what it has acknowledged. More over long distances."},
  {"replication", "batch_bytes", Form::kSize, 4 * kKiB, kGiB, "", TARGET(node.batch_bytes), "",
   "The most that is shipped in one message. At most half of the log's memory."},
  {"replication", "follower_pin_bytes", Form::kSize, 0, 1024 * kTiB, "", TARGET(node.follower_pin_bytes), "",
   "Log that is kept for a follower that is behind or down. One that is further behind needs a copy of the state."},
  {"replication", "checkpoint_bytes_per_s", Form::kSize, 0, kTiB, "", TARGET(node.checkpoint_bytes_per_s), "",
   "How much of its state a node sends a second to those that need a copy. 0: as fast as it can."},

  // ---- members: read by members_config.cc
  {"replication.members[]", "id", Form::kNumber, 1, UINT32_MAX, "", nullptr, "must be given",
   "The member's number. The list is the same on every node, and is what the cluster begins with; later changes are in the log."},
  {"replication.members[]", "peer", Form::kAddress, 0, 0, "", nullptr, "must be given",
   "Where the other nodes reach it."},
  {"replication.members[]", "client", Form::kAddress, 0, 0, "", nullptr, "must be given",
   "Where clients reach it, as they are told."},
  {"replication.members[]", "voter", Form::kFlag, 0, 0, "", nullptr, "true",
   "false: a learner, which has a copy and no vote."},
  {"replication.members[]", "upstream", Form::kNumber, 1, UINT32_MAX, "", nullptr, "the leader",
   "Of a learner: the voter that feeds it while it can."},

  // ---- coordinator: read by coordinator_config.cc
  {"replication.coordinator", "kind", Form::kChoice, 0, 0, "static etcd", nullptr, "static",
   "Who says which node may lead. static: `leader`, and then operators (`tailrace promote`, `transfer`). etcd: the holder of a lease, so that another node takes over by itself."},
  {"replication.coordinator", "leader", Form::kNumber, 1, UINT32_MAX, "", nullptr, "must be given (static, where `members` is)",
   "static: the member that leads at the first start."},
  {"replication.coordinator", "endpoints", Form::kTexts, 0, 0, "", nullptr, "must be given (etcd)",
   "etcd: the client URLs of its members, as http://10.0.0.1:2379."},
  {"replication.coordinator", "prefix", Form::kText, 0, 0, "", nullptr, "/tailrace",
   "etcd: what the keys begin with; they are below PREFIX/CLUSTER."},
  {"replication.coordinator", "lease_ttl", Form::kTime, rpc::kLeastEtcdLease.count() * kSecond, rpc::kMostEtcdLease.count() * kSecond, "", nullptr, "3 s",
   "etcd: how long the lead stays with a node that etcd does not hear from. Whole seconds."},
  {"replication.coordinator", "call_timeout", Form::kTime, 10, 300 * kSecond, "", nullptr, "1 s",
   "etcd: how long one call may take, whichever endpoints it tries. At most half of lease_ttl."},
  {"replication.coordinator", "username", Form::kText, 0, 0, "", nullptr, "none",
   "etcd: who the node is there, with `password_file`."},
  {"replication.coordinator", "password_file", Form::kText, 0, 0, "", nullptr, "none",
   "etcd: the file whose first line is the password."},
  {"replication.coordinator.tls", "ca", Form::kText, 0, 0, "", nullptr, "the system's authorities",
   "etcd with https: the file of the authority that signed its certificate."},
  {"replication.coordinator.tls", "certificate", Form::kText, 0, 0, "", nullptr, "none",
   "etcd with https: the file of the node's own certificate, with `key`."},
  {"replication.coordinator.tls", "key", Form::kText, 0, 0, "", nullptr, "none",
   "etcd with https: the file of the certificate's key."},

  // ---- server
  {"server", "listen", Form::kAddress, 0, 0, "", TARGET(server.listen), "",
   "Where clients connect. 0.0.0.0:PORT: on all addresses; what they are told is this member's `client`."},
  {"server", "io_threads", Form::kNumber, 0, 64, "", TARGET(server.io_threads), "one for each four processors, at most eight",
   "Threads that serve connections. More where one is busy all the time."},
  {"server", "max_frame_bytes", Form::kSize, 64 * kKiB, kGiB, "", TARGET(server.max_frame_bytes), "",
   "The longest message that is taken from a client."},
  {"server", "max_value_bytes", Form::kSize, 1, kGiB, "", TARGET(server.max_value_bytes), "",
   "The longest value or event. 64 KiB below max_frame_bytes, 128 KiB below log.page_bytes and store.page_bytes."},
  {"server", "max_connections", Form::kNumber, 1, 1'000'000, "", TARGET(server.max_connections), "",
   "Connections that ask for something. Beyond it the ones that were idle for longest are closed, then new ones wait; what operators ask is answered all the same, but for `verify`. Each takes a descriptor."},
  {"server", "max_in_flight", Form::kNumber, 1, 1'000'000, "", TARGET(server.max_in_flight), "",
   "Requests of one connection that are taken before answers are out."},
  {"server", "max_unapplied_bytes", Form::kSize, 1, 1024 * kGiB, "", TARGET(server.max_unapplied_bytes), "",
   "While more than this of the log is not applied, because a majority, the disk or applying is slow, commands wait in their connections."},
  {"server", "memory_bytes", Form::kSize, 16 * kMiB, kTiB, "", TARGET(server.memory_bytes), "256 MiB, or four times max_frame_bytes if that is more",
   "What all clients together make the node hold, beside 64 KiB a connection. Beyond it they are not read on. At least four times max_frame_bytes."},
  {"server", "idle_timeout", Form::kTime, kSecond, kLongest, "", TARGET(server.idle_timeout), "",
   "A connection on which nothing is asked for so long is closed."},
  {"server", "frame_timeout", Form::kTime, 100, kLongest, "", TARGET(server.frame_timeout), "",
   "A message that has begun must end within this, or its connection is closed."},
  {"server", "unread_timeout", Form::kTime, 100, kLongest, "", TARGET(server.unread_timeout), "",
   "A client that has read nothing of what it was sent for so long is disconnected."},
  {"server", "scan_idle_timeout", Form::kTime, kSecond, kLongest, "", TARGET(server.scan_idle_timeout), "",
   "A scan that is not read on for so long is closed; it keeps what it has not shown from being cleared away."},
  {"server", "scan_lifetime", Form::kTime, kSecond, kLongest, "", TARGET(server.scan_lifetime), "",
   "A scan that takes longer is closed."},

  // ---- metrics
  {"metrics", "listen", Form::kAddress, 0, 0, "", TARGET(metrics.listen), "",
   "Where /metrics, /healthz and /readyz are."},
  {"metrics", "old_names", Form::kFlag, 0, 0, "", TARGET(metrics.old_names), "",
   "Whether metrics are told under the names of the release before as well (docs/reference/metrics.md). false: a scrape is smaller. They go with the next release."},
};
#undef TARGET
#undef TARGET_CHOICE
// clang-format on

}  // namespace

std::span<const Key> keys() {
  return kKeys;
}

}  // namespace tailrace::config
