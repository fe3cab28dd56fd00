"""What a node tells of itself over HTTP: metrics that promtool and a real Prometheus server take,
with values that agree with what was done; liveness and readiness over a node's life.

Usage: metrics_test.py TAILRACE
"""
import ctypes
import errno
import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from cluster import SMALL_LOG, Cluster, free_ports, wait_until  # noqa: E402
from etcd import INSTALLED, Etcd  # noqa: E402

TAILRACE = sys.argv[1]
PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/reference/metrics.md"
SETTINGS = SMALL_LOG + "state_machine: {checkpoint_interval: 0 s}\n"
PHASES = {"rest", "prepare", "in_progress", "wait_pending", "wait_flush"}
KINDS = {"put", "delete", "add", "cas", "append", "get", "tail", "status", "checkpoint", "digest",
         "expire", "scan", "transfer", "promote", "change_member", "txn", "read_stream", "list_streams",
         "mget", "history"}
# Names that dashboards and alerts may rely on, by what they tell.
REQUIRED = """
    tailrace_log_address_bytes
    tailrace_log_flush_duration_seconds tailrace_log_flush_size_bytes tailrace_log_flushes_in_flight
    tailrace_log_flushed_bytes_total tailrace_log_flushes_total tailrace_log_disk_bytes
    tailrace_log_failures_total
    tailrace_checkpoint_phase tailrace_checkpoint_progress_ratio tailrace_last_checkpoint_size_bytes
    tailrace_last_checkpoint_duration_seconds tailrace_last_checkpoint_address_bytes
    tailrace_last_checkpoint_timestamp_seconds tailrace_kv_checkpoints_total tailrace_checkpoint_failures_total
    tailrace_truncation_limit_address_bytes tailrace_truncation_anchor_address_bytes
    tailrace_applied_records_total tailrace_applied_bytes_total tailrace_apply_lag_bytes
    tailrace_replication_epoch tailrace_replication_role tailrace_replication_serving
    tailrace_replication_connected_to_leader tailrace_replication_since_leader_seconds
    tailrace_node_healthy tailrace_replication_last_compared_address_bytes
    tailrace_replication_state_digest_mismatches_total tailrace_replication_states_disputed
    tailrace_log_time_ahead_seconds tailrace_clock_doubts_total tailrace_session_ttl_seconds
    tailrace_state_digests_total tailrace_state_digests_skipped_total
    tailrace_last_state_digest_duration_seconds
    tailrace_rpc_requests_total tailrace_rpc_request_duration_seconds tailrace_rpc_connections
    tailrace_rpc_in_flight_requests tailrace_rpc_bad_frames_total
    tailrace_rpc_evicted_connections_total tailrace_rpc_timed_out_connections_total
    tailrace_rpc_memory_bytes tailrace_rpc_memory_limit_bytes tailrace_rpc_tails tailrace_io_uring
    tailrace_kv_live_records tailrace_kv_used_bytes tailrace_kv_capacity_bytes tailrace_sessions
    tailrace_sessions_limit tailrace_sessions_evicted_total tailrace_session_answers_bytes
    tailrace_session_answers_limit_bytes tailrace_session_answers_forgotten_total
    tailrace_http_connections tailrace_http_requests_total
    tailrace_http_closed_connections_total
    process_resident_memory_bytes process_cpu_seconds_total process_open_fds
    process_start_time_seconds
""".split()
OF_FOLLOWERS = """
    tailrace_replication_follower_lag_bytes tailrace_replication_follower_lag_seconds
    tailrace_replication_follower_connected tailrace_replication_follower_healthy
    tailrace_replication_follower_needs_checkpoint
""".split()


class Scrape:
    """The samples of one node at one moment."""

    def __init__(self, node):
        status, self.text = node.http("/metrics")
        assert status == 200, status
        self.samples = {}
        for line in self.text.splitlines():
            if line and not line.startswith("#"):
                series, _, value = line.rpartition(" ")
                name, _, labels = series.partition("{")
                labels = tuple(sorted(re.findall(r'(\w+)="([^"]*)"', labels)))
                self.samples[name, labels] = float(value)
        self.families = set(re.findall(r"^# TYPE (\S+) ", self.text, re.MULTILINE))

    def value(self, name, **labels):
        return self.samples[name, tuple(sorted(labels.items()))]

    def of(self, name, label):
        """The values of a metric by one label."""
        return {dict(labels)[label]: value for (each, labels), value in self.samples.items()
                if each == name}


