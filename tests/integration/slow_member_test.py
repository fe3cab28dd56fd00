"""Members that do not keep up: the others write on as if they were not there, and what is kept for them
is bounded.

Usage: slow_member_test.py TAILRACE ACK_WRITER [unittest arguments]
"""
import contextlib
import re
import signal
import sys
import time
import unittest

from ack_log import Writer
from cluster import Cluster, explained, wait_until

TAILRACE, ACK_WRITER = sys.argv[1:3]
PATIENCE = 120  # seconds; for a machine that is busy with other things
STOPPED = 8  # seconds; a peer that says nothing is missed after three
LONGEST_STOP = 60
WINDOW = 4 << 20
UNAPPLIED = 64 << 10
LARGEST = 1 << 10  # of a record
LARGEST_MARK = 4096 + 40  # the mark that ends a flush fills its block, or the next if it is too short
# Beside the window: buffers of allocators and sockets, and the copy of what is on its way.
MOST_GROWTH = WINDOW + (20 << 20)

# The store's memory is small, so that it is in use before anything is measured.
SETTINGS = """
log: {page_bytes: 1 MiB, buffer_pages: 8, segment_bytes: 16 MiB}
store: {memory_bytes: 16 MiB, page_bytes: 1 MiB, index_buckets: 4096}
state_machine: {checkpoint_log_bytes: 4 MiB, retention_bytes: 1 GiB}
"""


class SlowMember(unittest.TestCase):
    @contextlib.contextmanager
    def load(self, nodes, learners, in_flight=32):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.nodes = self.stack.enter_context(Cluster(
            TAILRACE, nodes, SETTINGS,
            server=f"max_value_bytes: 64 KiB, max_unapplied_bytes: {UNAPPLIED}, ",
            members={nodes: "voter: false, "} if learners else {},
            replication=f"  window_bytes: {WINDOW}\n  batch_bytes: 1 MiB\n"))
        voters = self.nodes.nodes[:nodes - learners]
        wait_until("every vote counts", lambda: all(
            node["vote"] == "full" for node in self.nodes.status()[:len(voters)]), PATIENCE)
        # It asks the voters only: a stopped node would answer nothing.
        self.writer = Writer(ACK_WRITER, "load", ",".join(node.server for node in voters),
                             self.nodes.directory, "--in-flight", in_flight, "--timeout", 60)
        self.stack.callback(self.writer.close)
        with explained(lambda: f"{self.writer.describe()}\n{self.nodes.describe()}"):
            yield

    def each_second(self, seconds):
        """How many writes were acknowledged in each of so many seconds."""
        counts = []
        for _ in range(seconds):
            before = self.writer.read()
            time.sleep(1)
            counts.append(self.writer.read() - before)
        return counts

    def memory(self):
        """Resident bytes of the leader."""
        with open(f"/proc/{self.nodes.leader.process.pid}/status") as file:
            return int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1)) << 10

    def watermark(self, name):
        return self.nodes.leader.metric("tailrace_log_address_bytes", watermark=name)

    def durable(self):
        return self.watermark("durable")

    def stop_a_while(self, slow):
        # Until what grows for other reasons has grown: pages of the log and the store.
        wait_until("the leader is warm", lambda: self.writer.read() > 50_000, PATIENCE)
        before, used = self.each_second(3), self.memory()
        end = self.durable()
        slow.process.send_signal(signal.SIGSTOP)
        try:
            meanwhile = self.each_second(STOPPED)
            # Enough to tell whether what is written is kept in memory.
            while (written := self.durable() - end) < 2 * MOST_GROWTH and len(meanwhile) < LONGEST_STOP:
                meanwhile += self.each_second(1)
            growth = self.memory() - used
        finally:
            slow.process.send_signal(signal.SIGCONT)
        print(f"acknowledged each second: before {before}, meanwhile {meanwhile}; "
              f"{written / 2**20:.0f} MiB written, the leader's memory grew by "
              f"{growth / 2**20:.1f} MiB", flush=True)
        # A disk may have a bad second of its own; who waits for the stopped node has only such.
        self.assertGreater(sum(count > 0 for count in meanwhile), len(meanwhile) / 2,
                           f"writes stood still: {meanwhile}, before {before}")
        self.assertLess(growth, MOST_GROWTH)

    def check_all(self):
        """Ends the writer; the slow one has caught up, and all that was told is true on every node."""
        self.writer.end()
        self.nodes.wait_equal(PATIENCE)
        for node in self.nodes.nodes:
            node.wait_ready(PATIENCE)
            self.writer.check_state_at_end(self.writer.get("any", node.server),
                                           f"node {node.number}")
        self.nodes.run("verify", timeout=PATIENCE)

    # A slow learner never slows the quorum, and costs it bounded memory.
    def test_a_learner_that_is_stopped(self):
        with self.load(nodes=4, learners=1):
            self.stop_a_while(self.nodes.nodes[3])
            self.check_all()

    # Nor does one voter of three: the other two are a majority.
    def test_a_voter_that_is_stopped(self):
        with self.load(nodes=3, learners=0):
            self.stop_a_while(self.nodes.nodes[2])
            self.check_all()

    # Without a majority nothing is acknowledged, and what clients want meanwhile, who come again and
    # again, is neither memory nor log of the leader without bound.
    def test_a_majority_that_is_stopped(self):
        with self.load(nodes=3, learners=0, in_flight=1000):
            wait_until("the leader is warm", lambda: self.writer.read() > 20_000, PATIENCE)
            used = self.memory()
            slow = self.nodes.nodes[1:]
            for node in slow:
                node.process.send_signal(signal.SIGSTOP)
            try:
                # What was on its way comes yet.
                wait_until("a second without an answer", lambda: not any(self.each_second(1)), PATIENCE)
                acknowledged = self.writer.read()
                time.sleep(STOPPED)
                self.assertEqual(self.writer.read(), acknowledged)
                waits = self.watermark("tail") - self.watermark("committed")
                growth = self.memory() - used
                stalls = self.nodes.leader.metric("tailrace_rpc_stalls_total")
            finally:
                for node in slow:
                    node.process.send_signal(signal.SIGCONT)
            print(f"{waits / 1024:.0f} KiB wait for a majority, the leader's memory grew by "
                  f"{growth / 2**20:.1f} MiB, {stalls:.0f} stalls", flush=True)
            self.assertGreater(waits, UNAPPLIED, "too little was asked to show anything")
            # The record that passes the limit is the last one; the mark of its flush comes behind it.
            self.assertLess(waits, UNAPPLIED + LARGEST + LARGEST_MARK)
            self.assertLess(growth, MOST_GROWTH)
            wait_until("writes go on", lambda: self.writer.read() > acknowledged + 500, PATIENCE)
            self.check_all()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
