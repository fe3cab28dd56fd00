"""Node: use, saturation and errors of what each process needs: threads, memory, disk, descriptors."""
from panels.overview import FREE, KNOWN, SOON_FULL, UNTIL_FULL
from panels.parts import (BLUE, GREEN, NODE, RED, YELLOW, bars, dashboard, graph, largest, mean, number,
                          of_one_node, quantile, rate, states, steps, table, texts)

SIZE = "tailrace_filesystem_size_bytes"
SHARE = steps(GREEN, (0.7, YELLOW), (0.9, RED))
BY_DIRECTORY = "node {{node}}, {{directory}}"


def limit_shares():
    """(what is limited, its share of the limit). A limit of 0 is none, but for the store: its budget is what the disk
    has left for it, and 0 is a full disk."""
    def share(used, limit):
        return f"{used}{{@}} / ({limit}{{@}} > 0)"

    return [
        ("client connections", share("tailrace_rpc_connections", "tailrace_rpc_connections_limit")),
        ("memory for clients", share("tailrace_rpc_memory_bytes", "tailrace_rpc_memory_limit_bytes")),
        ("HTTP connections", share("tailrace_http_connections", "tailrace_http_connections_limit")),
        ("open files", "process_open_fds{@} / process_max_fds{@}"),
        ("log memory", share("tailrace_log_unflushed_bytes", "tailrace_log_unflushed_limit_bytes")),
        ("log not applied", share("tailrace_apply_lag_bytes", "tailrace_apply_lag_limit_bytes")),
        ("sessions", share("tailrace_sessions", "tailrace_sessions_limit")),
        ("remembered answers", share("tailrace_session_answers_bytes", "tailrace_session_answers_limit_bytes")),
        ("store's disk budget", "clamp_max(tailrace_kv_used_bytes{@} / tailrace_kv_capacity_bytes{@}, 1)"),
    ]


def threads():
    busy = (f"{rate('tailrace_thread_cpu_seconds_total', 'node, thread')}"
            " / max by (node, thread) (tailrace_threads{@})")
    lateness = "tailrace_loop_lateness_seconds"
    return [
        graph("Which threads are busy?",
              "The share of time in which each kind of thread uses a processor, on the chosen node where it is "
              "busiest. 100 %: it does nothing else.",
              "Less than 70 %.",
              "The busiest thread bounds the throughput. Spread clients over nodes for reads; send larger batches.",
              "percentunit", [(f"max by (thread) ({busy})", "{{thread}}")], width=16, height=14, most=1),
        bars("How many threads of each kind run?",
             "Threads that run now, by what they do. All chosen nodes together.",
             "The same number for each node. It follows from the configuration.",
             "A kind that is missing on a node: restart that node and report the fault.",
             "none", [("sum by (thread) (tailrace_threads{@})", "{{thread}}")], height=14, thresholds=steps(BLUE)),
        graph("How much processor does each node use?",
              "Processor time a second, in cores, of the whole process.",
              "Less than the cores of the machine.",
              "Give the node more cores, or see which thread is busy.",
              "suffix: cores", [("sum by (node) (rate(process_cpu_seconds_total{@}[@]))", NODE)],
              decimals=2),
        graph("How late do the event loops run?",
              "99 of 100 timers of a loop ran at most so late. What waits for the loop waits as long.",
              "A few milliseconds.",
              "The loop's thread is busy, or the machine has too few processors.",
              "s", [(quantile(0.99, lateness, "node, loop"), "node {{node}}, {{loop}}")]),
        graph("How late is a timer on average?",
              "The mean lateness of each loop's timers.",
              "Less than a millisecond.",
              "Above: the machine is short of processors all the time, not only for moments.",
              "s", [(mean(lateness, "node, loop"), "node {{node}}, {{loop}}")]),
    ]


def memory():
    parts = [("store, in memory", 'tailrace_kv_address_bytes{@,watermark="tail"} - ignoring(watermark) '
              'tailrace_kv_address_bytes{@,watermark="head"}'),
             ("log, not durable yet", "tailrace_log_unflushed_bytes{@}"),
             ("held for clients", "tailrace_rpc_memory_bytes{@}"),
             ("remembered answers", "tailrace_session_answers_bytes{@}")]
    return [
        graph("How much memory does each node use?",
              "Resident memory of the process.",
              "It grows to the sum of the configured memory and stays there.",
              "A process that grows for days: compare with the parts to the right, and report it.",
              "bytes", [("max by (node) (process_resident_memory_bytes{@})", NODE)], width=12),
        graph("What is the memory used for?",
              "The parts of a node's memory that have a limit, all of the chosen node that uses most.",
              "The store's part grows to store.memory_bytes. The others are small.",
              "Lower the key that bounds the part: store.memory_bytes, server.memory_bytes, log.buffer_pages, "
              "state_machine.answers_bytes.",
              "bytes", [(of_one_node(expression, "process_resident_memory_bytes{@}"), name)
                        for name, expression in parts], width=12),
    ]


