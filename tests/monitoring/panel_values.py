"""What each panel must show of the cluster in made_up_cluster.py: by its title, not by its expression.

{dashboard: {title: [(series, what it is, value)]}}. A series is named as its legend is; in a table, as its column and
the labels before it are. Three values are those of nodes 1, 2 and 3, None where a node has no line. A text is what the
panel makes of the number, and its color.
"""
NODE = "node {{node}}"
YES, NO, BAD_YES, GOOD_NO = "yes, green", "no, red", "yes, red", "no, green"
ROLES = ("follower, blue", "leader, green", "learner, purple")

# Panels without a row, and why.
WITHOUT = {}

LIMITS = [
    ("client connections", "node 2: 33 of 110", 33 / 110),
    ("memory for clients", "node 2: 910 of 3640 bytes", 910 / 3640),
    ("HTTP connections", "node 2: 9 of 25", 9 / 25),
    ("open files", "node 2: 83 of 415", 83 / 415),
    ("log memory", "node 2: 73 of 146 bytes", 73 / 146),
    ("log not applied", "node 2: 413 of 590 bytes", 413 / 590),
    ("sessions", "node 2: 16 of 40; node 3 has no limit", 16 / 40),
    ("remembered answers", "node 2: 56 of 64 bytes", 56 / 64),
    ("store's disk budget", "node 2: 1710 of 1900 bytes", 1710 / 1900)]
KINDS = [("{{kind}}", "answered a second, whatever the answer; no scans", {
    "put": 40 + 2 + 3 + 1 + 5, "delete": 10, "cas": 6, "get": 100 + 60 + 7 + 4, "checkpoint": 0.5 + 0.25})]
RESULTS = [("{{result}}", "answers a second, of all kinds", {
    "refused": 2 + 3 + 6, "unknown_outcome": 1, "not_leader": 5, "elsewhere": 7, "failed": 4 + 0.25})]

OVERVIEW = {
    "How many nodes answer?": [("answer", "nodes 1, 2 and 3", 3), ("expected", "node 4 is down", 4)],
    "Which node leads?": [(NODE, "node 2", {"node 2": 1})],
    "How many nodes are unhealthy?": [("unhealthy", "node 3", 1)],
    "How many writes a second?": [("writes", "puts and deletes that succeeded", 40 + 10)],
    "How many keys are read a second?": [("reads", "all levels, memory and disk", 90 + 14 + 18 + 30 + 2)],
    "What share of requests fails?": [
        ("failed", "no room 2, unknown 1, timed out 4; of all requests for data but 5 not_leader and 7 elsewhere",
         (2 + 1 + 4) / (46 + 10 + 6 + 164))],
    "How long do the slowest writes take?": [("p99 of writes", "99 of 100 puts", 0.06)],
    "How far is the slowest follower behind?": [("behind", "node 3, as node 2 says", 7.5)],
    "When is the first disk full?": [("full", "node 1, data: 7200 bytes, 0.1 a second less", 72000)],
    "How old is the oldest checkpoint?": [("age", "node 3: now is 600", 600 - 530)],
    "Does the coordinator answer?": [("all nodes", "not node 2", NO)],
    "How long was a node without a leader?": [("without", "node 3: 0.16 of 600 s", 96)],
    "Which node was what, and when?": [(NODE, "its role", ROLES)],
    "Which node was healthy, and when?": [
        (NODE, "whether it is", ("healthy, green", "healthy, green", "unhealthy, red"))],
    "What runs where?": [
        ("", "the program", {
            "Cluster c, Node 1, Version 1.1.0, Revision aa11, Compiler gcc-11": 1,
            "Cluster c, Node 2, Version 1.2.0, Revision bb22, Compiler gcc-12": 1,
            "Cluster c, Node 3, Version 1.2.0, Revision bb22, Compiler gcc-12": 1}),
        ("", "the digest of the settings", {
            "Cluster c, Node 1, Settings d1d1": 1, "Cluster c, Node 2, Settings d1d1": 1,
            "Cluster c, Node 3, Settings d3d3": 1}),
        ("Cluster version: Cluster c, Node {{node}}", "the version of formats", (11, 12, 13)),
        ("Up for: Cluster c, Node {{node}}", "seconds since the start; now is 600", (600 - 17, 600 - 29, 600 - 593)),
        ("", "the names in its own file", {
            "Cluster c, Node 1, Its own cluster c, Its own number 1": 1,
            "Cluster c, Node 2, Its own cluster c, Its own number 2": 1,
            "Cluster c, Node 3, Its own cluster x, Its own number 9": 1})],
    "What do clients ask for?": KINDS,
    "How long do requests take?": [
        ("writes, p50", "half of the puts", 0.011), ("writes, p99", "99 of 100 puts", 0.06),
        ("reads, p50", "half of the gets", 0.0007), ("reads, p99", "99 of 100 gets", 0.0042)],
    "Which requests did not succeed?": RESULTS,
    "How much processor does each node use?": [(NODE, "cores", (2.2, 2.5, 2.9))],
    "How much memory does each node use?": [(NODE, "resident bytes", (6100, 6300, 6700))],
    "How full are the disks?": [
        (NODE, "the used share of the fuller one: log, data, data",
         ((500 - 130) / 500, (2000 - 720) / 2000, (4000 - 1720) / 4000))],
    "How many warnings and errors do the nodes log?": [
        ("node {{node}}, warning", "lines a second", (0.21, 0.23, 0.27)),
        ("node {{node}}, error", "lines a second", (0.31, 0.33, 0.37))],
}

