"""kill -9 in a loop, at full load, while checkpoints and truncation go on: every acknowledged write is
there, once.

Usage: kill_loop_test.py TAILRACE ACK_WRITER [unittest arguments]
Environment: TAILRACE_SEED replays a run's choices, TAILRACE_ROUNDS changes its length.
"""
import os
import random
import signal
import sys
import time
import unittest

from ack_log import Writer, read_log
from cluster import Cluster, explained, wait_until

TAILRACE, ACK_WRITER = sys.argv[1:3]
SEED = int(os.environ.get("TAILRACE_SEED") or random.SystemRandom().randrange(1 << 32))
ROUNDS = int(os.environ.get("TAILRACE_ROUNDS") or 25)
PATIENCE = 120  # seconds; for a machine that is busy with other things

# A checkpoint and a new segment every few thousand writes. What is retained is read back after each
# crash; it is a small part of all that is written, and more than is written between two crashes: one
# node writes several times as much as three do.
RETAINED = {1: "64 MiB", 3: "32 MiB"}
SETTINGS = """
log: {page_bytes: 256 KiB, buffer_pages: 8, segment_bytes: 256 KiB, proven_lag_bytes: 1 MiB}
store: {memory_bytes: 96 MiB, page_bytes: 1 MiB, index_buckets: 4096}
state_machine: {checkpoint_log_bytes: 256 KiB, retention_bytes: RETAINED}
"""