class StoppedThread:
    """The threads of a process that have this name stand still, as a debugger stops them."""
    SEIZE, INTERRUPT, DETACH, ALL_THREADS = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, process, name):
        tasks = pathlib.Path(f"/proc/{process}/task")
        self.threads = [int(task.name) for task in tasks.iterdir() if (task / "comm").read_text().strip() == name]
        assert self.threads, name
        self.libc = ctypes.CDLL(None, use_errno=True)

    def ask(self, request, thread):
        if self.libc.ptrace(ctypes.c_long(request), ctypes.c_long(thread), None, None) != 0:
            raise OSError(ctypes.get_errno(), f"ptrace {request:#x} of thread {thread}")

    def is_allowed(self):
        try:
            with self:
                return True
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOSYS):
                return False
            raise

    def __enter__(self):
        for thread in self.threads:
            self.ask(self.SEIZE, thread)
            self.ask(self.INTERRUPT, thread)
            os.waitpid(thread, self.ALL_THREADS)
        return self

    def __exit__(self, *error):
        for thread in self.threads:
            self.ask(self.DETACH, thread)


def rows_of_page():
    """The table of docs/reference/metrics.md: name -> (type, {label: values or None}, told by)."""
    rows = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 5 or not cells[0].startswith("`"):
            continue
        labels = {}
        for each in filter(None, cells[2].split("; ")):
            name, values = each.split(": ")
            values = set(values.split(", "))
            labels[name.strip("`")] = None if any(map(str.isupper, "".join(values))) else values
        rows[cells[0].strip("`")] = (cells[1], labels, cells[3])
    return rows


