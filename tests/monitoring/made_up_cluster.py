"""A made-up cluster `c` for panel_values_test.py: nodes 1 to 3 answer, node 4 is down. Node 2 leads, node 1 follows it,
node 3 is a learner that gets the log from node 1 and passes it on to node 4. No two lines have the same numbers, so a
panel that asks for another metric or label shows another number.

A line has a series and its values on nodes 1, 2 and 3; `-` where a node does not tell it.
"""
import itertools
import re

SCRAPE_SECONDS, SECONDS = 15, 600
# Free space is looked at for hours: those series have a scenario of their own.
HOUR_STEP_SECONDS, HOURS_SECONDS = 600, 7 * 3600

GAUGES = """
tailrace_build_info{version="1.1.0",revision="aa11",compiler="gcc-11"} 1 - -
tailrace_build_info{version="1.2.0",revision="bb22",compiler="gcc-12"} - 1 1
tailrace_configuration_info{digest="d1d1"} 1 1 -
tailrace_configuration_info{digest="d3d3"} - - 1
tailrace_node_info{exported_cluster="c",exported_node="1"} 1 - -
tailrace_node_info{exported_cluster="c",exported_node="2"} - 1 -
tailrace_node_info{exported_cluster="x",exported_node="9"} - - 1
tailrace_recovery_duration_seconds{part="log"} 1.1 1.3 1.7
tailrace_recovery_duration_seconds{part="store"} 2.1 2.3 2.7
tailrace_recovery_duration_seconds{part="state"} 3.1 3.3 3.7
tailrace_recovery_duration_seconds{part="all"} 6.4 7 8.2
tailrace_node_healthy 1 1 0
tailrace_io_uring 1 0 1
tailrace_filesystem_free_bytes{directory="data"} 310 720 1720
tailrace_filesystem_free_bytes{directory="log"} 130 900 2560
tailrace_filesystem_size_bytes{directory="data"} 1000 2000 4000
tailrace_filesystem_size_bytes{directory="log"} 500 1500 3200
tailrace_metrics_series_left_out 0 5 3
tailrace_threads{thread="service"} 4 5 8
tailrace_threads{thread="applier"} 1 1 1
tailrace_log_address_bytes{watermark="begin"} 70001 70003 69989
tailrace_log_address_bytes{watermark="checkpointed"} 80000 80100 79900
tailrace_log_address_bytes{watermark="applied"} 89900 90060 89990
tailrace_log_address_bytes{watermark="committed"} 89970 90150 90090
tailrace_log_address_bytes{watermark="durable"} 90001 90200 90103
tailrace_log_address_bytes{watermark="tail"} 90011 90203 90107
tailrace_log_unflushed_bytes 71 73 77
tailrace_log_unflushed_limit_bytes 710 146 1540
tailrace_log_disk_bytes 23000 23300 23700
tailrace_log_flushes_in_flight 6 8 9
tailrace_log_failures_total 0 2 1
tailrace_log_time_ahead_seconds - -1.6 -
tailrace_clock_doubted 0 0 0
tailrace_truncation_anchor_address_bytes{anchor="checkpoint"} 80010 80110 79920
tailrace_truncation_anchor_address_bytes{anchor="retention"} 85000 85100 85050
tailrace_truncation_anchor_address_bytes{anchor="history"} 75001 75013 75029
tailrace_truncation_anchor_address_bytes{anchor="cluster"} 79800 - 79810
tailrace_truncation_anchor_address_bytes{anchor="follower:1"} - 90183 -
tailrace_truncation_anchor_address_bytes{anchor="follower:3"} - 90130 -
tailrace_truncation_limit_address_bytes 74001 74007 74017
tailrace_truncation_follower_limit_bytes 64000 64300 64700
tailrace_apply_lag_bytes 411 413 417
tailrace_apply_lag_limit_bytes 4110 590 8340
tailrace_sessions 15 16 18
tailrace_sessions_limit 150 40 0
tailrace_session_answers_bytes 54 56 58
tailrace_session_answers_limit_bytes 540 64 0
tailrace_last_state_digest_duration_seconds 0.51 0.53 0.57
tailrace_history_bytes 33100 33300 33700
tailrace_history_missing_bytes 0 340 0
tailrace_history_held_back 0 0 1
tailrace_checkpoint_phase{phase="rest"} 1 0 0
tailrace_checkpoint_phase{phase="prepare"} 0 0 0
tailrace_checkpoint_phase{phase="in_progress"} 0 1 0
tailrace_checkpoint_phase{phase="wait_pending"} 0 0 0
tailrace_checkpoint_phase{phase="wait_flush"} 0 0 1
tailrace_checkpoint_progress_ratio 0.61 0.63 0.67
tailrace_last_checkpoint_address_bytes 79100 79300 79700
tailrace_last_checkpoint_timestamp_seconds 570 560 530
tailrace_last_checkpoint_size_bytes 8100 8300 8700
tailrace_last_checkpoint_duration_seconds 2.2 2.4 2.8
tailrace_checkpoint_interval_seconds 31 32 34
tailrace_kv_live_records 9100 9300 9700
tailrace_kv_live_bytes 510 1310 710
tailrace_kv_used_bytes 620 1710 900
tailrace_kv_capacity_bytes 2000 1900 1500
tailrace_kv_address_bytes{watermark="begin"} 1000 9000 500
tailrace_kv_address_bytes{watermark="head"} 3100 9600 900
tailrace_kv_address_bytes{watermark="read_only"} 4350 10300 1600
tailrace_kv_address_bytes{watermark="flushed"} 4900 10900 2000
tailrace_kv_address_bytes{watermark="tail"} 5500 11400 3600
tailrace_kv_index_buckets 50 60 80
tailrace_kv_index_overflow_buckets 10 3 2
tailrace_kv_refused_writes_total 41 43 47
tailrace_kv_writes_beyond_budget_total 51 53 57
tailrace_replication_role{role="stopped"} 0 0 0
tailrace_replication_role{role="starting"} 0 0 0
tailrace_replication_role{role="learner"} 0 0 1
tailrace_replication_role{role="follower"} 1 0 0
tailrace_replication_role{role="candidate"} 0 0 0
tailrace_replication_role{role="leader"} 0 1 0
tailrace_replication_epoch 6 9 8
tailrace_replication_vote_state{vote="none"} 0 0 1
tailrace_replication_vote_state{vote="provisional"} 1 0 0
tailrace_replication_vote_state{vote="full"} 0 1 0
tailrace_replication_serving 0 1 0
tailrace_replication_voters - 3 -
tailrace_replication_voters_connected - 2 -
tailrace_replication_members{kind="voter"} 3 3 2
tailrace_replication_members{kind="joining"} 1 2 1
tailrace_replication_members{kind="learner"} 4 4 3
tailrace_replication_cluster_version 11 12 13
tailrace_replication_connected_to_leader 1 0 0
tailrace_replication_since_leader_seconds 0.4 0 33
tailrace_replication_source_info{source="2"} 1 - -
tailrace_replication_source_info{source="1"} - - 1
tailrace_replication_clock_offset_seconds 0.071 - -0.073
tailrace_replication_last_compared_address_bytes 89000 89003 89001
tailrace_replication_state_digest_mismatches_total 0 3 1
tailrace_replication_states_disputed 0 1 0
tailrace_replication_checkpoint_copy_bytes 0 0 7300
tailrace_replication_checkpoint_copy_received_bytes 0 0 3700
tailrace_replication_follower_connected{follower="1"} - 1 -
tailrace_replication_follower_connected{follower="3"} - 0 -
tailrace_replication_follower_connected{follower="4"} - 1 1
tailrace_replication_follower_healthy{follower="1"} - 0 -
tailrace_replication_follower_healthy{follower="3"} - 1 -
tailrace_replication_follower_healthy{follower="4"} - 1 1
tailrace_replication_follower_needs_checkpoint{follower="1"} - 0 -
tailrace_replication_follower_needs_checkpoint{follower="3"} - 1 -
tailrace_replication_follower_needs_checkpoint{follower="4"} - 0 1
tailrace_replication_follower_lag_bytes{follower="1"} - 1500 -
tailrace_replication_follower_lag_bytes{follower="3"} - 2700 -
tailrace_replication_follower_lag_bytes{follower="4"} - 1900 9100
tailrace_replication_follower_lag_seconds{follower="1"} - 2.5 -
tailrace_replication_follower_lag_seconds{follower="3"} - 7.5 -
tailrace_replication_follower_lag_seconds{follower="4"} - 4.5 95
tailrace_replication_follower_round_trip_seconds{follower="1"} - 0.012 -
tailrace_replication_follower_round_trip_seconds{follower="3"} - 0.019 -
tailrace_replication_follower_round_trip_seconds{follower="4"} - 0.016 0.91
tailrace_peer_connections 22 25 28
tailrace_coordinator_reachable 1 0 1
tailrace_coordinator_since_contact_seconds 0.21 0.23 0.27
tailrace_coordinator_lease_remaining_seconds 4.1 4.3 4.7
tailrace_rpc_in_flight_requests 101 103 107
tailrace_rpc_tails 112 113 117
tailrace_rpc_tail_lag_bytes 121 123 127
tailrace_rpc_scans 132 133 137
tailrace_rpc_connections 21 33 24
tailrace_rpc_connections_limit 100 110 160
tailrace_rpc_memory_bytes 400 910 350
tailrace_rpc_memory_limit_bytes 5000 3640 7000
tailrace_http_connections 3 9 7
tailrace_http_connections_limit 60 25 70
process_open_fds 61 83 48
process_max_fds 610 415 4800
process_resident_memory_bytes 6100 6300 6700
process_start_time_seconds 17 29 593
"""