class KillLoop(unittest.TestCase):
    def run_loop(self, nodes):
        self.random = random.Random(f"{SEED}/{nodes}")
        print(f"TAILRACE_SEED={SEED} {nodes} nodes, {ROUNDS} rounds", flush=True)
        self.kills = self.in_checkpoint = 0
        settings = SETTINGS.replace("RETAINED", RETAINED[nodes])
        with Cluster(TAILRACE, nodes, settings, server="max_value_bytes: 64 KiB, ") as self.cluster:
            # One that waits for its answers, and one that gives up early: its puts are in flight
            # when it does, and its session has gaps.
            self.writers = [
                Writer(ACK_WRITER, "steady", self.cluster.servers, self.cluster.directory,
                       "--in-flight", 32, "--timeout", 60),
                Writer(ACK_WRITER, "hasty", self.cluster.servers, self.cluster.directory,
                       "--in-flight", 16, "--keys", 50, "--adders", 2, "--timeout", 0.2)]
            self.checked_to = 64
            self.versions = {}  # of each writer's stream: the next one to be checked
            self.epoch, self.margin = 0, 1 << 62
            try:
                with explained(self.describe):
                    for number in range(ROUNDS):
                        self.round = f"seed {SEED}, round {number + 1} of {ROUNDS}"
                        self.run_round()
                    self.finish()
            finally:
                for writer in self.writers:
                    writer.close()

    def describe(self):
        writers = "".join(f"{writer.name}: {writer.describe()}\n" for writer in self.writers)
        return f"{self.round}\n{writers}{self.cluster.describe()}"

    def wait_for_acks(self, more):
        """Until the steady writer has been answered `more` times from now on. (On a machine that is
        slower than its patience the hasty one may not be answered at all.)"""
        steady = self.writers[0]
        goal = steady.read() + more

        def reached():
            for writer in self.writers:
                if writer.process.poll() is not None:
                    raise AssertionError(f"{writer.name} ended: {writer.errors.read_text()}")
            return steady.read() >= goal

        wait_until(f"{more} more acknowledgements", reached, PATIENCE)

    @staticmethod
    def in_a_checkpoint(node):
        """Whether it writes one that is not published yet; also after its death."""
        checkpoints = node.data / "store" / "checkpoints"
        return any(not (one / "MANIFEST").exists() for one in checkpoints.glob("*"))

    def kill(self, victims):
        for node in victims:
            if not node.running():
                raise AssertionError(f"node {node.number} had ended with {node.process.returncode}")
        for node in victims:
            node.process.send_signal(signal.SIGKILL)
        for node in victims:
            node.process.wait(timeout=60)
            self.kills += 1
            self.in_checkpoint += self.in_a_checkpoint(node)

    def victims(self):
        nodes = self.cluster.nodes
        if len(nodes) == 1:
            return [*nodes]
        leader, *followers = nodes
        kind = self.random.choice(["leader", "leader", "follower", "follower", "two", "two", "all"])
        return {"leader": [leader], "follower": [self.random.choice(followers)],
                "two": self.random.sample(nodes, 2), "all": [*nodes]}[kind]

    def run_round(self):
        self.wait_for_acks(self.random.randrange(20, 6000))
        victims = self.victims()
        if self.random.random() < 0.5:
            # They are frequent and short. Somewhat later the log is truncated. Not waited for longer
            # than the log is retained for: the writers go on.
            later = self.random.choice([0, 0, self.random.random() * 0.01])
            give_up = time.monotonic() + 0.15
            while time.monotonic() < give_up and not self.in_a_checkpoint(victims[0]):
                pass
            time.sleep(later)
        self.kill(victims)
        if len(victims) == 1 and victims[0] is not self.cluster.leader:
            # The others are a majority: they go on, and it will have something to catch up with.
            self.wait_for_acks(self.random.randrange(1, 2000))
        self.random.shuffle(victims)
        for node in victims:
            node.start()
        if self.random.random() < 0.25:
            # Once more, anywhere in its recovery.
            again = self.random.choice(victims)
            give_up = time.monotonic() + self.random.random() * 0.1
            while time.monotonic() < give_up and again.running():
                time.sleep(0.001)
            self.kill([again])
            again.start()
        for node in self.cluster.nodes:
            node.wait_ready(PATIENCE)
        self.check_round(self.cluster.leader in victims)

    def check_round(self, leader_was_killed):
        """All that was acknowledged since the last check, after the crash; the writers go on."""
        for writer in self.writers:
            writer.read()
        node = self.random.choice(self.cluster.nodes)
        status = {one["node"]: one for one in self.cluster.status()}
        if leader_was_killed:
            self.assertGreater(status[1]["epoch"], self.epoch, "each start of a leader is an epoch")
        self.epoch = status[1]["epoch"]
        if status[node.number]["begin"] > 64:
            self.margin = min(self.margin, self.checked_to - status[node.number]["begin"])
        end, events = read_log(self.cluster, node.server, self.checked_to)
        for writer in self.writers:
            writer.check_events(events, end, f"node {node.number}")
            self.versions[writer.name] = writer.check_stream(
                self.cluster, node.server, f"node {node.number}", self.versions.get(writer.name, 0))
            writer.check_state_while_writing()
        self.checked_to = end

    def read_all(self, node):
        """From its begin, which a last truncation may still move while we read."""
        for _ in range(20):
            begin = {one["node"]: one["begin"] for one in self.cluster.status()}[node.number]
            try:
                return read_log(self.cluster, node.server, max(64, begin))
            except AssertionError as error:
                if "was truncated" not in str(error) and "is below begin" not in str(error):
                    raise
        raise AssertionError(f"node {node.number} truncates its log again and again")

    def finish(self):
        # On a slow machine the rounds are over before so much is written.
        wait_until("the log is truncated",
                   lambda: all(one["begin"] > 64 for one in self.cluster.status()), PATIENCE)
        began = self.cluster.nodes[0].metric("tailrace_log_address_bytes", watermark="begin")
        for writer in self.writers:
            writer.end()
        nodes = self.cluster.wait_equal(PATIENCE)
        for node, status in zip(self.cluster.nodes, nodes):
            where = f"node {node.number}"
            end, events = self.read_all(node)
            for writer in self.writers:
                writer.check_events(events, end, where)
                writer.check_stream(self.cluster, node.server, where)
                writer.check_state_at_end(writer.get("any", node.server), where)
        for writer in self.writers:
            writer.check_events_at_end()
            print(writer.name, {" ".join(key): count
                                for key, count in sorted(writer.results.items())}, flush=True)
        self.cluster.run("verify")
        for node in self.cluster.nodes:
            node.stop()
        print(f"{self.kills} kills, {self.in_checkpoint} in a checkpoint; epoch {nodes[0]['epoch']}; "
              f"{nodes[0]['durable']} bytes written, begin {began:.0f}, "
              f"{self.margin} bytes kept below what was to be checked", flush=True)

    def test_one_node(self):
        self.run_loop(1)

    def test_three_nodes(self):
        self.run_loop(3)


unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
