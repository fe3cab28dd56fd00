"""SIGTERM in the middle of full load: the server answers what it has taken, ends with 0, and every
acknowledged write is there afterwards.

Usage: terminate_test.py TAILRACE ACK_WRITER [unittest arguments]
"""
import contextlib
import signal
import subprocess
import sys
import time
import unittest

from ack_log import Writer, read_log
from cluster import Cluster, explained

TAILRACE, ACK_WRITER = sys.argv[1:3]
PATIENCE = 120  # seconds; for a machine that is busy with other things
SETTINGS = """
log: {page_bytes: 1 MiB, buffer_pages: 8, segment_bytes: 64 MiB}
store: {memory_bytes: 96 MiB, page_bytes: 1 MiB, index_buckets: 4096}
state_machine: {checkpoint_log_bytes: 1 MiB, retention_bytes: 1 GiB}
"""


class Terminate(unittest.TestCase):
    @contextlib.contextmanager
    def load(self, nodes):
        with Cluster(TAILRACE, nodes, SETTINGS, server="max_value_bytes: 64 KiB, ") as self.nodes:
            self.writer = Writer(ACK_WRITER, "load", self.nodes.servers, self.nodes.directory,
                                 "--in-flight", 128, "--timeout", 60)
            try:
                with explained(lambda: f"{self.writer.describe()}\n{self.nodes.describe()}"):
                    yield
            finally:
                self.writer.close()

    def wait_for_acks(self, more):
        self.writer.wait_for_acks(more, PATIENCE)

    def unknown(self):
        self.writer.read()
        return sum(count for (_, result), count in self.writer.results.items()
                   if result == "unknown")

    def terminate(self, node):
        """Ends it by SIGTERM; checks how it ended."""
        node.process.send_signal(signal.SIGTERM)
        self.assertEqual(node.process.wait(timeout=PATIENCE), 0, node.errors())
        self.assertIn("everything enqueued is durable", node.errors())

    def check_all(self, drained=True):
        """Ends the writer; all that it was told is true on every node."""
        self.writer.end()
        for node, status in zip(self.nodes.nodes, self.nodes.wait_equal(PATIENCE)):
            where = f"node {node.number}"
            end, events = read_log(self.nodes, node.server, 64)
            self.writer.check_events(events, end, where)
            self.writer.check_stream(self.nodes, node.server, where)
            self.writer.check_state_at_end(self.writer.get("any", node.server), where)
        self.writer.check_events_at_end()
        if drained:
            unanswered = self.writer.unknown_events & self.writer.seen.keys()
            self.assertFalse(unanswered, "what a server takes it answers before it ends")
        self.nodes.run("verify")

    def stop_leader(self, times):
        leader = self.nodes.leader
        for _ in range(times):
            self.wait_for_acks(2000)
            epoch = self.nodes.status()[0]["epoch"]
            self.terminate(leader)
            inspected = subprocess.run(
                [TAILRACE, "log", "inspect", str(leader.data / "log"), "--json"],
                capture_output=True, text=True, timeout=PATIENCE)
            self.assertEqual(inspected.returncode, 0, inspected.stderr)
            leader.start().wait_ready(PATIENCE)
            # It has handed over, if there was anyone: it is given the lead again.
            self.nodes.transfer(1)
            self.assertGreater(self.nodes.status()[0]["epoch"], epoch)
        self.wait_for_acks(500)
        self.check_all()

    def test_single_node(self):
        with self.load(1):
            self.stop_leader(3)

    def test_leader(self):
        with self.load(3):
            self.stop_leader(3)

    def test_follower(self):
        with self.load(3):
            for follower in self.nodes.nodes[1:]:
                self.wait_for_acks(2000)
                unknown = self.unknown()
                self.terminate(follower)
                self.wait_for_acks(2000)
                self.assertEqual(self.unknown(), unknown, "the others are a majority")
                follower.start().wait_ready(PATIENCE)
            self.check_all()

    def test_all_at_once(self):
        with self.load(3):
            self.wait_for_acks(2000)
            for node in self.nodes.nodes:
                node.process.send_signal(signal.SIGTERM)
            for node in self.nodes.nodes:
                self.terminate(node)  # a second one changes nothing
            for node in self.nodes.nodes:
                node.start()
            for node in self.nodes.nodes:
                node.wait_ready(PATIENCE)
            self.wait_for_acks(500)
            # What the leader took last could not be committed any more.
            self.check_all(drained=False)

    def test_idle_node_ends_at_once(self):
        with self.load(1):
            self.wait_for_acks(100)
            self.writer.end()
            began = time.monotonic()
            self.terminate(self.nodes.leader)
            self.assertLess(time.monotonic() - began, 9, "there was nothing to drain")


unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
