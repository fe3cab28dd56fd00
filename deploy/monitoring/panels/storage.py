"""Storage and compaction: the log's flushes, what keeps the log, checkpoints, the store and its disk."""
from panels.parts import (BLUE, GREEN, NODE, ORANGE, PURPLE, RED, YELLOW, dashboard, fixed, graph, largest, mean,
                          number, of_one_node, quantile, rate, states, steps, table, texts)

FLUSH = "tailrace_log_flush_duration_seconds"
PHASES = (("rest", "#b8c4ce"), ("prepare", BLUE), ("in_progress", GREEN), ("wait_pending", ORANGE),
          ("wait_flush", PURPLE))


def address(watermark):
    return f'tailrace_kv_address_bytes{{@,watermark="{watermark}"}}'


# By what one node is chosen, so that all lines of a panel are of it. A budget of 0 is used up.
FULLEST = "tailrace_kv_used_bytes{@} / tailrace_kv_capacity_bytes{@}"


def between(first, last):
    return f"{address(last)} - ignoring(watermark) {address(first)}"


LARGEST = between("begin", "tail")


def flushes():
    return [
        graph("How long does the disk take to make the log durable?",
              "From the begin of a flush until it was durable, for each node. A write waits for it on a majority.",
              "A fast disk: p99 below 10 ms. A slow one: tens of milliseconds.",
              "See what else uses the disk. Compare nodes: one slow disk is the machine, all slow ones are the load.",
              "s", [(quantile(0.5, FLUSH, "node"), "node {{node}}, p50"),
                    (quantile(0.99, FLUSH, "node"), "node {{node}}, p99")]),
        graph("How many bytes does a flush carry?",
              "The mean size of a flush. Many writes share one flush under load.",
              "It grows with the load.",
              "Small flushes at a high rate: few clients write at a time, so each waits for its own fsync.",
              "bytes", [(mean("tailrace_log_flush_size_bytes", "node"), NODE)]),
        graph("Why do flushes begin?",
              "Flushes a second, by reason, and the flushes that became durable.",
              "A mix; it shows whether writers wait, a page is full, or a timer ran.",
              "Nothing has to be done about it. It explains the size of flushes.",
              "ops", [(rate("tailrace_log_flushes_begun_total", "reason"), "{{reason}}"),
                      (rate("tailrace_log_flushes_total", ""), "became durable")]),
        graph("How many bytes does the log write?",
              "Bytes of the log that became durable.",
              "The load, on every node.",
              "Near what the disk can carry: flushes become slow.",
              "binBps", [(rate("tailrace_log_flushed_bytes_total"), NODE)], width=6),
        graph("How much of the log waits for the disk?",
              "Bytes in the log's memory that are not durable yet.",
              "Far below log.page_bytes times log.buffer_pages.",
              "At the limit appends wait: the disk is slower than the load.",
              "bytes", [(largest("tailrace_log_unflushed_bytes{@}"), NODE)], width=6),
        graph("Do appends wait for the log's memory?",
              "Appends a second that found the log's memory full and were tried again.",
              "None.",
              "The disk is slower than the load. A larger log.buffer_pages only helps against short peaks.",
              "cps", [(rate("tailrace_log_would_block_total"), NODE)], width=6),
        graph("How many flushes are under way?",
              "Flushes that have begun and are not durable yet.",
              "One or a few.",
              "The same number for minutes: the disk does not answer.",
              "none", [(largest("tailrace_log_flushes_in_flight{@}"), NODE)], decimals=0, width=6),
    ]


