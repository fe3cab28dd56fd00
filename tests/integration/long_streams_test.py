"""Many streams, and a history that is longer than the log, on three real nodes.

Usage: long_streams_test.py TAILRACE STREAM_CLIENTS [unittest arguments]
Environment: TAILRACE_SCENARIOS=large has TAILRACE_SCENARIOS_STREAMS streams (a million unless given), and
TAILRACE_SCENARIOS_BYTES of events (4 GiB), each of TAILRACE_SCENARIOS_EVENT_BYTES (1,024). On the disk of TMPDIR three
nodes take less than that, for these events compress well. Starts with a history and with none are compared then.
"""
import hashlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
import unittest

from cluster import SMALL_LOG, end_with_parent, explained_tests, wait_until
from scenario import CLIENTS, LARGE, PATIENCE, TAILRACE, Scenario


@explained_tests
class ManyStreams(Scenario):
    """As many streams as events: each has its own, they are listed in their order, and all of it goes on through a
    change of leader and restarts. When there are a million, the state is larger than the store's memory."""
    STREAMS = int(os.environ.get("TAILRACE_SCENARIOS_STREAMS", 1_000_000)) if LARGE else 3_000
    settings = ("log: {segment_bytes: 64 MiB}\nstore: {memory_bytes: 64 MiB, page_bytes: 4 MiB}\n" if LARGE
                else SMALL_LOG) + "state_machine: {checkpoint_log_bytes: %s, retention_bytes: 0}\n" % (
                    "64 MiB" if LARGE else "256 KiB")

    def run_clients(self, what, servers):
        began = time.monotonic()
        with open(self.errors, "wb") as errors, subprocess.Popen(
                [CLIENTS, what, "--clients", "64", "--tries", str(self.STREAMS), "--server", servers],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, preexec_fn=end_with_parent) as process:
            # The end of its standard input would tell it to stop.
            self.assertEqual(process.wait(timeout=PATIENCE * 10), 0)
        return time.monotonic() - began

    def names(self, *words, server=None):
        began = time.monotonic()
        done = self.nodes.run("streams", "many/", *words, server=server, check=False, timeout=PATIENCE * 10)
        self.assertEqual(done.stderr, b"")
        return time.monotonic() - began, [line.split("\t")[0] for line in done.stdout.decode().splitlines()]

    def check_all(self, nodes):
        expected = [f"many/{number:08}" for number in range(self.STREAMS)]
        for node in nodes:
            looked = self.run_clients("many-look", node.behind)
            listed, names = self.names("--read", "any", server=node.behind)
            self.assertEqual(names, expected)
            memory = int(next(line for line in pathlib.Path(f"/proc/{node.process.pid}/status").read_text().splitlines()
                              if line.startswith("VmHWM")).split()[1])
            print(f"node {node.number}: {self.STREAMS / looked:.0f} streams/s are read, {self.STREAMS} are listed in "
                  f"{listed:.1f} s; it has had {memory >> 10} MiB", flush=True)
        middle = self.STREAMS // 2
        self.assertEqual(self.names("--after", expected[middle], "--limit", 100)[1], expected[middle + 1:middle + 101])
        self.assertEqual(self.names("--after", expected[-1])[1], [])

    def test_each_has_its_own_event(self):
        seconds = self.run_clients("many", self.nodes.servers)
        print(f"{self.STREAMS} streams in {seconds:.1f} s", flush=True)
        self.nodes.wait_equal(PATIENCE)
        self.check_all(self.nodes.nodes)
        self.kill_leader()
        self.nodes.run("checkpoint", timeout=PATIENCE)
        began = time.monotonic()
        self.restart_all()
        print(f"all nodes are ready {time.monotonic() - began:.1f} s after a restart", flush=True)
        self.nodes.wait_equal(PATIENCE)
        self.check_all(self.nodes.nodes[:1] if LARGE else self.nodes.nodes)


