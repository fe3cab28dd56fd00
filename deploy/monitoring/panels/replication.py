"""Replication and elections: who leads, how followers keep up, whether states agree, clocks, the coordinator."""
from panels.overview import role_panel
from panels.parts import (BLUE, GREEN, NODE, RED, YELLOW, YES_IS_BAD, YES_IS_GOOD, dashboard, graph, largest, number,
                          rate, states, steps, table, texts, told_by_leader)

R = "tailrace_replication_"
FOLLOWER = "node {{follower}}"
STEPS_OF_LOG = ("durable", "committed", "applied", "checkpointed", "begin")


def by_follower(metric):
    """The leader's word. Relays tell followers, too, and so does an old leader that still thinks it leads."""
    return f"max by (follower) ({told_by_leader(f'{R}follower_{metric}{{@}}')})"


def leaders():
    votes = " or ".join(f'{value} * ({R}vote_state{{@,vote="{name}"}} == 1)'
                        for value, name in enumerate(("none", "provisional", "full")))
    return [
        role_panel(),
        states("Does each node's vote count?",
               "What the vote of each node counts in elections and commits.",
               "full on every voter; none on learners and on a new disk that has not caught up.",
               "none or provisional for long: the node has not caught up. See how far it is behind.",
               "none", [(f"max by (node) ({votes})", NODE)],
               mappings=texts(_0=("none", YELLOW), _1=("provisional", BLUE), _2=("full", GREEN))),
        graph("How often did the leader change?",
              "Elections that each node won, and epochs that it was granted and did not lead in, in the time of "
              "one step.",
              "None, but for restarts and hand-overs.",
              "Many in a row: the network between nodes is cut or slow, or leases are too short for the load.",
              "none", [(f"sum by (node) (increase({R}elections_won_total{{@}}[@]))", "node {{node}} won"),
                       (f"sum by (node) (increase({R}elections_lost_total{{@}}[@]))", "node {{node}} lost")]),
        graph("Do all nodes act in the same epoch?",
              "The epoch (Raft: term) of each node. It grows with each change of leader, with etcd by up to six.",
              "The same line for all nodes.",
              "A node below the others is cut off from them.",
              "none", [(largest(f"{R}epoch{{@}}"), NODE)], decimals=0, least=None),
        graph("How much of the time was a node without a leader?",
              "The share of time in which a node neither led nor had a stream from a leader.",
              "0, but for a few seconds at a change of leader.",
              "One node only: its network. All nodes: nobody can be elected; see members and coordinator.",
              "percentunit", [(rate(f"{R}without_leader_seconds_total"), NODE)], most=1),
        number("How many members has the cluster?",
               "Members by kind, as the logs of the chosen nodes have them.",
               "The number that you set up. A joining member becomes a voter by itself.",
               "Members that are gone for good have to be removed: they count in every majority.",
               "none", [(f"max by (kind) ({R}members{{@}})", "{{kind}}")], width=8, height=6,
               graph="none", text="value_and_name"),
        table("Who streams the log to whom?",
              "Each node that follows, and the node that sends the log to it.",
              "Every node but the leader has one line. The source is the leader, or a relay.",
              "A node without a line follows nobody: see its log lines and the network.",
              "none", [(f"max by (node, source) ({R}source_info{{@}})", "")], hidden=("Value", "Value #A"),
              columns={"node": "Node", "source": "Receives from"}, height=6),
        states("Does each follower hear its leader?",
               "Whether the leader, or the node's upstream, streams the log to it. The leader has no line while it "
               "leads.",
               "yes on all nodes.",
               "See the network between the two nodes, and the log lines of both.",
               "none", [(largest(f"{R}connected_to_leader{{@}} unless {R}serving{{@}} == 1"), NODE)], width=8, height=6,
               mappings=texts(_1=("yes", GREEN), _0=("no", YELLOW))),
    ]