NODES = {
    "Which threads are busy?": [
        ("{{thread}}", "the largest share: node 3 of eight threads, node 1 of one",
         {"service": 6.4 / 8, "applier": 0.61})],
    "How many threads of each kind run?": [("{{thread}}", "on all nodes", {"service": 4 + 5 + 8, "applier": 3})],
    "How much processor does each node use?": OVERVIEW["How much processor does each node use?"],
    "How late do the event loops run?": [
        ("node {{node}}, clients", "99 of 100 timers", (0.0021, 0.0023, 0.0027)),
        ("node {{node}}, nodes", "99 of 100 timers", (0.0031, 0.0033, 0.0037))],
    "How late is a timer on average?": [
        ("node {{node}}, clients", "the mean", (0.0002, 0.0003, 0.0004)),
        ("node {{node}}, nodes", "the mean", (0.0005, 0.0006, 0.0007))],
    "How much memory does each node use?": OVERVIEW["How much memory does each node use?"],
    "What is the memory used for?": [
        ("store, in memory", "node 3, which uses most: from head to tail", 3600 - 900),
        ("log, not durable yet", "node 3", 77), ("held for clients", "node 3", 350),
        ("remembered answers", "node 3", 58)],
    "How near is each limit now?": LIMITS,
    "How near was each limit?": LIMITS,
    "How much disk is free?": [
        ("node {{node}}, data", "bytes", (310, 720, 1720)), ("node {{node}}, log", "bytes", (130, 900, 2560))],
    "How much of the disk is used?": [
        ("node {{node}}, data", "what is not free", (690 / 1000, 1280 / 2000, 2280 / 4000)),
        ("node {{node}}, log", "what is not free", (370 / 500, 600 / 1500, 640 / 3200))],
    "How much disk is free in a day?": [
        ("node {{node}}, data", "node 1 is full by then; node 2 gains 0.2 a second",
         (0, 5000 + 0.2 * 86400, 12000 - 0.05 * 86400)),
        ("node {{node}}, log", "only node 1 has one", (90000 - 0.5 * 86400, None, None))],
    "When is each disk full?": [
        (NODE, "free bytes by bytes a second; the data of node 1 is sooner than its log; node 2 gains",
         (7200 / 0.1, None, 12000 / 0.05))],
    "Do requests to the disk go by io_uring?": [
        (NODE, "whether it does", ("io_uring, green", "system calls, yellow", "io_uring, green"))],
    "How many writes and fsyncs of the log failed?": [(NODE, "since the start", (0, 2, 1))],
    "How many files are open?": [(NODE, "descriptors", (61, 83, 48))],
    "How many lines do the nodes log?": [
        ("{{level}}", "lines a second of all nodes",
         {"info": 11 + 13 + 17, "warning": 0.21 + 0.23 + 0.27, "error": 0.31 + 0.33 + 0.37})],
    "How does the metrics port answer?": [
        ("{{code}}", "answers a second of all nodes", {"2xx": 3.4 + 3.6 + 3.8, "5xx": 4.4 + 4.6 + 4.8}),
        ("closed: {{reason}}", "connections a second",
         {"closed: idle_timeout": 5.4 + 5.6 + 5.8, "closed: replaced": 6.4 + 6.6 + 6.8})],
    "How long did the last start take?": [
        ("Log: Node {{node}}", "seconds for the log", (1.1, 1.3, 1.7)),
        ("Store: Node {{node}}", "seconds for the store", (2.1, 2.3, 2.7)),
        ("State: Node {{node}}", "seconds for applying the rest", (3.1, 3.3, 3.7)),
        ("In all: Node {{node}}", "all seconds", (6.4, 7, 8.2))],
    "Is a series left out of the metrics?": [(NODE, "how many", (GOOD_NO, 5, 3))],
}

