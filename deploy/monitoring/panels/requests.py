"""Requests and stages: what clients ask, what becomes of it, and where the time of a write goes."""
from panels.parts import (ANSWERED, BLUE, FAILED, GREEN, NODE, NOT_OK, ORANGE, PURPLE, READS, RED, WRITES, YELLOW,
                          dashboard, fixed, graph, largest, mean, number, quantile, rate)

REQUESTS = "tailrace_rpc_requests_total"
DURATION = "tailrace_rpc_request_duration_seconds"
STAGE = "tailrace_rpc_request_stage_duration_seconds"
STAGES = (("held", RED, "waited for room"), ("enqueue", YELLOW, "checked and put into the log"),
          ("flush", BLUE, "until durable here"), ("commit", PURPLE, "until a majority had it"),
          ("apply", GREEN, "until applied"), ("answer", ORANGE, "until the system had taken the answer"))
WHAT_TO_DO_BY_STAGE = (
    "held: see the limits in the dashboard of nodes. flush: this node's disk. commit: the followers' disks and the "
    "network. apply: the applier's thread. enqueue, answer: the threads of the service.")
COLORS = [fixed(stage, color) for stage, color, _ in STAGES]


def by_stage(share):
    """One target for each stage, in their order."""
    return [(quantile(share, STAGE, "", f'stage="{stage}"'), stage) for stage, _, _ in STAGES]


def stages():
    means = [(mean(STAGE, "", f'stage="{stage}"'), stage) for stage, _, _ in STAGES]
    explained = "; ".join(f"{stage}: {what}" for stage, _, what in STAGES)
    return [
        graph("Which stage of a write is slow?",
              f"The mean time of each stage of a write on the leader, stacked: {explained}. The top is the mean "
              "time of a write.",
              "flush and commit take most of the time.",
              WHAT_TO_DO_BY_STAGE, "s", means, width=12, height=10, stacked=True, overrides=COLORS,
              calcs=["mean", "max"]),
        graph("Which stage is slow for the slowest writes?",
              "99 of 100 writes took at most this time in each stage. The stages of one write do not add up to "
              "these.",
              "flush and commit are the largest.",
              WHAT_TO_DO_BY_STAGE, "s", by_stage(0.99), width=12, height=10,
              log=True, least=None, overrides=COLORS, calcs=["mean", "max"]),
        graph("How long does each stage take for half of the writes?",
              "Half of the writes took at most this time in each stage.",
              "flush and commit are the largest.",
              "Far below the 99 % beside it: few writes are slow, and something disturbs them for moments.",
              "s", by_stage(0.5), log=True, least=None, overrides=COLORS),
        graph("How many writes are measured by stage?",
              "Writes whose stages were measured, and all writes.",
              "At most 1,000 a second and thread are measured.",
              "None measured although some are written: no node of the chosen ones leads.",
              "wps", [(rate(f"{STAGE}_count", "", 'stage="commit"'), "measured"),
                      (rate(REQUESTS, "", WRITES), "all writes")]),
        number("How long does a write take?",
               "The time from the arrival of a write to its answer: half of them, 99 of 100, and 999 of 1,000.",
               "p50 is about one fsync and one round trip. p99 is a few times as much.",
               "See “Which stage of a write is slow?”.",
               "s", [(quantile(0.5, DURATION, "", WRITES), "p50"), (quantile(0.99, DURATION, "", WRITES), "p99"),
                     (quantile(0.999, DURATION, "", WRITES), "p99.9")], width=8, height=8,
               text="value_and_name"),
    ]