def followers():
    return [
        graph("How many bytes is each follower behind?",
              "Bytes that are durable on the leader and not acknowledged by the follower. The dashed limit is how "
              "much log is kept for it. A gap: a new leader does not know yet how far the follower is.",
              "Less than a few flushes.",
              "A line that grows: the follower's disk or network is slower than the load. Beyond the limit the "
              "follower needs a copy of the state.",
              "bytes", [(by_follower("lag_bytes"), FOLLOWER),
                        ("max(tailrace_truncation_follower_limit_bytes{@})", "limit")], log=True,
              overrides=[{"matcher": {"id": "byName", "options": "limit"}, "properties": [
                  {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}},
                  {"id": "color", "value": {"mode": "fixed", "fixedColor": RED}}]}], least=None),
        graph("How many seconds is each follower behind?",
              "The time since the follower had everything that was durable on the leader.",
              "Less than a second.",
              "See the panels beside this one, and the disk of that node in the dashboard of storage.",
              "s", [(by_follower("lag_seconds"), FOLLOWER)]),
        graph("How long does a follower take to answer?",
              "From the sending of a message until the follower's answer, the last one of each. It contains the "
              "follower's fsync.",
              "The round trip of the network plus the fsync.",
              "A slow fsync shows in the dashboard of storage. Otherwise it is the network.",
              "s", [(by_follower("round_trip_seconds"), FOLLOWER)]),
        states("Is each follower connected?",
               "Whether the leader streams the log to the follower.",
               "yes.",
               "Does the node run, and does the network carry its peer port?",
               "none", [(by_follower("connected"), FOLLOWER)], mappings=YES_IS_GOOD, width=8, height=6),
        states("Does the leader think that each follower is healthy?",
               "no: the follower's state differs from the cluster's, or it applies nothing although more is "
               "committed.",
               "yes.",
               "Ask that node: /readyz says why.",
               "none", [(by_follower("healthy"), FOLLOWER)], mappings=YES_IS_GOOD, width=8, height=6),
        states("Does a follower need a copy of the state?",
               "yes: the leader no longer has the log that the follower needs next.",
               "no.",
               "The node gets a copy by itself: see “Does a node copy the state of another one?”. If it does not, its "
               "log lines say why.",
               "none", [(by_follower("needs_checkpoint"), FOLLOWER)], mappings=YES_IS_BAD, width=8, height=6),
        graph("When did each node last hear from its leader?",
              "The time since the last message of the leader. 0 on the leader.",
              "Less than a second.",
              "A line that grows: the leader is down or the network is cut.",
              "s", [(largest(f"{R}since_leader_seconds{{@}}"), NODE)]),
        graph("How much log is sent and received?",
              "Log bytes that each node sends to followers and receives from its leader.",
              "The leader sends the load once for each follower.",
              "A follower that receives less than the leader writes falls behind.",
              "binBps", [(f"{rate(R + 'shipped_bytes_total')} > 0", "node {{node}} sends"),
                      (f"{rate(R + 'received_bytes_total')} > 0", "node {{node}} receives")]),
        graph("How far is each step behind the end of the log?",
              "How far behind the end of the leader's log each step is, on the node where it is furthest.",
              "durable, committed and applied are near 0. checkpointed and begin grow until the next checkpoint.",
              "applied grows: the state machine is too slow. committed grows: no majority is connected.",
              "bytes", [('max(tailrace_log_address_bytes{@,watermark="tail"}) - '
                         f'min(tailrace_log_address_bytes{{@,watermark="{step}"}})', step)
                        for step in STEPS_OF_LOG], log=True, least=None),
    ]


def messages():
    return [
        graph("How many connections to other nodes are up?",
              "Connections of each node to other nodes.",
              "As many as there are other nodes.",
              "See on the other node whether it runs, and whether its peer port can be reached.",
              "none", [(largest("tailrace_peer_connections{@}"), NODE)], decimals=0, width=6),
        graph("Are the connections between nodes stable?",
              "Connections a second that came up, failed to come up, or were closed because of an invalid message.",
              "None.",
              "Failures: a node is down or its peer port is blocked. Invalid messages: something else speaks to "
              "this port.",
              "cps", [(rate("tailrace_peer_connections_opened_total", ""), "came up"),
                      (rate("tailrace_peer_failures_total", ""), "failed"),
                      (rate("tailrace_peer_bad_frames_total", ""), "invalid messages")], width=6),
        graph("How many bytes go between nodes?",
              "All bytes that the nodes exchange, with copies of the state.",
              "The load once for each follower.",
              "Near what the network can carry: followers fall behind.",
              "binBps", [(rate("tailrace_peer_sent_bytes_total"), "node {{node}} sends"),
                      (rate("tailrace_peer_received_bytes_total"), "node {{node}} receives")], width=6),
        graph("Does a node copy the state of another one?",
              "The size of the state that a node copies, and how much has come.",
              "0. A new node, or one that was away for too long, copies it once.",
              "A copy that stands still: see the log lines of both nodes.",
              "bytes", [(largest(f"{R}checkpoint_copy_bytes{{@}}"), "node {{node}} copies"),
                        (largest(f"{R}checkpoint_copy_received_bytes{{@}}"), "node {{node}} has")], width=6),
        graph("How many messages and acknowledgements go between nodes?",
              "Messages with log bytes, and acknowledgements, a second.",
              "Both follow the load. One acknowledgement may stand for many messages.",
              "Messages without acknowledgements: a follower hangs.",
              "ops", [(rate(R + "shipped_messages_total", ""), "messages sent"),
                      (rate(R + "acks_sent_total", ""), "acknowledgements sent"),
                      (rate(R + "acks_received_total", ""), "acknowledgements received")]),
        graph("Do nodes refuse each other?",
              "Refused subscriptions and messages, waits of received bytes for room, and ends of logs that were "
              "cut off because they differed from the leader's.",
              "None. A cut or two at a change of leader is normal: what is cut was never committed.",
              "Refusals name their reason in the log lines: another cluster's name, versions, or addresses.",
              "cps", [(rate(R + "refusals_sent_total", ""), "refusals sent"),
                      (rate(R + "refusals_received_total", ""), "refusals received"),
                      (rate(R + "append_waits_total", ""), "waits for log memory"),
                      (rate(R + "log_cuts_total", ""), "ends of logs cut off")]),
        graph("How fast are copies of the state sent?",
              "Bytes of copies a second.",
              "0 while no node copies.",
              "A slow copy beside much load is bounded so that it does not harm writes.",
              "binBps", [(rate(R + "checkpoint_sent_bytes_total"), "node {{node}} sends"),
                      (rate(R + "checkpoint_received_bytes_total"), "node {{node}} receives")]),
    ]