REPLICATION = {
    "Which node was what, and when?": [(NODE, "its role", ROLES)],
    "Does each node's vote count?": [(NODE, "its vote", ("provisional, blue", "full, green", "none, yellow"))],
    "How often did the leader change?": [
        ("node {{node}} won", "in four scrapes, 60 s", (0.75, 2.25, 3.75)),
        ("node {{node}} lost", "in 60 s", (5.25, 6.75, 8.25))],
    "Do all nodes act in the same epoch?": [(NODE, "its epoch", (6, 9, 8))],
    "How much of the time was a node without a leader?": [(NODE, "the share of a second", (0.02, 0.005, 0.16))],
    "How many members has the cluster?": [
        ("{{kind}}", "as the node with most of them has it", {"voter": 3, "joining": 2, "learner": 4})],
    "Who streams the log to whom?": [
        ("", "follower and source", {"Node 1, Receives from 2": 1, "Node 3, Receives from 1": 1})],
    "Does each follower hear its leader?": [(NODE, "node 2 leads", (YES, None, "no, yellow"))],
    "How many bytes is each follower behind?": [
        ("node {{follower}}", "as node 2 says, not node 3", {"node 1": 1500, "node 3": 2700, "node 4": 1900}),
        ("limit", "the largest", 64700)],
    "How many seconds is each follower behind?": [
        ("node {{follower}}", "as node 2 says", {"node 1": 2.5, "node 3": 7.5, "node 4": 4.5})],
    "How long does a follower take to answer?": [
        ("node {{follower}}", "the round trip, as node 2 says", {"node 1": 0.012, "node 3": 0.019, "node 4": 0.016})],
    "Is each follower connected?": [
        ("node {{follower}}", "as node 2 says", {"node 1": YES, "node 3": NO, "node 4": YES})],
    "Does the leader think that each follower is healthy?": [
        ("node {{follower}}", "as node 2 says", {"node 1": NO, "node 3": YES, "node 4": YES})],
    "Does a follower need a copy of the state?": [
        ("node {{follower}}", "as node 2 says", {"node 1": GOOD_NO, "node 3": BAD_YES, "node 4": GOOD_NO})],
    "When did each node last hear from its leader?": [(NODE, "seconds since then", (0.4, 0, 33))],
    "How much log is sent and received?": [
        ("node {{node}} sends", "bytes of the log a second", (410, 4300, None)),
        ("node {{node}} receives", "bytes of the log a second", (4700, None, 490))],
    "How far is each step behind the end of the log?": [
        ("durable", "node 1, from the tail of node 2", 90203 - 90001),
        ("committed", "node 1", 90203 - 89970),
        ("applied", "node 1", 90203 - 89900),
        ("checkpointed", "node 3", 90203 - 79900),
        ("begin", "node 3", 90203 - 69989)],
    "How many connections to other nodes are up?": [(NODE, "connections", (22, 25, 28))],
    "Are the connections between nodes stable?": [
        ("came up", "a second, all nodes", 4.1 + 4.3 + 4.7), ("failed", "a second", 5.1 + 5.3 + 5.7),
        ("invalid messages", "a second", 6.1 + 6.3 + 6.7)],
    "How many bytes go between nodes?": [
        ("node {{node}} sends", "all bytes a second", (1600, 1900, 2000)),
        ("node {{node}} receives", "all bytes a second", (1200, 1400, 1800))],
    "Does a node copy the state of another one?": [
        ("node {{node}} copies", "the size of the whole state", (0, 0, 7300)),
        ("node {{node}} has", "what has come", (0, 0, 3700))],
    "How many messages and acknowledgements go between nodes?": [
        ("messages sent", "a second, all nodes", 31 + 33 + 37),
        ("acknowledgements sent", "a second", 41 + 43 + 47),
        ("acknowledgements received", "a second", 51 + 53 + 57)],
    "Do nodes refuse each other?": [
        ("refusals sent", "a second, all nodes", 0.91 + 0.93 + 0.97),
        ("refusals received", "a second", 3.1 + 3.3 + 3.7),
        ("waits for log memory", "a second", 0.81 + 0.83 + 0.87),
        ("ends of logs cut off", "a second", 0.71 + 0.73 + 0.77)],
    "How fast are copies of the state sent?": [
        ("node {{node}} sends", "bytes of copies a second", (0, 530, 20)),
        ("node {{node}} receives", "bytes of copies a second", (0, 10, 520))],
    "Do the states differ?": [("mismatches", "all nodes", 3 + 1)],
    "Is the state disputed?": [("disputed", "node 2 says so", BAD_YES)],
    "Does a leader doubt its clock?": [("doubts", "none does", GOOD_NO)],
    "How much log is not compared yet?": [
        (NODE, "from what was compared to what is applied", (89900 - 89000, 90060 - 89003, 89990 - 89001))],
    "How far is log time ahead of the leader's clock?": [(NODE, "node 2 leads: behind", (None, -1.6, None))],
    "How far is each node's clock from its leader's?": [(NODE, "its clock minus the other", (0.071, None, -0.073))],
    "How often were clocks doubted?": [
        ("node {{node}} doubts", "in 60 s", (6, 12, 18)), ("node {{node}} jumps", "in 60 s", (3, 9, 15))],
    "Does the coordinator answer each node?": [(NODE, "not node 2", (YES, NO, YES))],
    "How long does each node's lease in etcd last?": [
        ("node {{node}}, lease", "seconds that are left", (4.1, 4.3, 4.7)),
        ("node {{node}}, last answer", "seconds since then", (0.21, 0.23, 0.27))],
    "How often is the coordinator asked?": [
        ("calls", "a second, all nodes", 3 + 5 + 7), ("failures", "a second", 0.3 + 0.5 + 0.9),
        ("epochs granted", "a second", 0.009 + 0.019 + 0.042)],
}