def kept():
    tail = 'tailrace_log_address_bytes{@,watermark="tail"}'
    return [
        graph("How much disk does the log take?",
              "Bytes of the log's segment files.",
              "It grows until a checkpoint and falls after it.",
              "See to the right who keeps the log.",
              "bytes", [(largest("tailrace_log_disk_bytes{@}"), NODE)]),
        graph("Who keeps the log?",
              "How far each anchor is from the end of the log. An anchor is the address from which on somebody needs the "
              "log: the checkpoint, the retention, and on the leader each follower. cluster, on the other nodes: the "
              "oldest address that a member still needs, as the leader says; any of them may lead next. The log is kept "
              "from the furthest on. history: up to where event files have the events. It trails the furthest of the "
              "others by up to a stretch (64 MiB): its line is usually the furthest, and the next one says who keeps the "
              "log.",
              "Behind history the checkpoint or the retention is the furthest; followers are near 0.",
              "A follower that is away: start it, or remove it. cluster is next to history: see which follower of the "
              "leader is away. A checkpoint that grows for long: see whether checkpoints fail. history itself keeps "
              "the log only while tailrace_history_held_back is 1, which “Is an event file missing?” shows, or while it "
              "stands still and the others go on.",
              "bytes", [(f"max by (anchor) ({tail} - ignoring(watermark, anchor) group_right() "
                         "tailrace_truncation_anchor_address_bytes{@})", "{{anchor}}"),
                        (f"max({tail} - ignoring(watermark) tailrace_truncation_limit_address_bytes{{@}})",
                         "kept in all")]),
        graph("How fast is the log given back?",
              "Bytes of the log that were removed from its beginning, a second.",
              "Peaks after checkpoints.",
              "0 for long: see who keeps the log.",
              "binBps", [("sum by (node) (rate(tailrace_log_truncated_bytes{@}[@]))", NODE)]),
        graph("How much disk do kept events take?",
              "Bytes of event files: they have the events that the log no longer has.",
              "It grows with the events that are appended, alike on all nodes.",
              "Nodes that differ: one lacks files, see to the right.",
              "bytes", [(largest("tailrace_history_bytes{@}"), NODE)]),
        graph("Is an event file missing?",
              "How much of the log no event file of a node covers, although one should; 1 where no event file can be "
              "written; and, in the time of one step, files that were found damaged, files that came from other nodes, and "
              "unreadable events that scavenging took out.",
              "None is missing, held back or damaged. A node with a new disk fetches its files from the others for a "
              "while. Dead events are removed when `tailrace history scavenge` was asked for.",
              "Missing for long: `tailrace verify --history` says who lacks what. Held back: the node's log says why, "
              "and the log is not truncated meanwhile. A damaged file is fetched anew from another member.",
              "none", [(largest("tailrace_history_missing_bytes{@}"), "node {{node}}, bytes missing"),
                       (largest("tailrace_history_held_back{@}"), "node {{node}}, held back"),
                       ("sum by (node) (increase(tailrace_history_damaged_files_total{@}[@]))",
                        "node {{node}}, files damaged"),
                       ("sum by (node) (increase(tailrace_history_fetched_files_total{@}[@]))",
                        "node {{node}}, files fetched"),
                       ("sum by (node) (increase(tailrace_history_removed_events_total{@}[@]))",
                        "node {{node}}, dead events removed")],
              overrides=[{"matcher": {"id": "byRegexp", "options": ".*, bytes missing"},
                          "properties": [{"id": "unit", "value": "bytes"}]}]),
    ]


