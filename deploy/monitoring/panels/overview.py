"""Overview: is the cluster well, who does what, how much work is done and how fast."""
from panels.parts import (ANSWERED, BLUE, DATA, FAILED, GREEN, NODE, NOT_OK, ORANGE, PURPLE, READS, RED, WRITES, YELLOW,
                          dashboard, graph, number, quantile, rate, states, steps, table, texts, told_by_leader)

ROLE = "tailrace_replication_role"
ROLES = (("stopped", RED), ("starting", YELLOW), ("learner", PURPLE), ("follower", BLUE), ("candidate", ORANGE),
         ("leader", GREEN))
REQUESTS = "tailrace_rpc_requests_total"
DURATION = "tailrace_rpc_request_duration_seconds"
FREE = "tailrace_filesystem_free_bytes"
# Three of the last six hours have data: after a start a few minutes are no trend.
KNOWN = f"present_over_time({FREE}{{@}}[3h] offset 3h)"
# How long until a file system is full if it goes on as in the last six hours, as the alert and the recording rule have
# it. Nothing while it does not fill, and while nothing is known.
UNTIL_FULL = f"{FREE}{{@}} / (-deriv({FREE}{{@}}[6h]) > 0) and {KNOWN}"
# Nothing has the first color.
SOON_FULL = steps(GREEN, (0, RED), (86400, YELLOW), (7 * 86400, GREEN))


def role_panel(**more):
    """One line for each node, from the series of its six roles."""
    expression = " or ".join(f'{value} * ({ROLE}{{@,role="{name}"}} == 1)' for value, (name, _) in enumerate(ROLES))
    return states(
        "Which node was what, and when?",
        "The role of each node over time. A gap is a time in which the node did not answer.",
        "One node leads without a break; the others follow.",
        "Look at the log lines of the nodes at the time of the change. Many changes mean a slow or cut network, "
        "or a leader that is overloaded.",
        "none", [(f"max by (node) ({expression})", NODE)], mappings=texts(
            **{f"_{value}": (name, color) for value, (name, color) in enumerate(ROLES)}), **more)


def now():
    return [
        number("How many nodes answer?",
               "The nodes that Prometheus reaches, and the nodes that it should reach.",
               "Both numbers are equal.",
               "See on the machine of the missing node whether the process runs, and what it logged last.",
               "none", [("sum(up{@})", "answer"), ("count(up{@})", "expected")], graph="none",
               text="value_and_name"),
        number("Which node leads?",
               "The node that takes writes.",
               "Exactly one node.",
               "Without a leader no write succeeds. With the static coordinator promote a node; with etcd see "
               "whether etcd answers.",
               "none", [("max by (node) (tailrace_replication_serving{@}) == 1", NODE)], graph="none", text="name",
               none="nobody", instant=True, thresholds=steps(RED, (1, GREEN))),
        number("How many nodes are unhealthy?",
               "Nodes that answer no reads, because their state differs from the cluster's or they do not apply "
               "the log.",
               "0.",
               "Ask the node: /readyz says why. A node that diverged has to be replaced.",
               "none", [("count(tailrace_node_healthy{@} == 0) or 0 * count(tailrace_node_healthy{@})", "unhealthy")],
               none="no node answers", thresholds=steps(GREEN, (1, RED)), graph="none"),
        number("How many writes a second?",
               "Commands that clients sent and the leader answered with success.",
               "What your services usually do.",
               "A sudden fall: see the errors below, and whether a node leads.",
               "wps", [(rate(REQUESTS, "", f'{WRITES},result="ok"'), "writes")]),
        number("How many keys are read a second?",
               "Keys that all nodes read for clients.",
               "What your services usually do.",
               "A sudden fall: see the errors below.",
               "rps", [(rate("tailrace_rpc_reads_total", ""), "reads")]),
        number("What share of requests fails?",
               "Requests for data that the cluster could not do: there was no room or no majority, a disk failed, or the "
               "client was not told the outcome. TailraceRequestErrors counts the same. Mistakes of clients, a lost cas, "
               "and answers that send the client to another node do not count.",
               "0 %, but for a moment at a change of leader.",
               "See “Which errors are answered?” in the dashboard of requests.",
               "percentunit", [(f"({rate(REQUESTS, '', f'{DATA},{FAILED}')} or vector(0)) / "
                                f"{rate(REQUESTS, '', f'{DATA},{ANSWERED}')}", "failed")],
               thresholds=steps(GREEN, (0.001, YELLOW), (0.01, RED))),
    ]