# Counters. The values are their growth a second.
RATES = """
tailrace_messages_logged_total{level="info"} 11 13 17
tailrace_messages_logged_total{level="warning"} 0.21 0.23 0.27
tailrace_messages_logged_total{level="error"} 0.31 0.33 0.37
tailrace_thread_cpu_seconds_total{thread="service"} 1.2 2 6.4
tailrace_thread_cpu_seconds_total{thread="applier"} 0.61 0.37 0.24
tailrace_log_truncated_bytes 3100 3300 3700
tailrace_log_flushes_total 21 23 27
tailrace_log_flushes_begun_total{reason="timer"} 7 8 9
tailrace_log_flushes_begun_total{reason="full"} 15 16 19
tailrace_log_flushed_bytes_total 5100 5300 5700
tailrace_log_would_block_total 0.41 0.43 0.47
tailrace_log_time_jumps_total 0.05 0.15 0.25
tailrace_clock_doubts_total 0.1 0.2 0.3
tailrace_applied_records_total 61 63 67
tailrace_applied_bytes_total 6100 6300 6700
tailrace_sessions_evicted_total 0.01 0.02 0.04
tailrace_session_refusals_total 0.51 0.53 0.57
tailrace_session_answers_forgotten_total 0.03 0.05 0.06
tailrace_state_digests_total 0.35 0.45 0.55
tailrace_state_digests_skipped_total 0.65 0.75 0.85
tailrace_history_fetched_files_total 0.11 0.12 0.13
tailrace_history_damaged_files_total 0.14 0.16 0.17
tailrace_history_removed_events_total 0.18 0.19 0.22
tailrace_checkpoint_failures_total 0.07 0.08 0.09
tailrace_kv_checkpoints_total{result="published"} 0.24 0.26 0.28
tailrace_kv_checkpoints_total{result="failed"} 0.015 0.025 0.045
tailrace_kv_checkpoint_written_bytes_total 7100 7300 7700
tailrace_kv_cold_reads_total 71 73 77
tailrace_kv_cold_read_bytes_total 8100 8300 8700
tailrace_kv_flushed_bytes_total 9100 9300 9700
tailrace_kv_evicted_pages_total 1.1 1.3 1.7
tailrace_kv_room_waits_total 2.1 2.3 2.7
tailrace_kv_copied_records_total 81 83 87
tailrace_kv_compacted_records_total 91 93 97
tailrace_kv_compacted_bytes_total 1100 1300 1700
tailrace_kv_dropped_records_total 101 103 107
tailrace_kv_released_bytes_total 2100 2300 2700
tailrace_replication_without_leader_seconds_total 0.02 0.005 0.16
tailrace_replication_elections_won_total 0.0125 0.0375 0.0625
tailrace_replication_elections_lost_total 0.0875 0.1125 0.1375
tailrace_replication_log_cuts_total 0.71 0.73 0.77
tailrace_replication_shipped_bytes_total 410 4300 0
tailrace_replication_shipped_messages_total 31 33 37
tailrace_replication_received_bytes_total 4700 0 490
tailrace_replication_append_waits_total 0.81 0.83 0.87
tailrace_replication_acks_sent_total 41 43 47
tailrace_replication_acks_received_total 51 53 57
tailrace_replication_refusals_sent_total 0.91 0.93 0.97
tailrace_replication_refusals_received_total 3.1 3.3 3.7
tailrace_replication_checkpoint_received_bytes_total 0 10 520
tailrace_replication_checkpoint_sent_bytes_total 0 530 20
tailrace_peer_connections_opened_total 4.1 4.3 4.7
tailrace_peer_failures_total 5.1 5.3 5.7
tailrace_peer_bad_frames_total 6.1 6.3 6.7
tailrace_peer_received_bytes_total 1200 1400 1800
tailrace_peer_sent_bytes_total 1600 1900 2000
tailrace_coordinator_calls_total 3 5 7
tailrace_coordinator_failures_total 0.3 0.5 0.9
tailrace_coordinator_grants_total 0.009 0.019 0.042
tailrace_rpc_requests_total{kind="put",result="ok",code="ok"} - 40 -
tailrace_rpc_requests_total{kind="put",result="refused",code="resource_exhausted"} - 2 -
tailrace_rpc_requests_total{kind="put",result="refused",code="invalid_argument"} - 3 -
tailrace_rpc_requests_total{kind="put",result="unknown_outcome",code="unknown_outcome"} - 1 -
tailrace_rpc_requests_total{kind="put",result="not_leader",code="not_leader"} 5 - -
tailrace_rpc_requests_total{kind="delete",result="ok",code="ok"} - 10 -
tailrace_rpc_requests_total{kind="cas",result="refused",code="conflict"} - 6 -
tailrace_rpc_requests_total{kind="get",result="ok",code="ok"} 100 - 60
tailrace_rpc_requests_total{kind="get",result="elsewhere",code="unavailable"} - - 7
tailrace_rpc_requests_total{kind="get",result="failed",code="timed_out"} - - 4
tailrace_rpc_requests_total{kind="scan",result="ok",code="ok"} 0 - 0
tailrace_rpc_requests_total{kind="checkpoint",result="ok",code="ok"} - 0.5 -
tailrace_rpc_requests_total{kind="checkpoint",result="failed",code="io"} - 0.25 -
tailrace_rpc_records_total{kind="put"} - 46 -
tailrace_rpc_records_total{kind="delete"} - 12 -
tailrace_rpc_records_total{kind="append"} - 0 -
tailrace_rpc_record_bytes_total{kind="append"} - 0 -
tailrace_rpc_record_bytes_total{kind="put"} - 9200 -
tailrace_rpc_record_bytes_total{kind="delete"} - 1080 -
tailrace_rpc_reads_total{level="linearizable",from="memory"} - 90 -
tailrace_rpc_reads_total{level="linearizable",from="disk"} - 14 -
tailrace_rpc_reads_total{level="bounded",from="memory"} 0 - 0
tailrace_rpc_reads_total{level="bounded",from="disk"} 0 - 0
tailrace_rpc_reads_total{level="any",from="memory"} 18 - 30
tailrace_rpc_reads_total{level="any",from="disk"} - - 2
tailrace_rpc_stalls_total 7.1 7.3 7.7
tailrace_rpc_accepted_connections_total 8.1 8.3 8.7
tailrace_rpc_evicted_connections_total 9.1 9.3 9.7
tailrace_rpc_timed_out_connections_total 1.4 1.6 1.8
tailrace_rpc_bad_frames_total 2.4 2.6 2.8
tailrace_rpc_received_bytes_total 110 130 170
tailrace_rpc_sent_bytes_total 210 230 270
tailrace_http_requests_total{code="2xx"} 3.4 3.6 3.8
tailrace_http_requests_total{code="5xx"} 4.4 4.6 4.8
tailrace_http_closed_connections_total{reason="idle_timeout"} 5.4 5.6 5.8
tailrace_http_closed_connections_total{reason="replaced"} 6.4 6.6 6.8
process_cpu_seconds_total 2.2 2.5 2.9
"""

