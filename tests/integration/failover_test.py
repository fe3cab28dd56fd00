"""Nodes that choose their leader through a real etcd: leaders are killed, stopped, cut off and asked to
go, etcd is killed and comes back, and nothing that was acknowledged is lost or done twice.

Usage: failover_test.py TAILRACE ACK_WRITER JUDGE_HISTORY [unittest arguments]
"""
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import network
from ack_log import Writer, read_log
from cluster import Cluster, end_with_parent, explained, wait_until
from etcd import INSTALLED, Etcd

TAILRACE, ACK_WRITER, JUDGE = sys.argv[1:4]
PATIENCE = 120  # seconds; for a machine that is busy with other things
LEASE = 3
SETTINGS = """
log: {page_bytes: 1 MiB, buffer_pages: 8, segment_bytes: 64 MiB}
store: {memory_bytes: 96 MiB, page_bytes: 1 MiB, index_buckets: 4096}
state_machine: {checkpoint_log_bytes: 1 MiB, retention_bytes: 1 GiB}
"""


class Base(unittest.TestCase):
    def setUp(self):
        if not INSTALLED:
            self.skipTest("NOT TESTED: there is no etcd on this machine")
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.net = self.make_network()
        directory = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="tailrace-test-"))
        self.etcd = Etcd(directory, *((self.net.host(0), self.net.inside(0)) if self.net else ()))
        self.stack.callback(self.etcd.kill)
        self.etcd.start()
        self.nodes = Cluster(TAILRACE, 3, SETTINGS, server="max_value_bytes: 64 KiB, ",
                             coordinator=self.etcd.coordinator, network=self.net)
        self.stack.callback(self.nodes.__exit__)
        for node in self.nodes.nodes:
            node.start()
        self.nodes.serving(PATIENCE)
        self.wait_for_votes()

    def make_network(self):
        return None

    def wait_for_votes(self):
        """From then on a majority is enough."""
        wait_until("every vote counts",
                   lambda: all(node.get("vote") == "full" for node in self.nodes.status()), PATIENCE)

    @contextlib.contextmanager
    def load(self):
        self.writer = Writer(ACK_WRITER, "load", self.nodes.servers, self.nodes.directory,
                             "--in-flight", 64, "--timeout", 60)
        try:
            with explained(lambda: f"{self.writer.describe()}\n{self.nodes.describe()}"):
                yield
        finally:
            self.writer.close()

    def wait_for_acks(self, more, seconds=PATIENCE):
        self.writer.wait_for_acks(more, seconds)

    def unknown(self):
        self.writer.read()
        return sum(count for (_, result), count in self.writer.results.items()
                   if result == "unknown")

    def check_all(self):
        """Ends the writer; all that it was told is true on every node."""
        self.writer.end()
        head = self.nodes.serving(PATIENCE)

        def equal():
            nodes = self.nodes.status()
            return all(node["applied"] == nodes[head.number - 1]["durable"] for node in nodes)

        wait_until("all nodes have applied the whole log", equal, PATIENCE)
        for node in self.nodes.nodes:
            where = f"node {node.number}"
            end, events = read_log(self.nodes, node.server, 64)
            self.writer.check_events(events, end, where)
            self.writer.check_stream(self.nodes, node.server, where)
            self.writer.check_state_at_end(self.writer.get("any", node.server), where)
        self.writer.check_events_at_end()
        self.nodes.run("verify")


