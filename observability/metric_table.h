#pragma once
// The table of all metrics: what a node tells at /metrics, what docs/reference/metrics.md says, and
// what dashboards and alerts may ask. Code registers a metric by its row, metric("NAME"); a name
// that is not here does not compile.
//
// To add one: a row here, its registration, and a panel or a rule (deploy/monitoring). Names follow
// Prometheus' conventions: tailrace_PART_WHAT_UNIT, base units, _total for counters. Positions in a
// log end in _address_bytes, times of something in _timestamp_seconds, the most of something in
// _limit, what is only known of the newest of something begins with last_.

#include <string>
#include <string_view>

#include "observability/metrics.h"

namespace tailrace::observability {

// clang-format off
inline constexpr MetricInfo kMetrics[] = {
    // ---- Who runs here
    {"tailrace_build_info", MetricType::kGauge, "version=TEXT revision=TEXT compiler=TEXT", "", "1. What program runs: its version, the revision that it was built from, and the compiler."},
    {"tailrace_node_info", MetricType::kGauge, "cluster=TEXT node=NUMBER", "", "1. The name of the cluster and the number of the node, as the configuration says."},
    {"tailrace_configuration_info", MetricType::kGauge, "digest=TEXT", "", "1. A digest of the settings that all nodes of a cluster should share. Nodes whose digests differ are set up differently."},
    {"tailrace_recovery_duration_seconds", MetricType::kGauge, "part=log|store|state|all", "", "How long this start took: to recover the log and the store, to apply the rest of the log, and in all."},
    {"tailrace_node_healthy", MetricType::kGauge, "", "", "0 while this node answers no reads: its state differs from the cluster's, it does not apply the log, or it is no member."},
    {"tailrace_last_failure_timestamp_seconds", MetricType::kGauge, "reason=disk|damage|invariant|store|other", "", "Unix time of the last failure of this node, in this life or one before. disk: a write or fsync failed, or the disk was full. damage: bytes did not check, or contradicted what was committed. invariant: the program found itself wrong. Each of them ended the node, and so did other. store: committed records could not be applied. NaN: that was not the last one."},
    {"tailrace_io_uring", MetricType::kGauge, "", "", "1: the disk is used through io_uring. 0: through ordinary system calls, which are slower."},
    {"tailrace_filesystem_free_bytes", MetricType::kGauge, "directory=data|log|store", "", "Free space of the file system that holds the directory, as far as the node may use it."},
    {"tailrace_filesystem_size_bytes", MetricType::kGauge, "directory=data|log|store", "", "Size of the file system that holds the directory."},
    {"tailrace_messages_logged_total", MetricType::kCounter, "level=debug|info|warning|error", "", "Lines written to standard error."},
    {"tailrace_metrics_series_left_out", MetricType::kGauge, "", "", "Series that were not told in this scrape, because one family may have 200."},
    // ---- Threads
    {"tailrace_threads", MetricType::kGauge, "thread=NAME", "", "Threads that run now, by what they do."},
    {"tailrace_thread_cpu_seconds_total", MetricType::kCounter, "thread=NAME", "", "Processor time of threads, by what they do. Its rate, divided by tailrace_threads, is the busy share."},
    {"tailrace_loop_lateness_seconds", MetricType::kHistogram, "loop=clients|nodes|http|etcd", "", "How late a timer of an event loop ran: what waits for the loop waits as long."},
    {"tailrace_loop_since_turn_seconds", MetricType::kGauge, "loop=clients|nodes|http|etcd", "", "Time since an event loop last ran its timer, which it does five times a second; of several threads, the longest. NaN: it has not begun."},
    // ---- The replicated log
    {"tailrace_log_address_bytes", MetricType::kGauge, "watermark=begin|checkpointed|applied|committed|durable|tail", "", "How far each step has come, as an address in the log."},
    {"tailrace_log_truncated_bytes", MetricType::kGauge, "", "", "Bytes of the log that were removed since its beginning."},
    {"tailrace_log_unflushed_bytes", MetricType::kGauge, "", "", "Bytes in the log's memory that are not durable yet."},
    {"tailrace_log_unflushed_limit_bytes", MetricType::kGauge, "", "", "The size of the log's memory (log.page_bytes times log.buffer_pages). Appends wait when it is full."},
    {"tailrace_log_disk_bytes", MetricType::kGauge, "", "", "Bytes of the log's segment files."},
    {"tailrace_log_flushes_in_flight", MetricType::kGauge, "", "", "Flushes that have begun and are not durable yet."},
    {"tailrace_log_flushes_total", MetricType::kCounter, "", "", "Flushes that became durable."},
    {"tailrace_log_flushes_begun_total", MetricType::kCounter, "reason=TEXT", "", "Flushes, by why they began."},
    {"tailrace_log_flushed_bytes_total", MetricType::kCounter, "", "", "Bytes that became durable."},
    {"tailrace_log_failures_total", MetricType::kCounter, "", "", "Writes and fsyncs that failed. The node stops at the first."},
    {"tailrace_log_would_block_total", MetricType::kCounter, "", "", "Appends that found the log's memory full and were tried again."},
    {"tailrace_log_flush_duration_seconds", MetricType::kHistogram, "", "", "From the begin of a flush until it was durable."},
    {"tailrace_log_flush_size_bytes", MetricType::kHistogram, "", "", "Bytes of a flush."},
    {"tailrace_log_time_ahead_seconds", MetricType::kGauge, "", "", "How far log time is ahead of this node's clock, on a leader. Negative: behind. NaN: this node does not lead."},
    {"tailrace_log_time_jumps_total", MetricType::kCounter, "", "", "How often log time jumped to this node's clock after a doubt."},
    {"tailrace_clock_doubted", MetricType::kGauge, "", "", "1 while this node leads and does not trust its clock."},
    {"tailrace_clock_doubts_total", MetricType::kCounter, "", "", "How often this node began to doubt its clock."},
    {"tailrace_truncation_anchor_address_bytes", MetricType::kGauge, "anchor=checkpoint|retention|history|cluster|follower:NODE|consumer:NAME|transfer:NODE", "", "Address from which on somebody needs the log. It is truncated to the least of them."},
    {"tailrace_truncation_limit_address_bytes", MetricType::kGauge, "", "", "The least of these addresses. Before the first checkpoint, which all truncation waits for: the begin of the log."},
    {"tailrace_truncation_follower_limit_bytes", MetricType::kGauge, "", "", "How much log is kept for a follower that is behind (replication.follower_pin_bytes)."},
    // ---- The state machine
    {"tailrace_applied_records_total", MetricType::kCounter, "", "", "Log records applied."},
    {"tailrace_applied_bytes_total", MetricType::kCounter, "", "", "Log bytes applied."},
    {"tailrace_apply_lag_bytes", MetricType::kGauge, "", "", "Bytes that are committed and durable here, and not applied yet."},
    {"tailrace_apply_lag_limit_bytes", MetricType::kGauge, "", "", "Commands wait while more than this of the log is not applied (server.max_unapplied_bytes)."},
    {"tailrace_sessions", MetricType::kGauge, "", "", "Client sessions that are remembered."},
    {"tailrace_sessions_limit", MetricType::kGauge, "", "", "The most sessions, by the rules in force. 0: no limit. NaN: the log has no rules yet."},
    {"tailrace_sessions_evicted_total", MetricType::kCounter, "", "", "Sessions that were forgotten early, because there were too many."},
    {"tailrace_session_ttl_seconds", MetricType::kGauge, "", "", "How long a session is remembered after its last command, by the rules in force."},
    {"tailrace_session_refusals_total", MetricType::kCounter, "", "", "Commands of sessions that were answered without being applied: repeated ones, and those of expired sessions."},
    {"tailrace_session_answers_bytes", MetricType::kGauge, "", "", "Memory of remembered answers."},
    {"tailrace_session_answers_limit_bytes", MetricType::kGauge, "", "", "The most memory of remembered answers. 0: no limit. NaN: the log has no rules yet."},
    {"tailrace_session_answers_forgotten_total", MetricType::kCounter, "", "", "Answers that were forgotten early, because they took too much memory."},
    {"tailrace_state_digests_total", MetricType::kCounter, "", "", "Digests of the state that were computed in the background."},
    {"tailrace_state_digests_skipped_total", MetricType::kCounter, "", "", "Digests that were left out, because another one or a checkpoint was running."},
    {"tailrace_last_state_digest_duration_seconds", MetricType::kGauge, "", "", "How long the last digest in the background took. NaN: there was none since the start."},
    // ---- History
    {"tailrace_history_files", MetricType::kGauge, "", "", "Event files: they have the events that the log no longer has."},
    {"tailrace_history_bytes", MetricType::kGauge, "", "", "What event files take on disk."},
    {"tailrace_history_missing_bytes", MetricType::kGauge, "", "", "How much of the log no event file of this node covers, up to where its history is durable. What no other member has does not count."},
    {"tailrace_history_fetched_files_total", MetricType::kCounter, "", "", "Event files that came from other members."},
    {"tailrace_history_damaged_files_total", MetricType::kCounter, "", "", "Event files that were found damaged and put aside."},
    {"tailrace_history_scavenged_address_bytes", MetricType::kGauge, "", "", "Up to this address of the log no event file has an event that became unreadable before it; 0: never asked for, or not known."},
    {"tailrace_history_removed_events_total", MetricType::kCounter, "", "", "Unreadable events that scavenging has taken out of event files."},
    {"tailrace_history_held_back", MetricType::kGauge, "", "", "1 while an event file cannot be written, so that the log is not truncated; the node's log says why."},
    // ---- Checkpoints
    {"tailrace_checkpoint_phase", MetricType::kGauge, "phase=rest|prepare|in_progress|wait_pending|wait_flush", "", "1 for the phase in which checkpointing is."},
    {"tailrace_checkpoint_progress_ratio", MetricType::kGauge, "", "", "How much of the running checkpoint is done, 0 to 1."},
    {"tailrace_last_checkpoint_address_bytes", MetricType::kGauge, "", "", "Address that the newest checkpoint covers. 0: there is none."},
    {"tailrace_last_checkpoint_timestamp_seconds", MetricType::kGauge, "", "", "Unix time of the newest checkpoint. NaN: there is none."},
    {"tailrace_last_checkpoint_size_bytes", MetricType::kGauge, "", "", "Size of the newest checkpoint. NaN: there is none."},
    {"tailrace_last_checkpoint_duration_seconds", MetricType::kGauge, "", "", "How long the last checkpoint took. NaN: there was none since the start."},
    {"tailrace_checkpoint_interval_seconds", MetricType::kGauge, "", "", "How often a checkpoint is taken by time (state_machine.checkpoint_interval). 0: never by time."},
    {"tailrace_kv_checkpoints_total", MetricType::kCounter, "result=published|failed", "", "Checkpoints of the store, by result."},
    {"tailrace_checkpoint_failures_total", MetricType::kCounter, "", "", "Checkpoints that failed, or after which the log was not truncated."},
    {"tailrace_kv_checkpoint_duration_seconds", MetricType::kHistogram, "", "", "From the begin of a checkpoint until it was published."},
    {"tailrace_kv_checkpoint_written_bytes_total", MetricType::kCounter, "", "", "Bytes written for checkpoints."},
    // ---- The store
    {"tailrace_kv_live_records", MetricType::kGauge, "", "", "Keys in the store."},
    {"tailrace_kv_live_bytes", MetricType::kGauge, "", "", "Bytes of live records."},
    {"tailrace_kv_used_bytes", MetricType::kGauge, "", "", "Bytes of the capacity that new records cannot have."},
    {"tailrace_kv_capacity_bytes", MetricType::kGauge, "", "", "What records may take of the store's disk budget (store.disk_bytes): seven eighths. Writes are refused beyond it."},
    {"tailrace_kv_address_bytes", MetricType::kGauge, "watermark=begin|head|read_only|flushed|tail", "", "Positions in the store's own log. Below head: on disk only. From read_only on: updated in place."},
    {"tailrace_kv_index_buckets", MetricType::kGauge, "", "", "Buckets of the hash index."},
    {"tailrace_kv_index_overflow_buckets", MetricType::kGauge, "", "", "Buckets that were added where seven keys were too few. Many of them make reads slow."},
    {"tailrace_kv_open_sessions", MetricType::kGauge, "", "", "Sessions of threads that write to the store."},
    {"tailrace_kv_flushed_bytes_total", MetricType::kCounter, "", "", "Bytes of the store's log that were written to disk."},
    {"tailrace_kv_evicted_pages_total", MetricType::kCounter, "", "", "Pages of the store's log that left memory."},
    {"tailrace_kv_room_waits_total", MetricType::kCounter, "", "", "Writes that waited for a page of memory."},
    {"tailrace_kv_cold_reads_total", MetricType::kCounter, "", "", "Reads of the disk, for records that are not in memory."},
    {"tailrace_kv_cold_read_bytes_total", MetricType::kCounter, "", "", "Bytes read from the disk for them."},
    {"tailrace_kv_released_bytes_total", MetricType::kCounter, "", "", "Disk space that compaction gave back."},
    {"tailrace_kv_copied_records_total", MetricType::kCounter, "", "", "Updates that copied the record to the tail."},
    {"tailrace_kv_compacted_records_total", MetricType::kCounter, "", "", "Records that compaction moved to the tail."},
    {"tailrace_kv_compacted_bytes_total", MetricType::kCounter, "", "", "Bytes that compaction moved to the tail."},
    {"tailrace_kv_dropped_records_total", MetricType::kCounter, "", "", "Tombstones and expired records that compaction left behind."},
    {"tailrace_kv_refused_writes_total", MetricType::kCounter, "", "", "Writes that were refused because the disk budget was used up, before they entered the log too."},
    {"tailrace_kv_writes_beyond_budget_total", MetricType::kCounter, "", "", "Writes that must not fail and went beyond the disk budget."},
    // ---- Replication
    {"tailrace_replication_role", MetricType::kGauge, "role=starting|leader|follower|learner|candidate|stopped", "", "1 for the role of this node."},
    {"tailrace_replication_epoch", MetricType::kGauge, "", "", "The epoch (Raft: term) in which this node acts. NaN: it has not heard of one since its start."},
    {"tailrace_replication_vote_state", MetricType::kGauge, "vote=none|provisional|full", "", "1 for what this node's vote counts. none: a learner, or a new disk that has not caught up."},
    {"tailrace_replication_serving", MetricType::kGauge, "", "", "1 while this node leads and takes writes."},
    {"tailrace_replication_voters", MetricType::kGauge, "", "leader", "Voters of the cluster, on a leader that serves. NaN elsewhere."},
    {"tailrace_replication_voters_connected", MetricType::kGauge, "", "leader", "Voters that the leader reaches and whose vote counts, itself among them. NaN elsewhere. No majority of the voters: no write is answered."},
    {"tailrace_replication_member", MetricType::kGauge, "", "", "1: this node is a member of the cluster, as its log has it. 0: it was removed, or is to be added."},
    {"tailrace_replication_members", MetricType::kGauge, "kind=voter|joining|learner", "", "Members of the cluster, as this node's log has them."},
    {"tailrace_replication_cluster_version", MetricType::kGauge, "", "", "The version of formats and rules that the cluster uses."},
    {"tailrace_replication_connected_to_leader", MetricType::kGauge, "", "", "1 while the leader, or this node's upstream, streams the log to it. 0 on the leader."},
    {"tailrace_replication_since_leader_seconds", MetricType::kGauge, "", "", "Time since the last message of the leader. 0 on the leader. NaN: this node follows nobody."},
    {"tailrace_replication_without_leader_seconds_total", MetricType::kCounter, "", "", "Time in which this node neither led nor had a stream from a leader."},
    {"tailrace_replication_source_info", MetricType::kGauge, "source=NODE", "", "1. Which node streams the log to this one. Not told when none does."},
    {"tailrace_replication_clock_offset_seconds", MetricType::kGauge, "", "", "This node's clock minus that of the node that streams the log to it; a message's way is in it. NaN: no node does."},
    {"tailrace_replication_elections_won_total", MetricType::kCounter, "", "", "How often this node became the leader."},
    {"tailrace_replication_elections_lost_total", MetricType::kCounter, "", "", "How often this node was granted an epoch and did not become the leader."},
    {"tailrace_replication_log_cuts_total", MetricType::kCounter, "", "", "How often the end of this node's log was cut off because it differed from the leader's. It was never committed."},
    {"tailrace_replication_last_compared_address_bytes", MetricType::kGauge, "", "", "Address at which this node's state was last compared with the others'. NaN: not yet since the start."},
    {"tailrace_replication_state_digest_mismatches_total", MetricType::kCounter, "", "", "States that differed from the cluster's: on the leader any node's, on others their own."},
    {"tailrace_replication_states_disputed", MetricType::kGauge, "", "", "1 on a leader while states differ and none has a majority."},
    {"tailrace_replication_shipped_bytes_total", MetricType::kCounter, "", "", "Log bytes sent to followers."},
    {"tailrace_replication_shipped_messages_total", MetricType::kCounter, "", "", "Messages with log bytes sent to followers."},
    {"tailrace_replication_received_bytes_total", MetricType::kCounter, "", "", "Log bytes received from the leader."},
    {"tailrace_replication_append_waits_total", MetricType::kCounter, "", "", "How often received bytes waited for room in the log's memory."},
    {"tailrace_replication_acks_sent_total", MetricType::kCounter, "", "", "Acknowledgements sent to the leader."},
    {"tailrace_replication_acks_received_total", MetricType::kCounter, "", "", "Acknowledgements received from followers."},
    {"tailrace_replication_refusals_sent_total", MetricType::kCounter, "", "", "Subscriptions and messages of other nodes that were refused."},
    {"tailrace_replication_refusals_received_total", MetricType::kCounter, "", "", "Refusals received from other nodes."},
    {"tailrace_replication_checkpoint_copy_bytes", MetricType::kGauge, "", "", "Size of the state that this node copies from another one. 0: it copies none."},
    {"tailrace_replication_checkpoint_copy_received_bytes", MetricType::kGauge, "", "", "How much of that copy has come."},
    {"tailrace_replication_checkpoint_received_bytes_total", MetricType::kCounter, "", "", "Bytes of other nodes' states that came."},
    {"tailrace_replication_checkpoint_sent_bytes_total", MetricType::kCounter, "", "", "Bytes of this node's state that were sent to others."},
    // ---- Followers, as the leader sees them
    {"tailrace_replication_follower_connected", MetricType::kGauge, "follower=NODE", "leader", "1 while the log is streamed to the follower."},
    {"tailrace_replication_follower_healthy", MetricType::kGauge, "follower=NODE", "leader", "0: its state differs from the cluster's, or it applies nothing although more is committed."},
    {"tailrace_replication_follower_lag_bytes", MetricType::kGauge, "follower=NODE", "leader", "Bytes that are durable on the leader and not acknowledged by the follower. NaN: it was not heard of in this lead."},
    {"tailrace_replication_follower_lag_seconds", MetricType::kGauge, "follower=NODE", "leader", "Time since the follower had everything that was durable on the leader; 0 while it has. NaN: it was not heard of in this lead."},
    {"tailrace_replication_follower_needs_checkpoint", MetricType::kGauge, "follower=NODE", "leader", "1: the leader has no longer the log that the follower needs next. It needs a copy of the state."},
    {"tailrace_replication_follower_round_trip_seconds", MetricType::kGauge, "follower=NODE", "leader", "From sending log to the follower until it was durable there and acknowledged, smoothed. NaN: none yet."},
    // ---- Connections between nodes
    {"tailrace_peer_connections", MetricType::kGauge, "", "", "Connections to other nodes that are up."},
    {"tailrace_peer_connections_opened_total", MetricType::kCounter, "", "", "Connections to other nodes that came up."},
    {"tailrace_peer_failures_total", MetricType::kCounter, "", "", "Connections to other nodes that failed to come up."},
    {"tailrace_peer_bad_frames_total", MetricType::kCounter, "", "", "Connections that were closed because what came was no valid message."},
    {"tailrace_peer_received_bytes_total", MetricType::kCounter, "", "", "Bytes received from other nodes."},
    {"tailrace_peer_sent_bytes_total", MetricType::kCounter, "", "", "Bytes sent to other nodes."},
    // ---- The coordinator (etcd)
    {"tailrace_coordinator_calls_total", MetricType::kCounter, "", "etcd", "Calls to the coordinator."},
    {"tailrace_coordinator_failures_total", MetricType::kCounter, "", "etcd", "Calls to the coordinator that failed."},
    {"tailrace_coordinator_grants_total", MetricType::kCounter, "", "etcd", "Epochs in which the coordinator let this node lead."},
    {"tailrace_coordinator_reachable", MetricType::kGauge, "", "etcd", "1: the coordinator answered the last call. NaN: none has ended yet."},
    {"tailrace_coordinator_since_contact_seconds", MetricType::kGauge, "", "etcd", "Time since the coordinator's last answer."},
    {"tailrace_coordinator_lease_remaining_seconds", MetricType::kGauge, "", "etcd", "Time until this node's session in etcd (its lease) ends unless it is renewed."},
    // ---- Requests of clients
    {"tailrace_rpc_requests_total", MetricType::kCounter, "kind=put|delete|add|cas|append|get|tail|status|checkpoint|digest|scan|expire|transfer|promote|change_member|txn|read_stream|list_streams|mget|history result=ok|refused|not_leader|elsewhere|unknown_outcome|failed code=CODE", "", "Requests answered. code: the name of the error; ok where there was none. elsewhere: the client was told to ask another node, or this one has not applied what the read names. Errors that count against the cluster are told from the start, others from the first one on."},
    {"tailrace_rpc_request_duration_seconds", MetricType::kHistogram, "kind=put|delete|add|cas|append|get|tail|status|checkpoint|digest|scan|expire|transfer|promote|change_member|txn|read_stream|list_streams|mget|history", "", "From the arrival of a request until the operating system had taken its answer."},
    {"tailrace_rpc_request_stage_duration_seconds", MetricType::kHistogram, "stage=held|enqueue|flush|commit|apply|answer", "", "Where the time of a write goes, on the leader. Measured of some writes: at most 1,000 a second and thread. held: it waited for room. enqueue: it was checked and put into the log. flush: until it was durable here. commit: until a majority had it. apply: until the state machine had applied it. answer: until the operating system had taken the answer, which waits for a client that reads slowly."},
    {"tailrace_rpc_records_total", MetricType::kCounter, "kind=put|delete|add|cas|append|digest|expire|txn|history", "", "Log records that requests of clients enqueued; of an append, its events."},
    {"tailrace_rpc_record_bytes_total", MetricType::kCounter, "kind=put|delete|add|cas|append|digest|expire|txn|history", "", "Bytes of these records."},
    {"tailrace_rpc_reads_total", MetricType::kCounter, "level=linearizable|any|at_least|bounded from=memory|disk", "", "Keys that were read, by the level that was asked for and where they were found."},
    {"tailrace_rpc_in_flight_requests", MetricType::kGauge, "", "", "Requests that were taken and are not answered yet."},
    {"tailrace_rpc_stalls_total", MetricType::kCounter, "", "", "How often a connection was not read on: the log's memory was full, or too much was in flight or not applied."},
    {"tailrace_rpc_tails", MetricType::kGauge, "", "", "Open tails."},
    {"tailrace_rpc_tail_lag_bytes", MetricType::kGauge, "", "", "How far the slowest open tail is behind the end of the log that it may read. NaN: there is none."},
    {"tailrace_rpc_scans", MetricType::kGauge, "", "", "Open scans."},
    {"tailrace_rpc_connections", MetricType::kGauge, "", "", "Open connections of clients."},
    {"tailrace_rpc_connections_limit", MetricType::kGauge, "", "", "The most connections that may ask for something (server.max_connections, or what the open files allow)."},
    {"tailrace_rpc_memory_bytes", MetricType::kGauge, "", "", "What clients make the server hold, beside 64 KiB a connection."},
    {"tailrace_rpc_memory_limit_bytes", MetricType::kGauge, "", "", "The most of it (server.memory_bytes)."},
    {"tailrace_rpc_accepted_connections_total", MetricType::kCounter, "", "", "Connections of clients that were accepted."},
    {"tailrace_rpc_evicted_connections_total", MetricType::kCounter, "", "", "Connections of clients that were closed to make room for others."},
    {"tailrace_rpc_timed_out_connections_total", MetricType::kCounter, "", "", "Connections of clients that were closed because nothing came, a message did not end, or answers were not read, for too long."},
    {"tailrace_rpc_bad_frames_total", MetricType::kCounter, "", "", "Connections of clients that were closed because what came was no valid message."},
    {"tailrace_rpc_received_bytes_total", MetricType::kCounter, "", "", "Bytes received from clients."},
    {"tailrace_rpc_sent_bytes_total", MetricType::kCounter, "", "", "Bytes sent to clients."},
    // ---- Metrics and health over HTTP
    {"tailrace_http_requests_total", MetricType::kCounter, "code=1xx|2xx|3xx|4xx|5xx", "", "HTTP requests answered, by class of the status."},
    {"tailrace_http_connections", MetricType::kGauge, "", "", "Open HTTP connections."},
    {"tailrace_http_connections_limit", MetricType::kGauge, "", "", "The most HTTP connections."},
    {"tailrace_http_closed_connections_total", MetricType::kCounter, "reason=request_timeout|idle_timeout|response_timeout|replaced", "", "HTTP connections that this side closed."},
    // ---- The process
    {"process_cpu_seconds_total", MetricType::kCounter, "", "", "User and system time spent."},
    {"process_open_fds", MetricType::kGauge, "", "", "Open file descriptors."},
    {"process_max_fds", MetricType::kGauge, "", "", "The most file descriptors that may be open."},
    {"process_resident_memory_bytes", MetricType::kGauge, "", "", "Resident memory."},
    {"process_start_time_seconds", MetricType::kGauge, "", "", "Unix time of the start."},
};

/// Names of before; told beside the new ones for one release, so that dashboards and alerts can be
/// moved. `label` and `value`: which series of the new one it is; without that label.
struct OldName {
  std::string_view name, now, label, value;
};
inline constexpr OldName kOldNames[] = {
    {"tailrace_watermark_address_bytes", "tailrace_log_address_bytes", "", ""},
    {"tailrace_peer_connections_total", "tailrace_peer_connections_opened_total", "", ""},
    {"tailrace_log_tail_bytes", "tailrace_log_address_bytes", "watermark", "tail"},
    {"tailrace_log_durable_bytes", "tailrace_log_address_bytes", "watermark", "durable"},
    {"tailrace_log_begin_bytes", "tailrace_log_address_bytes", "watermark", "begin"},
    {"tailrace_replication_committed_address", "tailrace_log_address_bytes", "watermark", "committed"},
    {"tailrace_replication_last_compared_address", "tailrace_replication_last_compared_address_bytes", "", ""},
    {"tailrace_kv_log_begin_address", "tailrace_kv_address_bytes", "watermark", "begin"},
    {"tailrace_kv_log_head_address", "tailrace_kv_address_bytes", "watermark", "head"},
    {"tailrace_kv_log_read_only_address", "tailrace_kv_address_bytes", "watermark", "read_only"},
    {"tailrace_kv_log_flushed_address", "tailrace_kv_address_bytes", "watermark", "flushed"},
    {"tailrace_kv_log_tail_address", "tailrace_kv_address_bytes", "watermark", "tail"},
    {"tailrace_truncation_anchor_bytes", "tailrace_truncation_anchor_address_bytes", "", ""},
    {"tailrace_truncation_limit_bytes", "tailrace_truncation_limit_address_bytes", "", ""},
    {"tailrace_checkpoint_address_bytes", "tailrace_last_checkpoint_address_bytes", "", ""},
    {"tailrace_checkpoint_time_seconds", "tailrace_last_checkpoint_timestamp_seconds", "", ""},
    {"tailrace_checkpoint_size_bytes", "tailrace_last_checkpoint_size_bytes", "", ""},
    {"tailrace_checkpoint_duration_seconds", "tailrace_last_checkpoint_duration_seconds", "", ""},
    {"tailrace_checkpoints_total", "tailrace_kv_checkpoints_total", "result", "published"},
    {"tailrace_state_digest_duration_seconds", "tailrace_last_state_digest_duration_seconds", "", ""},
    {"tailrace_log_flush_seconds", "tailrace_log_flush_duration_seconds", "", ""},
    {"tailrace_log_flush_bytes", "tailrace_log_flush_size_bytes", "", ""},
    {"tailrace_kv_checkpoint_seconds", "tailrace_kv_checkpoint_duration_seconds", "", ""},
    {"tailrace_rpc_request_seconds", "tailrace_rpc_request_duration_seconds", "", ""},
    {"tailrace_coordinator_seconds_since_contact", "tailrace_coordinator_since_contact_seconds", "", ""},
};

/// Metrics of before whose values are told otherwise now; told as long.
inline constexpr MetricInfo kOldMetrics[] = {
    {"tailrace_replication_vote", MetricType::kGauge, "", "", "Old form of tailrace_replication_vote_state: 0 none, 1 provisional, 2 full."},
    {"tailrace_replication_source_node", MetricType::kGauge, "", "", "Old form of tailrace_replication_source_info: the number of the node; 0: none."},
};
// clang-format on

/// The row of a metric.
consteval const MetricInfo& metric(std::string_view name) {
  for (const MetricInfo& each : kMetrics)
    if (each.name == name) return each;
  throw "no such metric: add it to kMetrics";
}
consteval const MetricInfo& old_metric(std::string_view name) {
  for (const MetricInfo& each : kOldMetrics)
    if (each.name == name) return each;
  throw "no such metric of before";
}

/// docs/reference/metrics.md.
std::string metrics_page();

}  // namespace tailrace::observability