# Histograms of one node: the node, observations a second, their mean, the median, and what 99 of 100 keep to.
HISTOGRAMS = """
tailrace_loop_lateness_seconds{loop="clients"} 1 10 0.0002 0.0001 0.0021
tailrace_loop_lateness_seconds{loop="clients"} 2 10 0.0003 0.0001 0.0023
tailrace_loop_lateness_seconds{loop="clients"} 3 10 0.0004 0.0001 0.0027
tailrace_loop_lateness_seconds{loop="nodes"} 1 10 0.0005 0.0001 0.0031
tailrace_loop_lateness_seconds{loop="nodes"} 2 10 0.0006 0.0001 0.0033
tailrace_loop_lateness_seconds{loop="nodes"} 3 10 0.0007 0.0001 0.0037
tailrace_log_flush_duration_seconds 1 20 0.002 0.0011 0.0081
tailrace_log_flush_duration_seconds 2 20 0.002 0.0013 0.0083
tailrace_log_flush_duration_seconds 3 20 0.002 0.0017 0.0087
tailrace_log_flush_size_bytes 1 20 255 200 900
tailrace_log_flush_size_bytes 2 23 265 200 900
tailrace_log_flush_size_bytes 3 27 285 200 900
tailrace_kv_checkpoint_duration_seconds 1 0.1 1.1 1 4
tailrace_kv_checkpoint_duration_seconds 2 0.2 1.3 1 4
tailrace_kv_checkpoint_duration_seconds 3 0.3 1.7 1 4
tailrace_rpc_request_duration_seconds{kind="put"} 2 51 0.017 0.011 0.06
tailrace_rpc_request_duration_seconds{kind="get"} 1 100 0.001 0.0007 0.0042
tailrace_rpc_request_duration_seconds{kind="get"} 3 71 0.001 0.0007 0.0042
tailrace_rpc_request_duration_seconds{kind="checkpoint"} 2 0.75 2 1.9 3.4
tailrace_rpc_request_stage_duration_seconds{stage="held"} 2 21 0.0002 0.0001 0.0009
tailrace_rpc_request_stage_duration_seconds{stage="enqueue"} 2 22 0.0004 0.0003 0.0011
tailrace_rpc_request_stage_duration_seconds{stage="flush"} 2 23 0.0043 0.0031 0.017
tailrace_rpc_request_stage_duration_seconds{stage="commit"} 2 26 0.0067 0.0052 0.023
tailrace_rpc_request_stage_duration_seconds{stage="apply"} 2 27 0.0008 0.0006 0.0019
tailrace_rpc_request_stage_duration_seconds{stage="answer"} 2 29 0.0007 0.0005 0.0013
"""