class Load:
    """Puts in the background until the block ends."""

    def __init__(self, cluster):
        self.cluster = cluster

    def __enter__(self):
        self.process = subprocess.Popen(
            [TAILRACE, "bench", "service", "--seconds", "3600", "--clients", "2", "--in-flight",
             "8", "--keys", "2000", "--op", "mixed", "--server", self.cluster.servers],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Metrics(unittest.TestCase):
    def check(self, scrape):
        """promtool finds nothing."""
        done = subprocess.run(["promtool", "check", "metrics"], input=scrape.text, text=True,
                              capture_output=True, timeout=60)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def check_order(self, scrape):
        marks = scrape.of("tailrace_log_address_bytes", "watermark")
        self.assertEqual(set(marks),
                         {"begin", "checkpointed", "applied", "committed", "durable", "tail"})
        self.assertLessEqual(64, marks["begin"])
        self.assertLessEqual(marks["begin"], marks["checkpointed"])
        self.assertLessEqual(marks["checkpointed"], marks["applied"])
        self.assertLessEqual(marks["applied"], min(marks["committed"], marks["durable"]))
        self.assertLessEqual(marks["durable"], marks["tail"])
        phases = scrape.of("tailrace_checkpoint_phase", "phase")
        self.assertEqual(set(phases), PHASES)
        self.assertEqual(sum(phases.values()), 1)
        self.assertTrue(0 <= scrape.value("tailrace_checkpoint_progress_ratio") <= 1)
        return marks

    def test_promtool_finds_nothing_under_load_and_every_metric_is_there(self):
        for nodes in (1, 3):
            with Cluster(TAILRACE, nodes=nodes, settings=SETTINGS) as cluster, Load(cluster):
                for number, node in enumerate(cluster.nodes):
                    wait_until("there is load", lambda: Scrape(node).value(
                        "tailrace_applied_records_total") > 100)
                    self.check(Scrape(node))
                    cluster.run("checkpoint", server=node.server)
                    scrape = Scrape(node)
                    self.check(scrape)
                    self.check_order(scrape)
                    self.assertEqual(set(REQUIRED) - scrape.families, set())
                    if number == 0 and nodes > 1:
                        self.assertEqual(set(OF_FOLLOWERS) - scrape.families, set())

    def test_nodes_tell_what_the_page_says_and_nothing_else(self):
        """docs/reference/metrics.md: every metric, its type and its labels; names of before apart."""
        if not INSTALLED:
            self.skipTest("NOT TESTED: there is no etcd on this machine")
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        etcd = Etcd(directory)
        self.addCleanup(etcd.kill)
        etcd.start()
        with Cluster(TAILRACE, nodes=3, settings=SETTINGS, metrics="old_names: false, ",
                     coordinator=etcd.coordinator) as cluster:
            cluster.run("put", "k", "v")
            cluster.run("checkpoint")
            cluster.wait_equal()
            scrapes = [Scrape(node) for node in cluster.nodes]
        rows = rows_of_page()
        told = {name: kind for scrape in scrapes for name, kind in
                re.findall(r"^# TYPE (\S+) (\S+)$", scrape.text, re.MULTILINE)}
        self.assertEqual(told, {name: kind for name, (kind, _, _) in rows.items()})
        for scrape in scrapes:
            for series, labels in scrape.samples:
                name = next(n for n in (series, re.sub("_(bucket|sum|count)$", "", series)) if n in rows)
                known = rows[name][1]
                for label, value in labels:
                    if label == "le" and rows[name][0] == "histogram":
                        continue
                    self.assertIn(label, known, series)
                    self.assertTrue(known[label] is None or value in known[label], (series, label, value))
                    # What users write stands in no label, but for the cluster's name.
                    self.assertRegex(value, r"^[\w.:+ -]*$")

    def test_a_scrape_is_small_and_soon_there(self):
        """At most 150 KiB with the names of before, whatever clients do; 20 ms on a quiet machine
        (docs/benchmarks.md). Here: many streams, clients, sessions and kinds of errors."""
        with Cluster(TAILRACE, nodes=3, settings=SETTINGS) as cluster, Load(cluster):
            tails = [subprocess.Popen([TAILRACE, "tail", "--follow", "--server", cluster.nodes[0].server],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                     for _ in range(8)]
            self.addCleanup(lambda: [(tail.kill(), tail.wait()) for tail in tails])
            for number in range(20):
                cluster.run("append", "--stream", f"stream {number}", input=b"event\n" * 10)
            for bad in (("put", "", "x"), ("get", ""), ("cas", "", "a", "b"), ("add", "k", "x")):
                cluster.run(*bad, check=False)
            cluster.run("checkpoint")
            for node in cluster.nodes:
                self.assertLess(len(Scrape(node).text), 150 * 1024)

    def test_values_agree_with_what_was_done(self):
        began = time.time()
        with Cluster(TAILRACE, nodes=3, settings=SETTINGS) as cluster:
            leader, *followers = cluster.wait_version().nodes
            before = Scrape(leader)
            # What never happened has no time and took none.
            self.check(before)
            for unknown in ("last_checkpoint_timestamp_seconds", "last_checkpoint_duration_seconds",
                            "last_checkpoint_size_bytes", "last_state_digest_duration_seconds"):
                self.assertTrue(math.isnan(before.value(f"tailrace_{unknown}")), unknown)
            self.assertEqual(before.value("tailrace_replication_since_leader_seconds"), 0)
            for number in range(30):
                cluster.run("put", f"key {number}", "v" * 1000)
            cluster.run("append", input=b"line\n" * 500)
            for _ in range(7):
                cluster.run("get", "key 1")
            cluster.run("get", "key 1", server=followers[0].server, check=False)
            cluster.run("put", "", "x", check=False)
            cluster.run("checkpoint")
            cluster.wait_equal()
            wait_until("the followers' anchors follow", lambda: all(
                Scrape(leader).value("tailrace_truncation_anchor_address_bytes", anchor=f"follower:{id}")
                >= Scrape(leader).value("tailrace_last_checkpoint_address_bytes") for id in (2, 3)))
            scrape = Scrape(leader)
            marks = self.check_order(scrape)

            def grown(name, **labels):
                return scrape.value(name, **labels) - before.value(name, **labels)

            # Requests, by kind and by what came of them.
            counted = scrape.of("tailrace_rpc_requests_total", "kind")
            self.assertEqual(set(counted), KINDS)
            self.assertEqual(grown("tailrace_rpc_requests_total", kind="put", result="ok", code="ok"), 30)
            self.assertEqual(scrape.value("tailrace_rpc_requests_total", kind="put", result="refused",
                                          code="invalid_argument"), 1)
            self.assertEqual(grown("tailrace_rpc_requests_total", kind="txn", result="ok", code="ok"), 1)
            self.assertEqual(grown("tailrace_rpc_requests_total", kind="get", result="ok", code="ok"), 8)
            self.assertEqual(grown("tailrace_rpc_request_duration_seconds_count", kind="put"), 31)
            self.assertGreater(grown("tailrace_rpc_request_duration_seconds_sum", kind="put"), 0)
            self.assertLess(grown("tailrace_rpc_request_duration_seconds_sum", kind="put"),
                            time.time() - began)
            # Of an append each event counts; reads by level.
            self.assertEqual(grown("tailrace_rpc_records_total", kind="txn"), 500)
            self.assertEqual(grown("tailrace_rpc_records_total", kind="put"), 30)
            self.assertGreater(grown("tailrace_rpc_record_bytes_total", kind="put"), 30 * 1000)
            self.assertEqual(grown("tailrace_rpc_reads_total", level="linearizable", **{"from": "memory"}), 8)
            # The stages of a write add up to what it took.
            stages = scrape.of("tailrace_rpc_request_stage_duration_seconds_sum", "stage")
            self.assertEqual(set(stages), {"held", "enqueue", "flush", "commit", "apply", "answer"})
            took = sum(scrape.value("tailrace_rpc_request_duration_seconds_sum", kind=kind)
                       for kind in ("put", "txn"))
            self.assertTrue(0.5 * took < sum(stages.values()) <= 1.05 * took, (stages, took))
            # The log and what it became.
            self.assertGreater(grown("tailrace_log_flushed_bytes_total"), 30 * 1000)
            self.assertEqual(grown("tailrace_log_flush_bytes_sum"),
                             grown("tailrace_log_flushed_bytes_total"))
            self.assertEqual(grown("tailrace_log_flush_duration_seconds_count"),
                             grown("tailrace_log_flushes_total"))
            self.assertGreater(grown("tailrace_log_flush_duration_seconds_sum"), 0)
            self.assertEqual(scrape.value("tailrace_log_flushes_in_flight"), 0)
            self.assertGreaterEqual(grown("tailrace_applied_records_total"), 31)
            self.assertEqual(scrape.value("tailrace_apply_lag_bytes"), 0)
            self.assertEqual(grown("tailrace_kv_live_records") > 30, True)
            # The checkpoint, and what limits truncation.
            self.assertEqual(grown("tailrace_kv_checkpoints_total", result="published"), 1)
            self.assertEqual(scrape.value("tailrace_last_checkpoint_address_bytes"),
                             marks["checkpointed"])
            self.assertGreater(scrape.value("tailrace_last_checkpoint_size_bytes"), 30 * 1000)
            self.assertGreater(scrape.value("tailrace_last_checkpoint_duration_seconds"), 0)
            at = scrape.value("tailrace_last_checkpoint_timestamp_seconds")
            self.assertTrue(began - 1 <= at <= time.time() + 1, at)
            anchors = scrape.of("tailrace_truncation_anchor_address_bytes", "anchor")
            self.assertEqual(set(anchors), {"checkpoint", "follower:2", "follower:3", "history"})
            self.assertEqual(scrape.value("tailrace_truncation_limit_address_bytes"),
                             min(anchors.values()))
            # Who is who.
            self.assertEqual(scrape.of("tailrace_replication_role", "role")["leader"], 1)
            self.assertEqual(scrape.value("tailrace_replication_serving"), 1)
            for node in followers:
                other = Scrape(node)
                self.check_order(other)
                self.assertEqual(other.of("tailrace_replication_role", "role")["follower"], 1)
                self.assertEqual(other.value("tailrace_replication_connected_to_leader"), 1)
                self.assertLess(other.value("tailrace_replication_since_leader_seconds"), 30)
                self.assertEqual(other.value("tailrace_applied_bytes_total"),
                                 scrape.value("tailrace_applied_bytes_total"))
            for node in followers:
                lag = scrape.of("tailrace_replication_follower_lag_bytes", "follower")
                self.assertEqual(lag[str(node.number)], 0)

            # A follower that stands still falls behind, in bytes and in seconds, and catches up.
            behind = str(followers[0].number)
            followers[0].process.send_signal(signal.SIGSTOP)
            try:
                cluster.run("append", input=b"more\n" * 500)
                wait_until("the lag is seen", lambda: Scrape(leader).of(
                    "tailrace_replication_follower_lag_bytes", "follower")[behind] > 500 * 5)
                wait_until("the lag grows with the time", lambda: Scrape(leader).of(
                    "tailrace_replication_follower_lag_seconds", "follower")[behind] > 0.5)
                wait_until("the silent follower is given up", lambda: Scrape(leader).of(
                    "tailrace_replication_follower_connected", "follower")[behind] == 0)
            finally:
                followers[0].process.send_signal(signal.SIGCONT)
            wait_until("it has caught up", lambda: Scrape(leader).of(
                "tailrace_replication_follower_lag_bytes", "follower")[behind] == 0)
            self.assertEqual(Scrape(leader).of("tailrace_replication_follower_lag_seconds",
                                               "follower")[behind], 0)

            # After a restart the newest checkpoint is still known.
            leader.kill()
            leader.start().wait_ready()
            again = Scrape(leader)
            for name in ("address_bytes", "timestamp_seconds", "size_bytes"):
                self.assertEqual(again.value(f"tailrace_last_checkpoint_{name}"),
                                 scrape.value(f"tailrace_last_checkpoint_{name}"))
            self.assertEqual(again.value("tailrace_replication_epoch"),
                             scrape.value("tailrace_replication_epoch") + 1)

    def test_a_prometheus_server_scrapes_all_nodes(self):
        if shutil.which("prometheus") is None:
            self.skipTest("NOT TESTED: there is no prometheus server on this machine")
        with Cluster(TAILRACE, nodes=3, settings=SETTINGS) as cluster, \
                tempfile.TemporaryDirectory(prefix="tailrace-test-") as directory:
            cluster.run("put", "k", "v")
            port, = free_ports(1)
            targets = [f"127.0.0.1:{node.metrics_port}" for node in cluster.nodes]
            config = pathlib.Path(directory, "prometheus.yml")
            config.write_text("global: {scrape_interval: 500ms, scrape_timeout: 500ms}\n"
                              "scrape_configs:\n"
                              "  - job_name: tailrace\n"
                              f"    static_configs: [{{targets: {json.dumps(targets)}}}]\n")

            def query(expression):
                address = f"http://127.0.0.1:{port}/api/v1/query?"
                try:
                    with urllib.request.urlopen(
                            address + urllib.parse.urlencode({"query": expression}),
                            timeout=10) as answer:
                        result = json.load(answer)["data"]["result"]
                except OSError:
                    return {}
                return {one["metric"].get("instance"): float(one["value"][1]) for one in result}

            with open(pathlib.Path(directory, "log"), "wb") as log:
                server = subprocess.Popen(
                    ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory}/db",
                     f"--web.listen-address=127.0.0.1:{port}"],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory)
            try:
                wait_until("every node is up", lambda: query("up == 1").keys() == set(targets), 60)
                epochs = wait_until("samples are stored",
                                    lambda: query("tailrace_replication_epoch"))
                self.assertEqual(epochs, dict.fromkeys(targets, 1.0))
                self.assertEqual(query('tailrace_replication_role{role="leader"} == 1'),
                                 {targets[0]: 1.0})
                lag = "max(tailrace_replication_follower_lag_bytes)"
                self.assertEqual(query(lag).keys(), {None})
                with Load(cluster):
                    wait_until("a rate over the histogram", lambda: query(
                        "histogram_quantile(0.5, rate(tailrace_log_flush_duration_seconds_bucket[10s])) > 0"
                    ).keys() == set(targets), 60)
                    wait_until("the apply rate", lambda: query(
                        "rate(tailrace_applied_records_total[10s]) > 0").keys() == set(targets), 60)
                cluster.nodes[2].kill()
                wait_until("a node that is gone is seen",
                           lambda: query("up == 0") == {targets[2]: 0.0}, 60)
            finally:
                server.kill()
                server.wait()