def delays():
    return [
        number("How long do the slowest writes take?",
               "99 of 100 writes were answered within this time.",
               "A few fsyncs of the slowest disk in the majority, plus a round trip between nodes.",
               "The dashboard of requests takes this time apart by stage.",
               "s", [(quantile(0.99, DURATION, "", WRITES), "p99 of writes")],
               thresholds=steps(GREEN, (0.1, YELLOW), (1, RED))),
        number("How far is the slowest follower behind?",
               "The time since the slowest follower had everything that was durable on the leader. One whose position "
               "the leader does not know yet is left out.",
               "Less than a second.",
               "See the dashboard of replication: is the follower connected, and is its disk or network slow?",
               "s", [(f"max({told_by_leader('tailrace_replication_follower_lag_seconds{@} >= 0')})", "behind")],
               none="not known",
               thresholds=steps(GREEN, (5, YELLOW), (30, RED))),
        number("When is the first disk full?",
               "How long until the first file system is full if it goes on filling as in the last six hours. Needs data "
               "of three hours.",
               "Nothing, or more than a week. Logs fill a disk until the next checkpoint, and a load of data that ends "
               "soon looks like a trend.",
               "See the disk space of the node, and what keeps the log in the dashboard of storage.",
               "s", [(f"min({UNTIL_FULL})", "full")], none="none foreseen", graph="none",
               thresholds=SOON_FULL),
        number("How old is the oldest checkpoint?",
               "The age of the newest checkpoint, on the node where it is oldest. A restart takes longer and the "
               "log is kept longer when it is old.",
               "Little more than state_machine.checkpoint_interval, while something is written.",
               "See in the dashboard of storage whether checkpoints fail.",
               "s", [("max(time() - tailrace_last_checkpoint_timestamp_seconds{@})", "age")], graph="none",
               none="none yet"),
        number("Does the coordinator answer?",
               "Whether etcd answered the last call of every node. Only clusters with etcd tell this.",
               "Yes.",
               "The present leader goes on, but nobody new can be elected. Repair etcd.",
               "none", [("min(tailrace_coordinator_reachable{@})", "all nodes")], graph="none", none="no etcd",
               mappings=texts(_1=("yes", GREEN), _0=("no", RED))),
        number("How long was a node without a leader?",
               "The time, of the time shown, in which the worst node neither led nor had a stream from a leader.",
               "0, or a few seconds for each change of leader.",
               "See “Which node was what, and when?”.",
               "s", [("max(increase(tailrace_replication_without_leader_seconds_total{@}[$__range]))", "without")],
               graph="none", instant=True, thresholds=steps(GREEN, (10, YELLOW), (60, RED))),
    ]


def who():
    return [
        role_panel(),
        states("Which node was healthy, and when?",
               "Whether each node vouches for its state. A gap is a time in which the node did not answer.",
               "All nodes are healthy.",
               "Ask the node: /readyz says why. “Health” in the operator's documents has the steps.",
               "none", [("max by (node) (tailrace_node_healthy{@})", NODE)],
               mappings=texts(_1=("healthy", GREEN), _0=("unhealthy", RED))),
        table("What runs where?",
              "The program of each node, the names in its own configuration, a digest of the settings that all "
              "nodes should share, the version of the cluster's formats, and how long the node has been up.",
              "The same version and digest in every line, but for the time of an upgrade. Cluster and node in the file "
              "of targets, in the first two columns, are the node's own ones.",
              "Compare the configuration files of the nodes whose digests differ. Finish the upgrade. Correct the "
              "file of targets where a node's own name or number is another one.",
              "none", [("max by (cluster, node, version, revision, compiler) (tailrace_build_info{@})", ""),
                       ("max by (cluster, node, digest) (tailrace_configuration_info{@})", ""),
                       ("max by (cluster, node) (tailrace_replication_cluster_version{@})", ""),
                       ("time() - max by (cluster, node) (process_start_time_seconds{@})", ""),
                       ("max by (cluster, node, exported_cluster, exported_node) (tailrace_node_info{@})", "")],
              width=24, height=6, hidden=("Value #A", "Value #B", "Value #E"),
              columns={"cluster": "Cluster", "node": "Node", "exported_cluster": "Its own cluster",
                       "exported_node": "Its own number", "version": "Version", "revision": "Revision",
                       "compiler": "Compiler", "digest": "Settings", "Value #C": "Cluster version",
                       "Value #D": "Up for"},
              overrides=[{"matcher": {"id": "byName", "options": "Up for"},
                          "properties": [{"id": "unit", "value": "s"}]}])]