@explained_tests
class History(Scenario):
    """Events that the log has lost long ago: all are there, on each node, and a start does not read them."""
    BYTES = int(os.environ.get("TAILRACE_SCENARIOS_BYTES", 4 << 30)) if LARGE else 24 << 20
    LINE, LINES, STREAMS = int(os.environ.get("TAILRACE_SCENARIOS_EVENT_BYTES", 1024)), 2048, 2
    STARTS = 5 if LARGE else 1  # of a node with its history, in turns with one without
    # An event file has a stretch of the log of 64 MiB, or of a segment.
    settings = ("" if LARGE else SMALL_LOG) + """
state_machine: {checkpoint_interval: 1s, checkpoint_log_bytes: %s, retention_bytes: 0}
""" % ("64 MiB" if LARGE else "1 MiB")

    def setUp(self):
        super().setUp()
        self.sent = [hashlib.blake2b() for _ in range(self.STREAMS)]
        self.count = 0  # of each stream

    def text(self, stream, version):
        return f"{stream} {version} ".ljust(self.LINE - 1, "x") + "\n"

    def append(self, size):
        """So many bytes, to all streams at once; each by one writer, so its order is known."""
        # Nobody deletes anything, so all of it stays readable.
        to = self.count + max(1, size // self.LINE // self.STREAMS)
        writers = []
        for stream in range(self.STREAMS):
            writers.append(subprocess.Popen(
                [TAILRACE, "append", f"history-{stream}", "-", "--server", self.nodes.servers],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=end_with_parent))
        for first in range(self.count, to, self.LINES):
            for stream, writer in enumerate(writers):
                text = "".join(self.text(stream, version) for version in range(first, min(first + self.LINES, to)))
                self.sent[stream].update(text.encode())
                writer.stdin.write(text.encode())
        for writer in writers:
            told = writer.communicate(timeout=PATIENCE * 10)[1]
            self.assertEqual(writer.returncode, 0, told)
        self.count = to

    def read(self, node, stream, *words):
        """How many events a node has, and the digest of their texts; None where it lacks some."""
        with subprocess.Popen([TAILRACE, "read", f"history-{stream}", "--read", "any", "--server", node.behind, *words],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=end_with_parent) as reader:
            digest, size = hashlib.blake2b(), 0
            while piece := reader.stdout.read(1 << 20):
                digest.update(piece)
                size += len(piece)
            told = reader.stderr.read()
        return (size // self.LINE, digest.hexdigest()) if reader.returncode == 0 else told

    def check_all(self, node):
        for stream in range(self.STREAMS):
            began = time.monotonic()
            self.assertEqual(self.read(node, stream), (self.count, self.sent[stream].hexdigest()),
                             f"node {node.number}, stream {stream}")
            print(f"node {node.number}: {self.count / (time.monotonic() - began):.0f} events/s of "
                  f"{self.LINE} bytes read from its history", flush=True)
            for version in (0, self.count // 3, self.count - 1):
                done = self.nodes.run("read", f"history-{stream}", "--read", "any", "--from", version, "--limit", 1,
                                      server=node.behind)
                self.assertEqual(done.stdout.decode(), self.text(stream, version))

    def status_of(self, node):
        done = self.nodes.run("history", "status", "--json", "--only-named", server=node.behind, check=False)
        nodes = json.loads(done.stdout)["nodes"] if done.returncode == 0 else []
        return nodes[0] if nodes else None

    def wait_in_files(self, address):
        """All of the log below is in event files, and not in the log any more."""
        def done(node):
            self.append(self.LINE * self.STREAMS)  # else no checkpoint is due
            status = self.status_of(node)
            begin = node.metric("tailrace_log_address_bytes", watermark="begin")
            return status and status["complete"] >= address and begin >= address

        for node in self.nodes.nodes:
            wait_until(f"node {node.number} has all events in files", lambda node=node: done(node), PATIENCE * 2,
                       pause=0.3)

    def wait_complete(self, node):
        wait_until(f"node {node.number} has all files of the others",
                   lambda: (self.status_of(node) or {"missing_bytes": 1})["missing_bytes"] == 0,
                   PATIENCE * (10 if LARGE else 1), pause=0.2)

    def files(self, node):
        return sorted((pathlib.Path(node.data) / "history").glob("*.events"))

    def start(self, node):
        began = time.monotonic()
        node.start()
        node.wait_ready(PATIENCE)
        return time.monotonic() - began

    def follower(self):
        return next(node for node in self.nodes.nodes if node is not self.nodes.serving(PATIENCE))

    def test_a_history_that_is_longer_than_the_log(self):
        self.append(64 << 10)
        before = [node.metric("tailrace_kv_checkpoints_total", result="published") for node in self.nodes.nodes]
        began = time.monotonic()
        while self.count * self.LINE * self.STREAMS < self.BYTES:
            self.append(min(self.BYTES, 256 << 20))
        seconds = time.monotonic() - began
        print(f"{self.count * self.STREAMS} events in {seconds:.1f} s", flush=True)
        for node, first in zip(self.nodes.nodes, before):
            taken = node.metric("tailrace_kv_checkpoints_total", result="published") - first
            print(f"node {node.number}: {taken:.0f} checkpoints meanwhile", flush=True)
        # The last stretch fills with what follows.
        end = json.loads(self.nodes.run("status", "--json").stdout)[0]["committed"]
        self.wait_in_files(end - 2 * (64 << 20 if LARGE else 2 << 20))
        for node in self.nodes.nodes:
            self.check_all(node)
        self.compare_starts()
        self.delete_a_file()
        if LARGE:  # event_files_test has a small one
            self.replace_a_disk()
        self.assertEqual(self.nodes.run("verify", timeout=PATIENCE * 10).returncode, 0)

    def compare_starts(self):
        """A start with all of its history takes as long as one with none: in turns."""
        node = self.follower()
        history = pathlib.Path(node.data) / "history"
        aside = pathlib.Path(node.directory) / "history.aside"
        with_it, without = [], []
        for _ in range(self.STARTS):
            node.kill()
            with_it.append(self.start(node))
            node.kill()
            history.rename(aside)
            without.append(self.start(node))
            node.kill()
            shutil.rmtree(history)
            aside.rename(history)
            self.start(node)
        ratio = statistics.median(with_it) / statistics.median(without)
        print(f"a start takes {statistics.median(with_it):.2f} s with {len(self.files(node))} event files, "
              f"{statistics.median(without):.2f} s with none: {ratio:.2f}", flush=True)
        if LARGE:  # a short one says more of the machine
            self.assertTrue(0.8 <= ratio <= 1.2, (with_it, without))

    def delete_a_file(self):
        """What a node lacks it gets from the others: the same bytes."""
        node = self.follower()
        first = self.files(node)[0]
        content = first.read_bytes()
        node.kill()
        first.unlink()
        self.start(node)
        self.wait_complete(node)
        self.assertEqual(first.read_bytes(), content)
        self.check_all(node)

    def replace_a_disk(self):
        """A node with a new disk is ready at once; its history comes then."""
        node = self.follower()
        node.kill()
        shutil.rmtree(node.data)
        self.started = time.monotonic()
        seconds = self.start(node)
        missing = self.status_of(node)["missing_bytes"]
        print(f"with a new disk it is ready after {seconds:.1f} s, with {missing} bytes of the log to come",
              flush=True)
        self.assertGreater(missing, self.BYTES // 2, "it was ready before its history had come")
        # What stands between its log and the newest file it lacks until the others have written that.
        self.append(3 * (64 << 20))
        self.nodes.wait_equal(PATIENCE * 10)
        self.wait_in_files(json.loads(self.nodes.run("status", "--json").stdout)[0]["committed"] - 2 * (64 << 20))
        self.wait_complete(node)
        print(f"its history is there after {time.monotonic() - self.started:.1f} s", flush=True)
        self.check_all(node)


unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