REQUESTS = {
    "Which stage of a write is slow?": [
        ("held", "the mean", 0.0002), ("enqueue", "the mean", 0.0004), ("flush", "the mean", 0.0043),
        ("commit", "the mean", 0.0067), ("apply", "the mean", 0.0008), ("answer", "the mean", 0.0007)],
    "Which stage is slow for the slowest writes?": [
        ("held", "99 of 100", 0.0009), ("enqueue", "99 of 100", 0.0011), ("flush", "99 of 100", 0.017),
        ("commit", "99 of 100", 0.023), ("apply", "99 of 100", 0.0019), ("answer", "99 of 100", 0.0013)],
    "How long does each stage take for half of the writes?": [
        ("held", "the median", 0.0001), ("enqueue", "the median", 0.0003), ("flush", "the median", 0.0031),
        ("commit", "the median", 0.0052), ("apply", "the median", 0.0006), ("answer", "the median", 0.0005)],
    "How many writes are measured by stage?": [
        ("measured", "those of commit a second", 26),
        ("all writes", "puts, deletes, cas, whatever the answer", 51 + 10 + 6)],
    "How long does a write take?": [
        ("p50", "half of the puts", 0.011), ("p99", "99 of 100 puts", 0.06),
        ("p99.9", "the last fiftieth lies evenly from 0.054 to 0.066", 0.054 + 0.95 * 0.012)],
    "What do clients ask for?": KINDS,
    "Which node answers?": [
        (NODE, "all kinds and answers", (5 + 100, 40 + 2 + 3 + 1 + 10 + 6 + 0.5 + 0.25, 60 + 7 + 4))],
    "How many requests are in work?": [(NODE, "taken, not answered", (101, 103, 107))],
    "How often are connections not read on?": [(NODE, "a second", (7.1, 7.3, 7.7))],
    "How long does each kind take, for half of the requests?": [
        ("{{kind}}", "the median", {"put": 0.011, "get": 0.0007, "checkpoint": 1.9})],
    "How long does each kind take, for the slowest percent?": [
        ("{{kind}}", "99 of 100", {"put": 0.06, "get": 0.0042, "checkpoint": 3.4})],
    "How large are the commands?": [
        ("{{kind}}", "bytes by records", {"put": 9200 / 46, "delete": 1080 / 12})],
    "What became of requests?": RESULTS,
    "Which errors are answered?": [
        ("{{code}}", "answers a second", {
            "resource_exhausted": 2, "invalid_argument": 3, "unknown_outcome": 1, "not_leader": 5, "conflict": 6,
            "unavailable": 7, "timed_out": 4, "io": 0.25})],
    "Which kinds of requests fail?": [
        ("{{kind}}", "no room 2 and unknown 1 of 46 puts; timed out 4 of 164 gets; io 0.25 of 0.75; no lost cas", {
            "put": 3 / 46, "get": 4 / 164, "checkpoint": 0.25 / 0.75, "delete": 0, "cas": 0})],
    "At which level do clients read?": [
        ("{{level}}", "keys a second, memory and disk", {"linearizable": 90 + 14, "any": 18 + 30 + 2, "bounded": 0})],
    "Which reads go to the disk?": [
        ("{{level}}", "the share from the disk", {"linearizable": 14 / 104, "any": 2 / 50})],
    "How long do reads take?": [
        ("get, p50", "half of the gets", 0.0007), ("get, p99", "99 of 100 gets", 0.0042)],
    "How many tails and scans are open?": [
        ("tails", "all nodes", 112 + 113 + 117), ("scans", "all nodes", 132 + 133 + 137)],
    "How far is the slowest tail behind?": [(NODE, "bytes", (121, 123, 127))],
    "How many sessions are remembered?": [("sessions", "node 3", 18), ("limit", "node 1; node 3 has none", 150)],
    "Do clients repeat commands?": [
        ("repeated or expired", "a second, all nodes", 0.51 + 0.53 + 0.57),
        ("sessions forgotten early", "a second", 0.01 + 0.02 + 0.04),
        ("answers forgotten early", "a second", 0.03 + 0.05 + 0.06)],
    "How many clients are connected?": [(NODE, "connections", (21, 33, 24))],
    "Do clients come and go?": [
        ("accepted", "a second, all nodes", 8.1 + 8.3 + 8.7), ("closed to make room", "a second", 9.1 + 9.3 + 9.7),
        ("timed out", "a second", 1.4 + 1.6 + 1.8), ("invalid messages", "a second", 2.4 + 2.6 + 2.8)],
    "How many bytes go to and from clients?": [
        ("received", "a second, all nodes", 110 + 130 + 170), ("sent", "a second", 210 + 230 + 270)],
}