def checkpoints():
    phases = " or ".join(f'{value} * (tailrace_checkpoint_phase{{@,phase="{name}"}} == 1)'
                         for value, (name, _) in enumerate(PHASES))
    return [
        states("What does checkpointing do?",
               "The phase of checkpointing on each node over time.",
               "rest, with short checkpoints between.",
               "wait_flush for long: the disk is slow. in_progress for long: the state is large.",
               "none", [(f"max by (node) ({phases})", NODE)], mappings=texts(
                   **{f"_{value}": (name, color) for value, (name, color) in enumerate(PHASES)}), width=16),
        table("What did the last checkpoint of each node do?",
              "Age, duration and size of the newest checkpoint, the address up to which it covers the log, and the "
              "interval that is configured.",
              "The age is little more than the interval, while something is written.",
              "An older one: see whether checkpoints fail. Without one a restart reads the whole log.",
              "s", [("max by (node) (time() - tailrace_last_checkpoint_timestamp_seconds{@})", ""),
                    ("max by (node) (tailrace_checkpoint_interval_seconds{@})", ""),
                    ("max by (node) (tailrace_last_checkpoint_duration_seconds{@})", ""),
                    ("max by (node) (tailrace_last_checkpoint_size_bytes{@})", ""),
                    ("max by (node) (tailrace_last_checkpoint_address_bytes{@})", "")],
              columns={"node": "Node", "Value #A": "Age", "Value #B": "Interval", "Value #C": "Took",
                       "Value #D": "Size", "Value #E": "Covers"},
              overrides=[{"matcher": {"id": "byRegexp", "options": "Size|Covers"},
                          "properties": [{"id": "unit", "value": "bytes"}]}]),
        graph("How long do checkpoints take?",
              "The mean from the begin of a checkpoint until it was published.",
              "Seconds. It grows with the state, or with what changed since the last one.",
              "Choose state_machine.checkpoint_kind: incremental, or give the node a faster disk.",
              "s", [(mean("tailrace_kv_checkpoint_duration_seconds", "node"), NODE)], width=6),
        graph("Do checkpoints succeed?",
              "Checkpoints of the store by result, and those after which the log was not truncated, in the time of "
              "one step.",
              "published only.",
              "The node's log lines say why. The log is not truncated until one succeeds.",
              "none", [("sum by (node, result) (increase(tailrace_kv_checkpoints_total{@}[@]))",
                        "node {{node}}, {{result}}"),
                       ("sum by (node) (increase(tailrace_checkpoint_failures_total{@}[@]))",
                        "node {{node}}, log not truncated")], width=6),
        graph("How much do checkpoints write?",
              "Bytes written for checkpoints, a second.",
              "Peaks at checkpoints.",
              "Peaks that slow flushes down: take smaller checkpoints more often, or incremental ones.",
              "binBps", [(rate("tailrace_kv_checkpoint_written_bytes_total"), NODE)], width=6),
        graph("How far is the running checkpoint?",
              "The share of the running checkpoint that is done.",
              "It rises to 100 % within seconds.",
              "It stands still: see the phase above.",
              "percentunit", [(largest("tailrace_checkpoint_progress_ratio{@}"), NODE)], most=1, width=6),
    ]


def applying():
    return [
        graph("How much is applied?",
              "Records of the log that each node's state machine applied.",
              "The same on all nodes.",
              "A node below the others: see its lag to the right, and its busy threads.",
              "ops", [(rate("tailrace_applied_records_total"), NODE)]),
        graph("How many bytes are applied?",
              "Bytes of the log that each node's state machine applied.",
              "The same on all nodes.",
              "A node below the others falls behind.",
              "binBps", [(rate("tailrace_applied_bytes_total"), NODE)]),
        graph("How far is applying behind?",
              "Bytes that are committed and durable, and not applied yet. Reads of this node are as old.",
              "Less than a mebibyte.",
              "At server.max_unapplied_bytes commands wait. The applier's thread is busy, or reads the disk: see "
              "the reads of the disk below.",
              "bytes", [(largest("tailrace_apply_lag_bytes{@}"), NODE)]),
    ]