# Free space after seven hours, and its growth a second: directory `data` of the three nodes, `log` of node 1.
HOURS = """
tailrace_filesystem_free_bytes{directory="data"} 1 7200 -0.1
tailrace_filesystem_free_bytes{directory="log"} 1 90000 -0.5
tailrace_filesystem_free_bytes{directory="data"} 2 5000 0.2
tailrace_filesystem_free_bytes{directory="data"} 3 12000 -0.05
"""


def rows(text):
    """(name, labels as text, the other words) of each line."""
    for line in text.strip().splitlines():
        series, *words = line.split()
        name, labels = re.fullmatch(r"(\w+)(?:{(.*)})?", series).groups()
        yield name, labels or "", words


def of_nodes(text):
    """(name, labels, node, value)"""
    for name, labels, words in rows(text):
        assert len(words) == 3, (name, words)
        for node, value in zip("123", words):
            if value != "-":
                yield name, labels, node, float(value)


def one(name, labels, node, first, growth, count):
    """A series of promtool's. `growth` is from sample to sample."""
    where = ",".join(filter(None, ['job="tailrace"', 'cluster="c"', f'node="{node}"', labels]))
    return {"series": f"{name}{{{where}}}", "values": f"{first!r}{growth:+.12g}x{count}"}


def share_below(bound, median, most):
    """The share of observations up to a bound. Two fifths to three fifths lie evenly around the median, and the last
    fiftieth around `most`: so the quantiles are exactly these two."""
    points = [(0, 0), (0.9 * median, 0.4), (1.1 * median, 0.6), (0.9 * most, 0.98), (1.1 * most, 1)]
    assert all(first[0] < second[0] for first, second in itertools.pairwise(points)), points
    for (x, low), (end, high) in itertools.pairwise(points):
        if bound <= end:
            return low + (high - low) * (bound - x) / (end - x)
    return 1