STORAGE = {
    "How long does the disk take to make the log durable?": [
        ("node {{node}}, p50", "half of the flushes", (0.0011, 0.0013, 0.0017)),
        ("node {{node}}, p99", "99 of 100 flushes", (0.0081, 0.0083, 0.0087))],
    "How many bytes does a flush carry?": [(NODE, "the mean", (255, 265, 285))],
    "Why do flushes begin?": [
        ("{{reason}}", "flushes that began a second", {"timer": 7 + 8 + 9, "full": 15 + 16 + 19}),
        ("became durable", "flushes that ended a second", 21 + 23 + 27)],
    "How many bytes does the log write?": [(NODE, "a second", (5100, 5300, 5700))],
    "How much of the log waits for the disk?": [(NODE, "bytes", (71, 73, 77))],
    "Do appends wait for the log's memory?": [(NODE, "appends a second", (0.41, 0.43, 0.47))],
    "How many flushes are under way?": [(NODE, "flushes", (6, 8, 9))],
    "How much disk does the log take?": [(NODE, "bytes of files", (23000, 23300, 23700))],
    "Who keeps the log?": [
        ("{{anchor}}", "from the anchor to the end of the node's log, where it is furthest: node 3, 2, 2, 3, 2, 2", {
            "checkpoint": 90107 - 79920, "retention": 90203 - 85100, "history": 90203 - 75013,
            "cluster": 90107 - 79810, "follower:1": 90203 - 90183, "follower:3": 90203 - 90130}),
        ("kept in all", "from the least anchor: node 2", 90203 - 74007)],
    "How fast is the log given back?": [(NODE, "bytes a second", (3100, 3300, 3700))],
    "How much disk do kept events take?": [(NODE, "bytes of event files", (33100, 33300, 33700))],
    "Is an event file missing?": [
        ("node {{node}}, bytes missing", "bytes without a file", (0, 340, 0)),
        ("node {{node}}, held back", "1: no file can be written", (0, 0, 1)),
        ("node {{node}}, files damaged", "in 60 s", (8.4, 9.6, 10.2)),
        ("node {{node}}, files fetched", "in 60 s", (6.6, 7.2, 7.8)),
        ("node {{node}}, dead events removed", "in 60 s", (10.8, 11.4, 13.2))],
    "What does checkpointing do?": [(NODE, "its phase", ("rest, #b8c4ce", "in_progress, green", "wait_flush, purple"))],
    "What did the last checkpoint of each node do?": [
        ("Age: Node {{node}}", "seconds since then; now is 600", (600 - 570, 600 - 560, 600 - 530)),
        ("Interval: Node {{node}}", "seconds, as configured", (31, 32, 34)),
        ("Took: Node {{node}}", "seconds", (2.2, 2.4, 2.8)),
        ("Size: Node {{node}}", "bytes", (8100, 8300, 8700)),
        ("Covers: Node {{node}}", "up to this address", (79100, 79300, 79700))],
    "How long do checkpoints take?": [(NODE, "the mean", (1.1, 1.3, 1.7))],
    "Do checkpoints succeed?": [
        ("node {{node}}, published", "in 60 s", (14.4, 15.6, 16.8)),
        ("node {{node}}, failed", "in 60 s", (0.9, 1.5, 2.7)),
        ("node {{node}}, log not truncated", "in 60 s", (4.2, 4.8, 5.4))],
    "How much do checkpoints write?": [(NODE, "bytes a second", (7100, 7300, 7700))],
    "How far is the running checkpoint?": [(NODE, "the share that is done", (0.61, 0.63, 0.67))],
    "How much is applied?": [(NODE, "records a second", (61, 63, 67))],
    "How many bytes are applied?": [(NODE, "bytes a second", (6100, 6300, 6700))],
    "How far is applying behind?": [(NODE, "bytes", (411, 413, 417))],
    "How full is the store?": [
        ("live", "node 2, which uses most of its budget", 1310), ("used", "node 2", 1710), ("budget", "node 2", 1900)],
    "How many keys are stored?": [(NODE, "keys", (9100, 9300, 9700))],
    "Where are the store's records?": [
        ("on disk only", "node 1, whose log is largest: from begin to head", 3100 - 1000),
        ("in memory, read-only", "from head to read_only", 4350 - 3100),
        ("in memory, updated in place", "from read_only to the tail", 5500 - 4350),
        ("not on disk yet", "from flushed to the tail", 5500 - 4900)],
    "How often does a read go to the disk?": [(NODE, "reads a second", (71, 73, 77))],
    "How much does the store read and write?": [
        ("read", "bytes a second, all nodes", 8100 + 8300 + 8700),
        ("written", "bytes a second", 9100 + 9300 + 9700)],
    "Do writes wait for the store's memory?": [
        ("pages left memory", "a second, all nodes", 1.1 + 1.3 + 1.7), ("writes waited", "a second", 2.1 + 2.3 + 2.7)],
    "How crowded is the index?": [(NODE, "added buckets by buckets", (10 / 50, 3 / 60, 2 / 80))],
    "How many updates copy their record?": [(NODE, "a second", (81, 83, 87))],
    "Were writes refused for the disk budget?": [
        ("refused", "all nodes", 41 + 43 + 47), ("beyond", "all nodes", 51 + 53 + 57)],
    "How much does compaction move?": [
        ("moved", "bytes a second, all nodes", 1100 + 1300 + 1700),
        ("given back", "bytes a second", 2100 + 2300 + 2700)],
    "What does compaction find?": [
        ("moved", "records a second, all nodes", 91 + 93 + 97), ("left behind", "records a second", 101 + 103 + 107)],
    "How long does a digest of the state take?": [(NODE, "seconds", (0.51, 0.53, 0.57))],
    "Are digests of the state computed?": [
        ("computed", "in 60 s, all nodes", 60 * (0.35 + 0.45 + 0.55)),
        ("left out", "in 60 s, all nodes", 60 * (0.65 + 0.75 + 0.85))],
}