class Health(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(TAILRACE, nodes=3, settings=SETTINGS)
        self.addCleanup(self.cluster.__exit__)
        self.leader, *self.followers = self.cluster.nodes

    def not_ready(self, node, why):
        """Not ready for this reason, and alive."""
        wait_until(f"node {node.number} says '{why}'",
                   lambda: node.http("/readyz")[0] == 503 and why in node.http("/readyz")[1])
        self.assertEqual(node.http("/healthz"), (200, "ok\n"))

    def test_from_the_start_to_the_end(self):
        # A follower without a leader.
        self.assertEqual(self.followers[0].http("/readyz")[0], 0)
        self.followers[0].start()
        self.not_ready(self.followers[0], "no connection to the leader")
        self.followers[0].stop()
        # The first start of a cluster needs every voter.
        self.leader.start()
        self.not_ready(self.leader, "needs every voter")
        self.followers[0].start()
        self.not_ready(self.leader, "only 2 have answered")
        self.followers[1].start()
        for node in self.cluster.nodes:
            node.wait_ready()
        wait_until("their votes count", lambda: all(
            node.metric("tailrace_replication_vote_state", vote="full") == 1 for node in self.cluster.nodes))
        # From then on a majority is enough.
        for node in self.cluster.nodes:
            node.kill()
        self.leader.start()
        self.not_ready(self.leader, "majority")
        self.followers[0].start()
        for node in (self.leader, self.followers[0]):
            node.wait_ready()
            self.assertEqual(node.http("/readyz"), (200, "ok\n"))
            self.assertEqual(node.http("/healthz"), (200, "ok\n"))
        # It goes; it comes again.
        self.followers[0].kill()
        self.not_ready(self.leader, "majority")
        self.followers[1].start()
        self.leader.wait_ready()
        # The leader goes; it comes again.
        self.followers[0].start().wait_ready()
        self.leader.kill()
        for node in self.followers:
            self.not_ready(node, "no connection to the leader")
        self.leader.start()
        for node in self.cluster.nodes:
            node.wait_ready()

    def test_a_node_that_stops_says_so_until_what_is_in_flight_is_answered(self):
        for node in self.cluster.nodes:
            node.start()
        for node in self.cluster.nodes:
            node.wait_ready()
        put = None
        try:
            # A write that nobody confirms holds the stop.
            for node in self.followers:
                node.process.send_signal(signal.SIGSTOP)
            put = subprocess.Popen([TAILRACE, "put", "k", "v", "--timeout", "60", "--server",
                                    self.leader.server], stdin=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
            wait_until("it is in flight", lambda: self.leader.metric(
                "tailrace_rpc_in_flight_requests") == 1)
            self.leader.process.send_signal(signal.SIGTERM)
            wait_until("it says that it stops",
                       lambda: self.leader.http("/readyz") == (503, "stopping\n"))
            self.assertEqual(self.leader.http("/healthz")[0], 200)
            for node in self.followers:
                node.process.send_signal(signal.SIGCONT)
            self.assertEqual(self.leader.process.wait(timeout=60), 0)
            self.assertEqual(self.leader.http("/healthz")[0], 0)
        finally:
            if put is not None:
                put.kill()
                put.wait()
        # Whether or not the put was told: what it did, if anything, is whole.
        self.leader.start().wait_ready()
        got = self.cluster.run("get", "k", check=False)
        self.assertIn((got.returncode, got.stdout), ((0, b"v"), (1, b"")))

    def test_a_thread_that_stands_still_is_told(self):
        """What a node last said of itself is not told for ever: it does not lead while its thread hangs."""
        with Cluster(TAILRACE, nodes=1, settings=SETTINGS) as cluster:
            node = cluster.leader
            cluster.run("put", "k", "v")
            self.assertEqual(node.metric("tailrace_replication_serving"), 1)
            wait_until("its loop has run", lambda: node.metric("tailrace_loop_since_turn_seconds", loop="nodes") < 5)
            stopped = StoppedThread(node.process.pid, "nodes")
            if not stopped.is_allowed():
                self.skipTest("NOT TESTED: nobody may stop a thread on this machine")
            with stopped:
                wait_until("it says that it stands still", lambda: node.http("/readyz")[0] == 503, 30)
                self.assertIn("stands still", node.http("/readyz")[1])
                self.assertEqual(node.metric("tailrace_replication_serving"), 0)
                self.assertGreater(node.metric("tailrace_loop_since_turn_seconds", loop="nodes"), 5)
                self.assertLess(node.metric("tailrace_loop_since_turn_seconds", loop="clients"), 5)
            node.wait_ready()
            self.assertEqual(node.metric("tailrace_replication_serving"), 1)
            cluster.run("put", "k", "w")

    def test_what_the_endpoint_does_not_know(self):
        with Cluster(TAILRACE, nodes=1, settings=SETTINGS) as cluster:
            self.assertEqual(cluster.leader.http("/")[0], 404)
            self.assertEqual(cluster.leader.http("/metrics/more")[0], 404)
            request = urllib.request.Request(
                f"http://127.0.0.1:{cluster.leader.metrics_port}/metrics", data=b"x")
            with self.assertRaises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=10)
            self.assertEqual(refused.exception.code, 405)
            refused.exception.close()


# A test that is told to stop goes through its cleanups.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
