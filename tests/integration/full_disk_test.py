"""Nodes whose disk is full: what was acknowledged stays, what cannot be written is refused, everybody is
told why, and once there is room the node is as good as before.

Usage: full_disk_test.py TAILRACE ACK_WRITER [unittest arguments]
Environment: TAILRACE_SCENARIOS=large makes the test of event files long.
"""
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import unittest

import small_disk
from ack_log import Writer, read_log
from cluster import Cluster, explained, wait_until
from etcd import INSTALLED, Etcd

TAILRACE, ACK_WRITER = sys.argv[1:3]
LARGE = os.environ.get("TAILRACE_SCENARIOS") == "large"
PATIENCE = 120  # seconds; for a machine that is busy with other things
DISK_MEBIBYTES = 256
BYTES = random.Random(1)

# New segments and checkpoints all the time, and a log that is kept: only the filler makes the difference.
SETTINGS = """
log: {page_bytes: 256 KiB, buffer_pages: 8, segment_bytes: 256 KiB, reserve_disk_bytes: 1 MiB}
store: {memory_bytes: 96 MiB, page_bytes: 1 MiB, index_buckets: 4096}
state_machine: {checkpoint_log_bytes: 1 MiB, retention_bytes: 1 GiB}
"""
SHORTAGE = "has no room for the log's next segment"


class MiddleOfAFile:
    """Fills the disk of a history as soon as a part of an event file is on it. `met`: once it has."""

    def __init__(self, disk):
        self.disk, self.met, self.over = disk, False, False
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while not self.met and not self.over:
            for file in self.disk.directory.glob("*.tmp"):
                with contextlib.suppress(FileNotFoundError):
                    if file.stat().st_size > 0:
                        self.disk.fill()
                        # It may have come to its end before.
                        self.met = file.exists() or self.disk.make_room()
            time.sleep(0.001)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join()