PANELS = {"overview": OVERVIEW, "node": NODES, "replication": REPLICATION, "requests": REQUESTS, "storage": STORAGE}

# Recording rules: {rule: (series, what it is, value)}. They look back five minutes or more.
RULES = {
    "node:tailrace_leading:epoch": (NODE, "node 2", {"node 2": 9}),
    "cluster:tailrace_voters:count": ("", "as node 2 says", 3),
    "cluster:tailrace_voters_connected:count": ("", "as node 2 says", 2),
    "cluster_kind:tailrace_rpc_requests:rate5m": (
        "{{kind}}", "without not_leader and elsewhere",
        {"put": 46, "delete": 10, "cas": 6, "get": 164, "checkpoint": 0.75, "scan": 0}),
    **{f"cluster:tailrace_rpc_request_errors:ratio_rate{window}": (
        "", "the share of requests for data that failed", 7 / 226) for window in ("5m", "30m", "1h", "6h")},
    "cluster_kind:tailrace_rpc_request_duration_seconds:p50_rate5m": (
        "{{kind}}", "the median", {"put": 0.011, "get": 0.0007, "checkpoint": 1.9}),
    "cluster_kind:tailrace_rpc_request_duration_seconds:p99_rate5m": (
        "{{kind}}", "99 of 100", {"put": 0.06, "get": 0.0042, "checkpoint": 3.4}),
    "cluster_stage:tailrace_rpc_request_stage_duration_seconds:mean_rate5m": (
        "{{stage}}", "the mean", {"held": 0.0002, "enqueue": 0.0004, "flush": 0.0043, "commit": 0.0067,
                                  "apply": 0.0008, "answer": 0.0007}),
    "node:tailrace_log_flush_duration_seconds:p99_rate5m": (NODE, "99 of 100 flushes", (0.0081, 0.0083, 0.0087)),
    "node_loop:tailrace_loop_lateness_seconds:p99_rate5m": (
        "{{node}} {{loop}}", "99 of 100 timers", {
            "1 clients": 0.0021, "2 clients": 0.0023, "3 clients": 0.0027,
            "1 nodes": 0.0031, "2 nodes": 0.0033, "3 nodes": 0.0037}),
    "node_thread:tailrace_thread_busy:ratio_rate1m": (
        "{{node}} {{thread}}", "processor seconds by threads", {
            "1 service": 0.3, "2 service": 0.4, "3 service": 0.8,
            "1 applier": 0.61, "2 applier": 0.37, "3 applier": 0.24}),
    "node_directory:tailrace_filesystem_until_full:seconds": (
        "{{node}} {{directory}}", "free bytes by bytes a second", {
            "1 data": 72000, "1 log": 180000, "3 data": 240000}),
}
# Rules without a row, and why.
RULES_WITHOUT = {
    "cluster:tailrace_rpc_request_errors:increase1h":
        "the scenario is of ten minutes; alerts_test.py has cases of an hour",
}