class Processes(Base):
    def test_leaders_are_killed(self):
        times = []
        with self.load():
            for _ in range(int(os.environ.get("TAILRACE_FAILOVERS", 3))):
                self.wait_for_acks(1000)
                leader = self.nodes.serving()
                leader.kill()
                began = time.monotonic()
                self.nodes.serving(PATIENCE, other_than=leader)
                self.wait_for_acks(1)
                times.append(time.monotonic() - began)
                leader.start().wait_ready(PATIENCE)
            self.wait_for_acks(500)
            self.check_all()
        times.sort()
        print(f"{len(times)} leaders killed; writes went on after {times[0]:.2f} to {times[-1]:.2f} s,"
              f" median {times[len(times) // 2]:.2f} s", flush=True)

    def test_a_leader_that_is_stopped_finds_itself_a_follower(self):
        with self.load():
            self.wait_for_acks(1000)
            leader = self.nodes.serving()
            leader.process.send_signal(signal.SIGSTOP)
            try:
                other = self.nodes.serving(PATIENCE, other_than=leader)
                self.wait_for_acks(500)
            finally:
                leader.process.send_signal(signal.SIGCONT)
            wait_until("it follows", lambda: {one["node"]: one for one in self.nodes.status()}[
                leader.number]["role"] == "follower", PATIENCE)
            leader.wait_ready(PATIENCE)
            self.assertIs(self.nodes.serving(), other)
            self.check_all()

    def test_a_planned_hand_over_costs_no_request(self):
        with self.load():
            for _ in range(4):
                self.wait_for_acks(500)
                leader = self.nodes.serving()
                successor = self.nodes.nodes[leader.number % 3]
                self.nodes.transfer(successor.number)
                self.assertIs(self.nodes.serving(), successor)
            self.wait_for_acks(500)
            # SIGTERM hands over first.
            leader = self.nodes.serving()
            leader.stop()
            self.assertIsNot(self.nodes.serving(2.5), leader, "long before the lease would end")
            leader.start().wait_ready(PATIENCE)
            self.assertEqual(self.unknown(), 0, "every request was answered")
            self.check_all()

    def test_a_leader_goes_on_without_etcd(self):
        with self.load():
            self.wait_for_acks(500)
            leader, epoch = self.nodes.serving(), max(n["epoch"] for n in self.nodes.status())
            self.etcd.kill()
            began = time.monotonic()
            while time.monotonic() - began < 2 * LEASE:
                self.wait_for_acks(200)
                time.sleep(0.2)
            nodes = self.nodes.status()
            self.assertEqual({node["epoch"] for node in nodes}, {epoch})
            for node in nodes:
                self.assertIn("etcd", node["coordinator_problem"])
            self.assertEqual(leader.metric("tailrace_coordinator_reachable"), 0)
            self.etcd.start()
            wait_until("the nodes hear from etcd again", lambda: not any(
                node["coordinator_problem"] for node in self.nodes.status()), PATIENCE)
            self.wait_for_acks(500)
            self.check_all()

    def test_a_node_that_lost_its_disk_comes_back_and_votes(self):
        with self.load():
            self.wait_for_acks(500)
            leader = self.nodes.serving()
            lost = self.nodes.nodes[leader.number % 3]
            lost.kill()
            self.wait_for_acks(500)
            lost.data.rename(lost.directory / "lost")
            lost.start().wait_ready(PATIENCE)
            self.wait_for_votes()
            leader.kill()
            self.nodes.serving(PATIENCE, other_than=leader)
            self.wait_for_acks(200)
            leader.start().wait_ready(PATIENCE)
            self.check_all()


    def test_what_clients_see_of_it_is_linearizable(self):
        path = self.nodes.directory / "history.jsonl"
        load = subprocess.Popen(
            [TAILRACE, "bench", "service", "--server", self.nodes.servers, "--history", str(path),
             "--seconds", "20", "--timeout", "1"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            preexec_fn=end_with_parent)
        self.addCleanup(lambda: (load.kill(), load.communicate()))
        time.sleep(1)
        for number in (signal.SIGKILL, signal.SIGSTOP):
            leader = self.nodes.serving()
            leader.process.send_signal(number)
            self.nodes.serving(PATIENCE, other_than=leader)
            time.sleep(1)
            if number == signal.SIGSTOP:
                leader.process.send_signal(signal.SIGCONT)
            else:
                leader.process.wait(timeout=PATIENCE)
                leader.start()
            leader.wait_ready(PATIENCE)
        successor = self.nodes.nodes[self.nodes.serving().number % 3]
        self.nodes.transfer(successor.number)
        _, errors = load.communicate(timeout=PATIENCE)
        self.assertEqual(load.returncode, 0, errors)
        judged = subprocess.run([JUDGE, str(path)], capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(judged.returncode, 0, judged.stdout + judged.stderr)
        print(judged.stdout, flush=True)


class Partitions(Base):
    def make_network(self):
        if why := network.why_not():
            self.skipTest(f"NOT TESTED: {why}")
        net = network.Network(3)
        self.stack.callback(net.close)
        return net

    def put(self, key, value, server=None, timeout=30, check=True):
        return self.nodes.run("put", key, value, "--timeout", timeout, server=server, check=check)

    def get(self, key, server=None, timeout=30, check=True, read="linearizable"):
        return self.nodes.run("get", key, "--read", read, "--timeout", timeout, server=server,
                              check=check)

    def test_a_leader_that_is_cut_off_answers_nothing(self):
        self.put("k", "old")
        leader = self.nodes.serving()
        others = ",".join(node.server for node in self.nodes.nodes if node is not leader)
        self.net.cut_off(leader.number)
        # Asked on its own machine, where it believes for a while that it leads.
        alone = self.net.inside(leader.number)
        self.nodes.inside, outside = alone, self.nodes.inside
        write = self.put("k", "lost", server=leader.server, timeout=2, check=False)
        self.assertNotEqual(write.returncode, 0, "a write without a majority is not acknowledged")
        self.nodes.inside = outside
        self.nodes.serving(PATIENCE, other_than=leader)
        self.put("k", "new", server=others)
        self.nodes.inside = alone
        read = self.get("k", server=leader.server, timeout=2, check=False)
        self.assertNotEqual(read.returncode, 0, f"it cannot know the newest value: {read.stdout}")
        self.nodes.inside = outside
        self.assertEqual(self.get("k", server=others).stdout, b"new")
        self.net.join(leader.number)
        self.nodes.serving(PATIENCE)
        wait_until("it has the new value", lambda: self.get(
            "k", server=leader.server, read="bounded=1000ms", check=False).stdout == b"new", PATIENCE)
        self.nodes.run("verify", timeout=PATIENCE)

    def test_a_leader_with_etcd_and_without_followers_gives_up(self):
        self.put("k", "1")
        leader = self.nodes.serving()
        others = [node for node in self.nodes.nodes if node is not leader]
        for node in others:
            self.net.drop(leader.number, node.number)
        self.nodes.serving(PATIENCE, other_than=leader)
        self.put("k", "2", server=",".join(node.server for node in others))
        for node in others:
            self.net.mend(leader.number, node.number)
        wait_until("all follow", lambda: self.get(
            "k", server=leader.server, read="bounded=1000ms", check=False).stdout == b"2", PATIENCE)
        self.nodes.run("verify", timeout=PATIENCE)

    def test_a_follower_that_hears_and_is_not_heard(self):
        leader = self.nodes.serving()
        follower = self.nodes.nodes[leader.number % 3]
        self.net.drop(follower.number, leader.number)
        for number in range(20):
            self.put("k", number)
        self.net.mend(follower.number, leader.number)
        self.nodes.serving(PATIENCE)
        wait_until("it is back", lambda: self.get(
            "k", server=follower.server, read="bounded=1000ms", check=False).stdout == b"19",
            PATIENCE)
        self.nodes.run("verify", timeout=PATIENCE)

    def lose(self, number, percent):
        if why := self.net.lose(number, percent):
            self.skipTest(f"NOT TESTED: this kernel's nftables cannot lose packets at random ({why})")

    def test_a_network_that_loses_much_of_what_is_sent(self):
        for number in (1, 2, 3):
            self.lose(number, 10)
        for number in range(30):
            self.put("k", number, timeout=60)
        lost = sum(self.net.lose_nothing(number) for number in (1, 2, 3))
        self.assertGreater(lost, 0)
        self.assertEqual(self.get("k").stdout, b"29")
        self.nodes.run("verify", timeout=PATIENCE)

    def test_a_leader_of_whose_words_many_are_lost_and_who_hears_all(self):
        leader = self.nodes.serving(PATIENCE)
        self.lose(leader.number, 30)
        for number in range(20):
            self.put("k", number, timeout=60)
        self.assertGreater(self.net.lose_nothing(leader.number), 0)
        self.nodes.serving(PATIENCE)
        self.assertEqual(self.get("k").stdout, b"19")
        self.nodes.run("verify", timeout=PATIENCE)


# A test that is told to stop goes through its cleanups.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