def histograms():
    """(name, labels, node, growth a second) of all their series. Those of one metric have the same bounds."""
    told = [(name, labels, words[0], *map(float, words[1:])) for name, labels, words in rows(HISTOGRAMS)]
    bounds = {}
    for name, _, _, _, _, median, most in told:
        bounds.setdefault(name, set()).update((0.9 * median, 1.1 * median, 0.9 * most, 1.1 * most))
    for name, labels, node, rate, mean, median, most in told:
        yield f"{name}_sum", labels, node, rate * mean
        yield f"{name}_count", labels, node, rate
        for bound in sorted(bounds[name]):
            where = ",".join(filter(None, [labels, f'le="{bound:.12g}"']))
            yield f"{name}_bucket", where, node, rate * share_below(bound, median, most)
        yield f"{name}_bucket", ",".join(filter(None, [labels, 'le="+Inf"'])), node, rate


def minutes():
    """What promtool is told of ten minutes."""
    count = SECONDS // SCRAPE_SECONDS
    made = [one("up", "", node, 1.0, 0, count) for node in "123"] + [one("up", "", "4", 0.0, 0, count)]
    made += [one(*told, 0, count) for told in of_nodes(GAUGES)]
    # A counter that begins at 0 could be taken for one that has just begun.
    made += [one(name, labels, node, 1e6, rate * SCRAPE_SECONDS, count)
             for name, labels, node, rate in itertools.chain(of_nodes(RATES), histograms())]
    return made


def hours():
    """What promtool is told of seven hours."""
    made = []
    for name, labels, (node, end, growth) in rows(HOURS):
        made.append(one(name, labels, node, float(end) - float(growth) * HOURS_SECONDS,
                        float(growth) * HOUR_STEP_SECONDS, HOURS_SECONDS // HOUR_STEP_SECONDS))
    return made


def lines_alike():
    """Pairs of lines with the same numbers, other than 0 and 1: they cannot tell which of them a panel asks for."""
    seen = {}
    for text in (GAUGES, RATES):
        for name, labels, words in rows(text):
            if not set(words) <= {"0", "1", "-"}:
                first = seen.setdefault((text, *words), (name, labels))
                if first != (name, labels):
                    yield first, (name, labels)