class FullDisk(unittest.TestCase):
    def setUp(self):
        if why := small_disk.why_not():
            self.skipTest(f"NOT TESTED: {why}")
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)

    @contextlib.contextmanager
    def load(self, **options):
        """Three nodes, each with a small disk of its own, and a writer."""
        self.nodes = Cluster(TAILRACE, 3, SETTINGS, server="max_value_bytes: 64 KiB, ", **options)
        self.stack.callback(self.nodes.__exit__)
        self.disks = {}
        for node in self.nodes.nodes:
            disk = small_disk.SmallDisk(node.data, DISK_MEBIBYTES)
            # Before the directory goes, and after the processes have gone.
            self.stack.callback(disk.close)
            self.stack.callback(lambda node=node: node.running() and node.kill())
            self.disks[node.number] = disk
            node.start()
        self.nodes.serving(PATIENCE)
        wait_until("every vote counts",
                   lambda: all(node.get("vote") == "full" for node in self.nodes.status()), PATIENCE)
        # Few at a time: all that they write is read back in the end.
        self.writer = Writer(ACK_WRITER, "load", self.nodes.servers, self.nodes.directory,
                             "--in-flight", 8, "--adders", 1, "--timeout", 10)
        self.stack.callback(self.writer.close)
        with explained(lambda: f"{self.writer.describe()}\n{self.nodes.describe()}"):
            self.wait_for_acks(1000)
            yield

    def wait_for_acks(self, more):
        self.writer.wait_for_acks(more, PATIENCE)

    def refusals(self):
        self.writer.read()
        return sum(count for (_, result), count in self.writer.results.items() if result == "fail")

    def status_of(self, node):
        done = self.nodes.run("status", "--json", "--only-named", "--timeout", 10, server=node.server, check=False)
        return json.loads(done.stdout)[0]

    def fill(self, node):
        """Until it has no room, and everyone who asks is told why: a follower's log has none for what comes; a
        leader takes nothing that its store could not apply, so its log does not come to that."""
        leads = node is self.nodes.serving(PATIENCE)
        def told():
            # What it gave back meanwhile is taken, too.
            self.disks[node.number].fill()
            return ("would be refused" if leads else SHORTAGE) in node.http("/readyz")[1]

        wait_until(f"node {node.number} says that its disk is full", told, PATIENCE, pause=0.2)
        self.assertEqual(node.http("/readyz")[0], 503)
        self.assertIn("free disk space" if leads else "the disk of data_dir/log", self.status_of(node)["problem"])
        self.assertNotIn(str(node.data), json.dumps(self.status_of(node)))
        self.assertTrue(node.running(), "it waits for room; nothing has failed")

    def check_all(self):
        """Ends the writer; all that it was told is true on every node."""
        self.writer.end()
        head = self.nodes.serving(PATIENCE)

        def equal():
            # One that was started just now may not listen yet.
            done = self.nodes.run("status", "--json", check=False)
            nodes = json.loads(done.stdout) if done.returncode == 0 else []
            return nodes and all(node["applied"] == nodes[head.number - 1]["durable"] for node in nodes)

        wait_until("all nodes have applied the whole log", equal, PATIENCE)
        for node in self.nodes.nodes:
            node.wait_ready(PATIENCE)
            where = f"node {node.number}"
            end, events = read_log(self.nodes, node.server, 64)
            self.writer.check_events(events, end, where)
            self.writer.check_stream(self.nodes, node.server, where)
            self.writer.check_state_at_end(self.writer.get("any", node.server), where)
        self.writer.check_events_at_end()
        self.nodes.run("verify", timeout=PATIENCE)
        print(self.writer.describe().strip(), flush=True)

    # A follower without room costs the cluster no write, follows whoever leads next, and catches up by itself
    # once it has room.
    def test_a_follower_goes_on_when_there_is_room_again(self):
        with self.load():
            follower = self.nodes.nodes[1]
            self.fill(follower)
            self.wait_for_acks(1000)
            self.assertLess(self.status_of(follower)["durable"],
                            self.status_of(self.nodes.leader)["durable"])
            self.assertEqual(self.refusals(), 0, "the others are a majority")
            for leader in (3, 1, 3):  # each is promised its epoch, on the full disk
                self.disks[follower.number].fill()
                self.nodes.transfer(leader)
                wait_until(f"it follows node {leader}",
                           lambda leader=leader: self.status_of(follower).get("source") == leader, PATIENCE)
                self.assertTrue(follower.running(), follower.errors())
            self.wait_for_acks(500)
            self.assertIn(SHORTAGE, follower.http("/readyz")[1])
            self.disks[follower.number].make_room()
            self.check_all()

    # What a follower had on its full disk it can start from: full, and later with room.
    def test_a_follower_is_killed_while_its_disk_is_full(self):
        with self.load():
            follower = self.nodes.nodes[1]
            self.fill(follower)
            self.assertEqual(follower.kill(), -signal.SIGKILL)
            self.wait_for_acks(500)
            follower.start()
            wait_until("it has started, or has said why it cannot", lambda: not follower.running() or
                       self.status_of(follower).get("role") == "follower", PATIENCE)
            if not follower.running():
                self.assertIn(str(follower.data), follower.errors())
                self.assertIn("No space left", follower.errors())
            self.assertEqual(self.refusals(), 0, "the others are a majority")
            self.disks[follower.number].make_room()
            if follower.running():
                follower.kill()
            follower.start()
            self.wait_for_acks(500)
            self.check_all()

    def leader_is_full(self):
        leader = self.nodes.serving(PATIENCE)
        self.fill(leader)

        def only_refusals():
            acknowledged, refused = self.writer.read(), self.refusals()
            time.sleep(0.5)
            return self.writer.read() == acknowledged and self.refusals() > refused

        # Until the last small one has found its place. None waits for its time limit.
        wait_until("every write is refused at once", only_refusals, PATIENCE)
        event = self.nodes.run("append", "--stream", "s", server=leader.server, check=False,
                               input=b"e" * 200 + b"\n")
        self.assertEqual(event.returncode, 4, event)
        self.assertIn("free disk space", event.stderr.decode())
        put = self.nodes.run("put", "k", "v" * 200, server=leader.server, check=False)
        self.assertEqual(put.returncode, 4, put)
        self.assertIn("free disk space", put.stderr.decode())
        got = self.nodes.run("get", "load/sum", server=leader.server)
        self.assertTrue(got.stdout, "reads need no room")
        return leader

    # An orchestrator, and who looks at the status, learns of a leader's full disk before a client does.
    def test_a_leader_is_not_ready_before_it_refuses_anything(self):
        with self.load():
            self.writer.end()
            leader = self.nodes.serving(PATIENCE)
            leader.wait_ready()
            self.assertEqual(self.status_of(leader)["problem"], "")

            def told():
                self.disks[leader.number].fill()
                return leader.http("/readyz")[0] == 503

            wait_until("it says that it would refuse a write", told, PATIENCE, pause=0.2)
            self.assertIn("free disk space", leader.http("/readyz")[1])
            self.assertIn("would be refused", self.status_of(leader)["problem"])
            self.assertEqual(leader.http("/healthz")[0], 200)
            self.assertEqual(self.refusals(), 0)
            put = self.nodes.run("put", "k", "v" * 200, server=leader.server, check=False)
            self.assertEqual(put.returncode, 4, put)
            # The others have room, and say nothing.
            for node in self.nodes.nodes:
                self.assertEqual(node.http("/readyz")[0], 503 if node is leader else 200)
            self.disks[leader.number].make_room()
            leader.wait_ready(PATIENCE)
            self.nodes.run("put", "k", "v" * 200, server=leader.server)

    # A leader without room refuses every write, and says why; with room it takes them again.
    def test_a_leader_refuses_until_there_is_room_again(self):
        with self.load():
            leader = self.leader_is_full()
            self.disks[leader.number].make_room()
            self.wait_for_acks(1000)
            self.check_all()

    # Nothing acknowledged is lost with a leader that is killed on its full disk; another one takes over.
    def test_a_leader_with_a_full_disk_is_replaced(self):
        if not INSTALLED:
            self.skipTest("NOT TESTED: there is no etcd on this machine")
        directory = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="tailrace-test-"))
        etcd = Etcd(directory)
        self.stack.callback(etcd.kill)
        etcd.start()
        with self.load(coordinator=etcd.coordinator):
            leader = self.leader_is_full()
            self.assertEqual(leader.kill(), -signal.SIGKILL)
            self.nodes.serving(PATIENCE, other_than=leader)
            self.wait_for_acks(1000)
            self.disks[leader.number].make_room()
            leader.start()
            self.wait_for_acks(1000)
            self.check_all()

    # The disk fills in the middle of an event file: the log stays until its events are in files, no event is lost,
    # and it goes on by itself.
    def test_history_waits_for_room_in_the_middle_of_a_file(self):
        turns = 20 if LARGE else 2
        # A file has a segment's events: long enough to be met while it is written.
        settings = SETTINGS.replace("segment_bytes: 256 KiB", "segment_bytes: 16 MiB").replace(
            "retention_bytes: 1 GiB", "retention_bytes: 0")
        self.nodes = Cluster(TAILRACE, 3, settings, server="max_value_bytes: 64 KiB, ")
        self.stack.callback(self.nodes.__exit__)
        node = self.nodes.nodes[2]
        # Of its history alone: else it would be the checkpoint that waits.
        disk = small_disk.SmallDisk(node.data / "history", 64 + 32 * turns)
        self.stack.callback(disk.close)
        self.stack.callback(lambda: node.running() and node.kill())
        self.nodes.__enter__().wait_version()
        sent, reasons = [], set()
        with explained(self.nodes.describe):
            for _ in range(turns):
                with MiddleOfAFile(disk) as middle:
                    while not middle.met:
                        self.append_events(sent)
                wait_until("history waits for room", lambda: self.held_back(node), PATIENCE)
                reasons.add(self.held_back(node).partition(": ")[2])
                waits_at = node.metric("tailrace_truncation_anchor_address_bytes", anchor="history")
                self.append_events(sent, 20_000)  # the next file, too
                self.nodes.run("checkpoint", timeout=PATIENCE)
                self.assertTrue(self.held_back(node))
                self.assertEqual(node.metric("tailrace_truncation_limit_address_bytes"), waits_at)
                self.assertLessEqual(node.metric("tailrace_log_address_bytes", watermark="begin"), waits_at)
                disk.make_room()
                wait_until("history goes on", lambda: not self.held_back(node), PATIENCE)
            self.append_events(sent)
            self.nodes.wait_equal(PATIENCE)
            wait_until("all have the same files", self.same_histories, PATIENCE, pause=0.3)
            begin = node.metric("tailrace_log_address_bytes", watermark="begin")
            self.assertGreater(begin, waits_at)
            for each in self.nodes.nodes:
                done = self.nodes.run("read", "events-1", "--read", "any", server=each.server)
                self.assertEqual(done.stdout.decode().splitlines(), sent, f"node {each.number}")
        print(f"{len(sent)} events; it waited for: {sorted(reasons)}", flush=True)

    def append_events(self, sent, count=2000):
        # Nothing that compresses well: then a file is long.
        lines = [f"{len(sent) + number:08} {BYTES.randbytes(500).hex()}" for number in range(count)]
        self.nodes.run("append", "events-1", input="".join(line + "\n" for line in lines).encode(), timeout=PATIENCE)
        sent += lines

    def held_back(self, node):
        """Why the node writes no event file; empty: it does, or has none to write."""
        self.nodes.run("put", "k", "v")  # else no checkpoint is due
        done = self.nodes.run("history", "status", "--json", "--only-named", server=node.server, check=False)
        return json.loads(done.stdout)["nodes"][0].get("trouble", "") if done.returncode == 0 else ""

    def same_histories(self):
        self.nodes.run("put", "k", "v")
        return self.nodes.run("verify", "--history", check=False).returncode == 0

    # A leader without room can hand over, and follows the next one.
    def test_a_leader_with_a_full_disk_hands_over(self):
        with self.load():
            leader = self.leader_is_full()
            self.nodes.transfer(2)
            self.assertIsNot(self.nodes.serving(PATIENCE), leader)
            self.wait_for_acks(1000)
            # Its promise to follow is on its disk when it has a stream.
            wait_until("the old leader follows", lambda: self.status_of(leader).get("source"), PATIENCE)
            self.disks[leader.number].make_room()
            self.check_all()


# A test that is told to stop goes through its cleanups: mounts would be left behind.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