def traffic():
    return [
        graph("What do clients ask for?",
              "Answered requests by kind.",
              "The mix of your services.",
              "A kind that stops: its clients are down or find no leader. One that jumps: a client repeats.",
              "reqps", [(f"{rate(REQUESTS, 'kind')} > 0", "{{kind}}")], width=6),
        graph("Which node answers?",
              "Answered requests by node.",
              "Writes go to the leader. Reads go where clients send them.",
              "All reads on one node: give clients all servers and a read level that followers may answer.",
              "reqps", [(rate(REQUESTS), NODE)], width=6),
        graph("How many requests are in work?",
              "Requests that were taken and are not answered yet.",
              "As many as clients send at a time.",
              "It grows while the answers do not: see the stages above.",
              "none", [(largest("tailrace_rpc_in_flight_requests{@}"), NODE)], decimals=0, width=6),
        graph("How often are connections not read on?",
              "How often a connection was not read on, a second.",
              "Never.",
              "The log's memory was full, too much was in flight, or too much was not applied: see the limits in the "
              "dashboard of nodes.",
              "cps", [(rate("tailrace_rpc_stalls_total"), NODE)], width=6),
        graph("How long does each kind take, for half of the requests?",
              "Half of the requests of a kind were answered within this time.",
              "Writes: some milliseconds. Reads of memory: less than one.",
              "Writes: see the stages above. Reads: see memory and disk below.",
              "s", [(quantile(0.5, DURATION, "kind") + " > 0", "{{kind}}")], log=True, least=None),
        graph("How long does each kind take, for the slowest percent?",
              "99 of 100 requests of a kind were answered within this time.",
              "A few times the median.",
              "Writes: see the stages above. A checkpoint or a scan takes long by itself.",
              "s", [(quantile(0.99, DURATION, "kind") + " > 0", "{{kind}}")], log=True, least=None),
        graph("How large are the commands?",
              "The mean bytes of the log for each record that clients enqueued, by kind.",
              "The size of your keys and values plus about a hundred bytes.",
              "It grows: a client writes larger values.",
              "bytes", [(f"{rate('tailrace_rpc_record_bytes_total', 'kind')} / "
                         f"({rate('tailrace_rpc_records_total', 'kind')} > 0)", "{{kind}}")]),
    ]


def errors():
    return [
        graph("What became of requests?",
              "Answers other than ok, by result: not_leader and elsewhere send a client on to another node; "
              "refused is an answer to a wrong request or to one without room; unknown_outcome may have been carried "
              "out; failed is any other.",
              "Some not_leader after a change of leader; elsewhere where a follower sends bounded reads on.",
              "unknown_outcome: a leader went away in the middle. refused and failed: see the codes.",
              "reqps", [(rate(REQUESTS, "result", NOT_OK), "{{result}}")], none="none"),
        graph("Which errors are answered?",
              "Answers with an error, by its code.",
              "Few. not_leader after a change of leader; not_found and the like are your clients' own.",
              "resource_exhausted: a disk or a limit is full. unavailable: the node cannot answer; “What became "
              "of requests?” shows how many of them are only sent on (elsewhere).",
              "reqps", [(rate(REQUESTS, "code", 'code!="ok"'), "{{code}}")], none="none"),
        graph("Which kinds of requests fail?",
              "The share of requests of each kind that the cluster could not do: there was no room or no majority, a disk "
              "failed, or the client was not told the outcome. TailraceRequestErrors counts the same, of requests for "
              "data. Mistakes of clients, a lost cas, and answers that send a client to another node do not count.",
              "0 %.",
              "All writes: the codes say why; resource_exhausted is a full disk or limit. All kinds: the node or the "
              "majority is away. One kind only: the client that sends it.",
              "percentunit", [(f"({rate(REQUESTS, 'kind', FAILED)} or 0 * {rate(REQUESTS, 'kind', ANSWERED)}) / "
                               f"({rate(REQUESTS, 'kind', ANSWERED)} > 0)", "{{kind}}")]),
    ]