def agreement():
    return [
        number("Do the states differ?",
               "States that were found to differ from the cluster's since the start of each process.",
               "0.",
               "“Health” in the operator's documents says how a node that diverged is replaced.",
               "none", [(f"sum({R}state_digest_mismatches_total{{@}})", "mismatches")], graph="none",
               width=8, thresholds=steps(GREEN, (1, RED))),
        number("Is the state disputed?",
               "yes: states differ and none has a majority.",
               "no.",
               "Remove nothing. “Health” in the operator's documents says what to do.",
               "none", [(f"max({R}states_disputed{{@}})", "disputed")], graph="none", width=8,
               mappings=YES_IS_BAD),
        number("Does a leader doubt its clock?",
               "yes: the leader's clock jumped, and log time goes on by elapsed time.",
               "no. A node that begins to lead doubts for 60 seconds, where nothing was written for some seconds before.",
               "Set the clock of the leader, and see that it is synchronised.",
               "none", [("max(tailrace_clock_doubted{@})", "doubts")], graph="none", width=8,
               mappings=YES_IS_BAD),
        graph("How much log is not compared yet?",
              "Bytes from the address at which a node's state was last compared to the end of what it has applied.",
              "What is written in replication.digest_interval.",
              "A line that only grows: digests are skipped, or no majority answers.",
              "bytes", [('max by (node) (tailrace_log_address_bytes{@,watermark="applied"} - ignoring(watermark) '
                         f"{R}last_compared_address_bytes{{@}})", NODE)]),
        graph("How far is log time ahead of the leader's clock?",
              "Log time minus the clock of the leader. Negative: behind.",
              "Less than two seconds.",
              "The leader's clock was set back, or another leader's clock was ahead. “Time” has the rule.",
              "s", [(largest("tailrace_log_time_ahead_seconds{@}"), NODE)], least=None),
        graph("How far is each node's clock from its leader's?",
              "The node's clock minus that of the node that streams the log to it. A message's way is in it.",
              "A few milliseconds.",
              "Seconds: synchronise the clocks. Log time follows the leader's clock, and jumps when the lead changes.",
              "s", [(largest(f"{R}clock_offset_seconds{{@}}"), NODE)], least=None),
        graph("How often were clocks doubted?",
              "Doubts that began, and jumps of log time after a doubt.",
              "None, but for one of a node that begins to lead when nothing was written for some seconds.",
              "Synchronise the clocks of all nodes.",
              "none", [("sum by (node) (increase(tailrace_clock_doubts_total{@}[@]))", "node {{node}} doubts"),
                       ("sum by (node) (increase(tailrace_log_time_jumps_total{@}[@]))", "node {{node}} jumps")]),
    ]


def coordinator():
    return [
        states("Does the coordinator answer each node?",
               "Whether etcd answered the last call. Only clusters with etcd tell this.",
               "yes.",
               "The present leader goes on, but nobody new can be elected. Repair etcd.",
               "none", [(largest("tailrace_coordinator_reachable{@}"), NODE)], width=6, mappings=YES_IS_GOOD),
        graph("How long does each node's lease in etcd last?",
              "The time until the node's session in etcd (its lease) ends unless it is renewed, and the time since "
              "the coordinator's last answer. Each node has a session; the leader's holds the lead.",
              "The lease stays near its length; the time since the last answer stays small.",
              "A lease that runs down: etcd is slow or cut off.",
              "s", [("max by (node) (tailrace_coordinator_lease_remaining_seconds{@})", "node {{node}}, lease"),
                    ("max by (node) (tailrace_coordinator_since_contact_seconds{@})", "node {{node}}, last answer")],
              width=10),
        graph("How often is the coordinator asked?",
              "Calls, calls that failed, and epochs that were granted, a second.",
              "A steady number of calls and no failures.",
              "See the log lines of etcd and of the node.",
              "cps", [(rate("tailrace_coordinator_calls_total", ""), "calls"),
                      (rate("tailrace_coordinator_failures_total", ""), "failures"),
                      (rate("tailrace_coordinator_grants_total", ""), "epochs granted")], width=8),
    ]


def made():
    return dashboard("replication", "Tailrace: Replication and elections",
                     "Who leads, how the followers keep up, and whether the states agree.",
                     [("Leaders and members", leaders()), ("Followers, as the leader sees them", followers()),
                      ("Between nodes", messages()), ("Agreement and time", agreement()),
                      ("Coordinator (etcd)", coordinator())])