def limits():
    shares = limit_shares()
    return [
        bars("How near is each limit now?",
             "The used share of each limit, on the chosen node where it is largest.",
             "Less than 70 %.",
             "At 100 % clients wait or are refused. Raise the limit's key if the machine can carry it, or "
             "lower the load.",
             "percentunit", [(f"max({expression})", name) for name, expression in shares], width=10, height=9,
             most=1, thresholds=SHARE),
        graph("How near was each limit?",
              "The same shares over time.",
              "Less than 70 %.",
              "See what else rose when it began: clients, a slow disk, a follower that is away.",
              "percentunit", [(f"max({expression})", name) for name, expression in shares], width=14, height=9),
    ]


def disk():
    return [
        graph("How much disk is free?",
              "Free space of the file system that holds each directory.",
              "More than the log needs until the next checkpoint, plus the store's growth.",
              "Free space. “Full disks” in the operator's documents says what the node does without room.",
              "bytes", [(f"min by (node, directory) ({FREE}{{@}})", BY_DIRECTORY)]),
        graph("How much of the disk is used?",
              "The used share of each file system.",
              "Less than 80 %.",
              "See in the dashboard of storage whether the log, the store or another program grows.",
              "percentunit", [(f"max by (node, directory) (1 - {FREE}{{@}} / {SIZE}{{@}})", BY_DIRECTORY)], most=1),
        graph("How much disk is free in a day?",
              "A forecast from the last six hours: free space in 24 hours if it goes on as it did. 0: full by then. Needs "
              "data of three hours.",
              "Far above 0.",
              "Make room before that time. A log that waits for its next checkpoint makes the forecast too dark.",
              "bytes", [(f"min by (node, directory) (clamp_min(predict_linear({FREE}{{@}}[6h], 86400), 0) and {KNOWN})",
                         BY_DIRECTORY)]),
        number("When is each disk full?",
               "How long until the file system is full if it goes on filling as in the last six hours. Needs data of "
               "three hours.",
               "Nothing, or more than a week. Logs fill a disk until the next checkpoint, and a load of data that ends "
               "soon looks like a trend.",
               "Make room before that time.",
               "s", [(f"min by (node) ({UNTIL_FULL})", NODE)], width=8, graph="none",
               none="none foreseen", thresholds=SOON_FULL),
        number("Do requests to the disk go by io_uring?",
               "Whether the node uses io_uring. Ordinary system calls work too and are slower.",
               "io_uring, where the kernel allows it.",
               "See the kernel's version, and whether a container forbids io_uring.",
               "none", [("min by (node) (tailrace_io_uring{@})", NODE)], width=8, graph="none",
               mappings=texts(_1=("io_uring", GREEN), _0=("system calls", YELLOW))),
        number("How many writes and fsyncs of the log failed?",
               "Failures since the start of the process. The node stops at the first.",
               "0.",
               "Replace the disk, and the node's data with it.",
               "none", [("max by (node) (tailrace_log_failures_total{@})", NODE)], width=8, graph="none",
               thresholds=steps(GREEN, (1, RED))),
    ]


def process():
    return [
        graph("How many files are open?",
              "Open file descriptors: segments, connections, and a few more.",
              "Far below the limit, which “How near is each limit now?” shows.",
              "Raise the limit of open files for the process (ulimit -n, LimitNOFILE).",
              "none", [("max by (node) (process_open_fds{@})", NODE)], decimals=0),
        graph("How many lines do the nodes log?",
              "Lines that the nodes wrote to standard error, a second, by level.",
              "Few lines; warnings and errors only at changes of leader and restarts.",
              "Read them: they name what is wrong and the remedy.",
              "cps", [(rate("tailrace_messages_logged_total", "level"), "{{level}}")]),
        graph("How does the metrics port answer?",
              "HTTP requests by class of status, and connections that the node closed, by reason.",
              "2xx only. 5xx are probes that ask a node which is not ready.",
              "5xx: ask /readyz why. Closed connections: a prober is slow, or too many ask.",
              "reqps", [(rate("tailrace_http_requests_total", "code"), "{{code}}"),
                        (rate("tailrace_http_closed_connections_total", "reason"), "closed: {{reason}}")]),
        table("How long did the last start take?",
              "The time for recovering the log and the store, for applying the rest of the log, and in all.",
              "Seconds. It grows with the log since the last checkpoint.",
              "Take checkpoints more often (state_machine.checkpoint_interval).",
              "s", [("max by (node) (tailrace_recovery_duration_seconds{@,part=\"log\"})", ""),
                    ("max by (node) (tailrace_recovery_duration_seconds{@,part=\"store\"})", ""),
                    ("max by (node) (tailrace_recovery_duration_seconds{@,part=\"state\"})", ""),
                    ("max by (node) (tailrace_recovery_duration_seconds{@,part=\"all\"})", "")],
              columns={"node": "Node", "Value #A": "Log", "Value #B": "Store", "Value #C": "State",
                       "Value #D": "In all"}, width=12, height=6),
        states("Is a series left out of the metrics?",
               "Series that the last scrape did not tell, because one family may have 200: no, or how many.",
               "no.",
               "The node knows very many followers or kinds of errors. Report it.",
               "none", [(largest("tailrace_metrics_series_left_out{@}"), NODE)], height=6,
               mappings=texts(_0=("no", GREEN)), thresholds=steps(GREEN, (1, RED))),
    ]


def made():
    return dashboard("node", "Tailrace: Node", "Threads, memory, limits, disk and process of each node.",
                     [("Threads", threads()), ("Memory", memory()), ("Limits", limits()), ("Disk", disk()),
                      ("Process", process())])