def reads():
    return [
        graph("At which level do clients read?",
              "Keys that were read, by the level that was asked for.",
              "What your services ask for.",
              "Many linearizable reads load the leader. Take bounded where a bounded age is enough.",
              "rps", [(rate("tailrace_rpc_reads_total", "level"), "{{level}}")]),
        graph("Which reads go to the disk?",
              "The share of keys that were read from the disk, by level.",
              "Near 0 %, while the keys that are used fit in memory.",
              "Raise store.memory_bytes, or set store.copy_reads_to_tail.",
              "percentunit", [(rate("tailrace_rpc_reads_total", "level", 'from="disk"')
                               + " / (" + rate("tailrace_rpc_reads_total", "level") + " > 0)", "{{level}}")], most=1),
        graph("How long do reads take?",
              "The time from the arrival of a read to its answer.",
              "Less than a millisecond from memory. A few milliseconds from the disk or after a round trip.",
              "See to the left whether they go to the disk. Linearizable reads wait for a majority.",
              "s", [(quantile(0.5, DURATION, "kind", READS), "{{kind}}, p50"),
                    (quantile(0.99, DURATION, "kind", READS), "{{kind}}, p99")], log=True, least=None),
        graph("How many tails and scans are open?",
              "Open tails and open scans of all nodes.",
              "One tail for each consumer.",
              "It only grows: a client opens them and does not close them.",
              "none", [("sum(tailrace_rpc_tails{@})", "tails"), ("sum(tailrace_rpc_scans{@})", "scans")],
              decimals=0, width=6),
        graph("How far is the slowest tail behind?",
              "How far the slowest open tail of each node is behind the end of the log that it may read.",
              "Near 0.",
              "Its client is too slow, or reads history. What is truncated before it comes is lost to it.",
              "bytes", [(largest("tailrace_rpc_tail_lag_bytes{@}"), NODE)], width=6),
        graph("How many sessions are remembered?",
              "Sessions of clients that the state remembers, and the most of them.",
              "One for each client of the last hour.",
              "Near the limit: see sessions in the document about time.",
              "none", [("max(tailrace_sessions{@})", "sessions"),
                       ("max(tailrace_sessions_limit{@} > 0)", "limit")], decimals=0, log=True, least=None, width=6,
              overrides=[fixed("limit", RED)]),
        graph("Do clients repeat commands?",
              "Commands a second that were answered without being applied again, and what was forgotten early.",
              "Repeats only after a change of leader. Nothing is forgotten early.",
              "Forgotten early: raise state_machine.sessions or state_machine.answers_bytes.",
              "cps", [(rate("tailrace_session_refusals_total", ""), "repeated or expired"),
                      (rate("tailrace_sessions_evicted_total", ""), "sessions forgotten early"),
                      (rate("tailrace_session_answers_forgotten_total", ""), "answers forgotten early")], width=6),
    ]


def connections():
    return [
        graph("How many clients are connected?",
              "Open connections of clients, by node.",
              "As many as your clients open.",
              "Near server.max_connections newcomers push out idle connections.",
              "none", [(largest("tailrace_rpc_connections{@}"), NODE)], decimals=0),
        graph("Do clients come and go?",
              "Connections accepted, closed to make room, closed because they were silent or slow, and closed "
              "because of an invalid message, a second.",
              "Few. Clients keep their connections.",
              "Many accepted: a client connects for each request. Invalid messages: something else speaks to the "
              "port.",
              "cps", [(rate("tailrace_rpc_accepted_connections_total", ""), "accepted"),
                      (rate("tailrace_rpc_evicted_connections_total", ""), "closed to make room"),
                      (rate("tailrace_rpc_timed_out_connections_total", ""), "timed out"),
                      (rate("tailrace_rpc_bad_frames_total", ""), "invalid messages")]),
        graph("How many bytes go to and from clients?",
              "Bytes received from clients and sent to them.",
              "Less than the network can carry.",
              "Much is sent: tails and scans. Spread them over the nodes.",
              "binBps", [(rate("tailrace_rpc_received_bytes_total", ""), "received"),
                      (rate("tailrace_rpc_sent_bytes_total", ""), "sent")]),
    ]


def made():
    return dashboard("requests", "Tailrace: Requests and stages",
                     "What clients ask for, what becomes of it, and where the time of a write goes.",
                     [("Where is the time of a write?", stages()), ("Requests", traffic()), ("Errors", errors()),
                      ("Reads, tails, scans, sessions", reads()), ("Connections", connections())])