def store():
    return [
        graph("How full is the store?",
              "Live records, what new records cannot have, and the disk budget, all of the node that uses most of its "
              "budget. Another node may become that one. A budget of 0: the disk has no room for the store at all.",
              "The used part stays below the budget; live is at least half of it.",
              "Delete keys or raise store.disk_bytes. Used far above live: compaction does not keep up.",
              "bytes", [(of_one_node("tailrace_kv_live_bytes{@}", FULLEST), "live"),
                        (of_one_node("tailrace_kv_used_bytes{@}", FULLEST), "used"),
                        (of_one_node("tailrace_kv_capacity_bytes{@}", FULLEST), "budget")], log=True, least=None,
              overrides=[fixed("live", GREEN), fixed("used", YELLOW), fixed("budget", RED)]),
        graph("How many keys are stored?",
              "Keys in the store of each node.",
              "The same on all nodes that have applied the same log.",
              "A steady growth: do keys have a time to live?",
              "short", [(largest("tailrace_kv_live_records{@}"), NODE)]),
        graph("Where are the store's records?",
              "The parts of the store's own log: on disk only, in memory and read-only, and updated in place. All of "
              "the node where that log is largest.",
              "Memory is used up to store.memory_bytes. Only then records are on disk only.",
              "Much on disk and many reads of the disk: raise store.memory_bytes.",
              "bytes", [(of_one_node(between("begin", "head"), LARGEST), "on disk only"),
                        (of_one_node(between("head", "read_only"), LARGEST), "in memory, read-only"),
                        (of_one_node(between("read_only", "tail"), LARGEST), "in memory, updated in place"),
                        (of_one_node(between("flushed", "tail"), LARGEST), "not on disk yet")]),
        graph("How often does a read go to the disk?",
              "Reads of the disk for records that are not in memory.",
              "Few, while the keys that are used fit in memory.",
              "Raise store.memory_bytes, or set store.copy_reads_to_tail.",
              "rps", [(rate("tailrace_kv_cold_reads_total"), NODE)]),
        graph("How much does the store read and write?",
              "Bytes that the store reads for cold records and writes for its log.",
              "Less than the disk can carry.",
              "See whether compaction or the load writes: the panels below.",
              "binBps", [(rate("tailrace_kv_cold_read_bytes_total", ""), "read"),
                      (rate("tailrace_kv_flushed_bytes_total", ""), "written")]),
        graph("Do writes wait for the store's memory?",
              "Pages that left memory, and writes that waited for a page.",
              "Few waits.",
              "The disk is slower than the writes, or store.memory_bytes is too small.",
              "ops", [(rate("tailrace_kv_evicted_pages_total", ""), "pages left memory"),
                      (rate("tailrace_kv_room_waits_total", ""), "writes waited")]),
        graph("How crowded is the index?",
              "Added buckets as a share of the buckets of the hash index.",
              "Less than 30 %. The index doubles by itself (store.index_grows).",
              "See that store.index_grows is on. Otherwise give store.index_buckets a larger value.",
              "percentunit", [("max by (node) (tailrace_kv_index_overflow_buckets{@} / tailrace_kv_index_buckets{@})",
                               NODE)]),
        graph("How many updates copy their record?",
              "Updates that copied the record to the end of the store's log. The others changed it in place.",
              "It depends on which keys are updated: old ones are copied once.",
              "Many copies make compaction work more: raise store.memory_bytes.",
              "ops", [(rate("tailrace_kv_copied_records_total"), NODE)]),
        number("Were writes refused for the disk budget?",
               "Writes that were refused, and writes that must not fail and went beyond the budget.",
               "0.",
               "Delete keys, or raise store.disk_bytes and restart the node.",
               "none", [("sum(tailrace_kv_refused_writes_total{@})", "refused"),
                        ("sum(tailrace_kv_writes_beyond_budget_total{@})", "beyond")], width=8, height=8,
               graph="none", thresholds=steps(GREEN, (1, RED)), text="value_and_name"),
    ]


def compaction():
    return [
        graph("How much does compaction move?",
              "Bytes of live records that compaction moved, and disk space that it gave back.",
              "It gives back at least as much as it moves.",
              "It moves much and gives back little: lower store.compaction.target_utilisation.",
              "binBps", [(rate("tailrace_kv_compacted_bytes_total", ""), "moved"),
                      (rate("tailrace_kv_released_bytes_total", ""), "given back")], width=6),
        graph("What does compaction find?",
              "Records that it moved, and tombstones and expired records that it left behind.",
              "It depends on your keys.",
              "Only moved records: the data is all live, and the budget may be too small.",
              "ops", [(rate("tailrace_kv_compacted_records_total", ""), "moved"),
                      (rate("tailrace_kv_dropped_records_total", ""), "left behind")], width=6),
        graph("How long does a digest of the state take?",
              "How long the last digest in the background took.",
              "A fifth of replication.digest_interval at most.",
              "Longer: the state is large. See state_machine.digest_bytes_per_s.",
              "s", [(largest("tailrace_last_state_digest_duration_seconds{@}"), NODE)], width=6),
        graph("Are digests of the state computed?",
              "Digests that were computed, and those that were left out because another one or a checkpoint ran, "
              "in the time of one step.",
              "One in replication.digest_interval. None is left out.",
              "Many are left out: checkpoints or digests take too long.",
              "none", [("sum(increase(tailrace_state_digests_total{@}[@]))", "computed"),
                       ("sum(increase(tailrace_state_digests_skipped_total{@}[@]))", "left out")], width=6),
    ]


def made():
    return dashboard("storage", "Tailrace: Storage and compaction",
                     "The log's flushes, what keeps the log, checkpoints, and the store.",
                     [("The log becomes durable", flushes()), ("The log is kept", kept()),
                      ("Checkpoints", checkpoints()), ("The state machine", applying()), ("The store", store()),
                      ("Compaction and digests", compaction())])