def load():
    return [
        graph("What do clients ask for?",
              "Requests that were answered, by kind, of all nodes.",
              "The mix of your services.",
              "A kind that stops: its clients are down, or find no leader. A kind that jumps: a client repeats.",
              "reqps", [(f"{rate(REQUESTS, 'kind')} > 0", "{{kind}}")]),
        graph("How long do requests take?",
              "99 of 100 requests of a kind were answered within this time.",
              "Writes: some milliseconds. Reads of memory: less than one.",
              "The dashboard of requests takes writes apart by stage, and reads by memory and disk.",
              "s", [(quantile(0.5, DURATION, "", WRITES), "writes, p50"),
                    (quantile(0.99, DURATION, "", WRITES), "writes, p99"),
                    (quantile(0.5, DURATION, "", READS), "reads, p50"),
                    (quantile(0.99, DURATION, "", READS), "reads, p99")]),
        graph("Which requests did not succeed?",
              "Answers other than ok, by result. not_leader and elsewhere send a client on to another node; "
              "refused is an answer to a wrong request or to one without room.",
              "Some not_leader after a change of leader, elsewhere where a follower sends bounded reads on, and "
              "what your clients do wrong themselves.",
              "The dashboard of requests shows the codes. unknown_outcome, failed, and refused with the code "
              "resource_exhausted need a look.",
              "reqps", [(rate(REQUESTS, "result", NOT_OK), "{{result}}")], none="none"),
    ]


def resources():
    return [
        graph("How much processor does each node use?",
              "Processor time a second, in cores.",
              "Less than the cores of the machine.",
              "See the dashboard of nodes: which thread is busy?",
              "suffix: cores", [("sum by (node) (rate(process_cpu_seconds_total{@}[@]))", NODE)],
              width=6, decimals=2),
        graph("How much memory does each node use?",
              "Resident memory of the process.",
              "It grows to the sum of the configured memory and stays there.",
              "See the dashboard of nodes: which part of the memory grows?",
              "bytes", [("max by (node) (process_resident_memory_bytes{@})", NODE)], width=6),
        graph("How full are the disks?",
              "The used share of the fullest file system of each node.",
              "Less than 80 %.",
              "Free space, or see in the dashboard of storage what keeps the log.",
              "percentunit", [(f"max by (node) (1 - {FREE}{{@}} / tailrace_filesystem_size_bytes{{@}})", NODE)],
              width=6, most=1, thresholds=steps(GREEN, (0.8, YELLOW), (0.95, RED))),
        graph("How many warnings and errors do the nodes log?",
              "Warnings and errors that the nodes wrote to standard error, a second.",
              "None, but for changes of leader and restarts.",
              "Read them: they name what is wrong and the remedy.",
              "cps", [(rate("tailrace_messages_logged_total", "node, level", 'level=~"warning|error"'),
                       "node {{node}}, {{level}}")], width=6),
    ]


def made():
    return dashboard("overview", "Tailrace: Overview", "Is the cluster well, who leads, how much is done, how fast?",
                     [("Now", now() + delays()), ("Who is who", who()), ("Load", load()), ("Resources", resources())])
