"""Faults in a real cluster of three nodes that a real Prometheus watches: each fires its alert in time, and nothing
else fires that is not named as a consequence.

Prometheus loads the rules of deploy/monitoring/prometheus, with each `for:` and range FACTOR times as short (rules.py,
scaled): fifteen minutes are fifteen seconds. The cluster's own times, as peer_timeout, stay as they are.

Usage: faults_test.py TAILRACE TAMPER_STATE [unittest arguments]
"""
import contextlib
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration")]
import rules  # noqa: E402
import small_disk  # noqa: E402
from cluster import SMALL_LOG, Cluster, wait_until  # noqa: E402
from freezing_disk import FreezingDisk, why_not_freezing  # noqa: E402
from watcher import Watcher  # noqa: E402

TAILRACE, TAMPER_STATE = sys.argv[1:3]
FACTOR = 60
PATIENCE = 45  # seconds, for a machine that is busy with other things
DISK_MEBIBYTES = 256
# Disks are small, and checkpoints are frequent enough that their age is noticed.
SETTINGS = SMALL_LOG.replace("  segment_bytes: 2 MiB\n", "  segment_bytes: 2 MiB\n  reserve_disk_bytes: 1 MiB\n", 1) + \
    "state_machine: {checkpoint_interval: 2 s}\n"
REPLICATION = "  digest_interval: 1 s\n"
# What the machine itself may be like.
OF_THE_MACHINE = {"IoQueuePosix", "DiskLow", "DiskForecast"}


class Writer:
    """Puts, a few each second: what watches the cluster must not be slow because of them."""

    def __init__(self, cluster):
        self.cluster, self.stopping = cluster, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        number = 0
        while not self.stopping.wait(0.08):
            number += 1
            self.cluster.run("put", f"written{number % 50}", "v" * 100, "--timeout", 2, check=False)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()


class Faults(unittest.TestCase):
    def setUp(self):
        if shutil.which("prometheus") is None:
            self.skipTest("NOT TESTED: there is no prometheus server on this machine")
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.table = []
        self.standing = set()  # alerts that may fire, as (name, node)

    def start(self):
        """Three nodes. Where it may be mounted, node 2 has a disk that can be frozen, and node 3 a small one."""
        self.cluster = Cluster(TAILRACE, 3, SETTINGS, replication=REPLICATION)
        self.stack.callback(self.cluster.__exit__)
        _, second, third = self.cluster.nodes
        self.why_no_disk, self.why_no_freezing = small_disk.why_not(), why_not_freezing()
        if not self.why_no_freezing:
            self.frozen = FreezingDisk(second.data, DISK_MEBIBYTES)
            self.stack.callback(self.frozen.close)
        if not self.why_no_disk:
            self.disk = small_disk.SmallDisk(third.data, DISK_MEBIBYTES)
            self.stack.callback(self.disk.close)
        # Processes go before their disks.
        self.stack.callback(lambda: [node.kill() for node in self.cluster.nodes if node.running()])
        for node in self.cluster.nodes:
            node.start()
        for node in self.cluster.nodes:
            node.wait_ready()
        self.cluster.run("put", "key7", "value")
        directory = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="tailrace-test-"))
        self.stack.enter_context(Writer(self.cluster))
        self.watcher = self.stack.enter_context(Watcher(self.cluster, directory, FACTOR))

    def unexpected(self, allowed):
        return {key for key in self.watcher.now_firing() if key not in allowed | self.standing}

    @contextlib.contextmanager
    def fault(self, what, expected, consequences=(), lingers=(), stays=False):
        """The block makes the fault and mends it. `expected` and `consequences` are (name, node). What `lingers` looks
        back at a longer time, and may fire until the end; with `stays` all of them may."""
        print(f"{what}", flush=True)
        allowed = set(expected) | set(consequences) | set(lingers)
        began = time.monotonic()
        yield began, allowed
        if stays:
            self.standing |= allowed
            return
        self.standing |= set(lingers)

        def quiet():
            self.assertEqual(self.unexpected(allowed), set(), f"after: {what}")
            return not set(self.watcher.now_firing()) - self.standing

        wait_until(f"nothing fires after: {what}", quiet, PATIENCE, 0.1)

    def expect(self, what, began, expected, allowed):
        """All of them fire, each within its hold and what it takes until the fault shows; nothing else does."""
        alerts, waiting = rules.alerts(), set(expected)
        while waiting:
            firing = self.watcher.now_firing()
            self.assertEqual(self.unexpected(allowed), set(), what)
            for key in waiting & set(firing):
                hold = rules.seconds_of(alerts[key[0]].hold) / FACTOR
                self.table.append((what, *key, self.watcher.began[key] - began, hold))
                self.assertNotRegex(" ".join(firing[key].values()), r"error expanding|no value|NaN", key)
                waiting.remove(key)
            self.assertLess(time.monotonic() - began, PATIENCE, f"{what}: {waiting} did not fire; {set(firing)}")
            time.sleep(0.05)

    def test_each_fault_fires_its_alert_and_nothing_else(self):
        self.start()
        self.healthy()
        self.stopped_follower_and_no_checkpoints()
        self.full_disk()
        self.slow_disk()
        self.wrong_state()
        self.killed_leader()
        self.tell()
        self.assertEqual(self.watcher.errors, set(), "each rule can be evaluated, whatever happens")

    def healthy(self):
        print("nothing", flush=True)
        began = time.monotonic()
        while time.monotonic() - began < 6:
            of_machine = {key for key in self.watcher.now_firing() if key[0] in OF_THE_MACHINE}
            if of_machine - self.standing:
                print(f"NOT TESTED: {of_machine} fire because of this machine", flush=True)
                self.standing |= of_machine
            self.assertEqual(self.unexpected(set()), set())
            time.sleep(0.1)

    def stopped_follower_and_no_checkpoints(self):
        second, third = self.cluster.nodes[1:]
        expected = {("NodeDown", 3), ("QuorumAtRisk", 0), ("CheckpointsFail", 2), ("CheckpointOld", 2)}
        what = "node 3 is stopped; node 2 has a file where its checkpoints should be"
        with self.fault(what, expected, {("FollowerLag", 3), ("CheckpointOld", 3)}, {("CheckpointsFail", 2)}) as (
                began, allowed):
            third.process.send_signal(signal.SIGSTOP)
            checkpoints, aside = second.data / "store/checkpoints", second.data / "store/aside"
            checkpoints.rename(aside)
            checkpoints.touch()
            try:
                self.expect(what, began, expected, allowed)
            finally:
                third.process.send_signal(signal.SIGCONT)
                checkpoints.unlink()
                aside.rename(checkpoints)

    def full_disk(self):
        if self.why_no_disk:
            print(f"NOT TESTED: a full disk: {self.why_no_disk}", flush=True)
            return
        what = "the disk of node 3 is full"
        consequences = {(name, 3) for name in ("StoreNearBudget", "CheckpointOld", "FlushStuck", "FollowerLag")}
        lingers = {("DiskForecast", 3), ("CheckpointsFail", 3)}
        with self.fault(what, {("DiskLow", 3)}, consequences, lingers) as (began, allowed):
            self.disk.fill()
            try:
                self.expect(what, began, {("DiskLow", 3)}, allowed)
            finally:
                self.disk.make_room()

    def slow_disk(self):
        if self.why_no_freezing:
            print(f"NOT TESTED: a slow disk: {self.why_no_freezing}", flush=True)
            return
        # What was begun while it was slow ends late.
        consequences = {(name, 2) for name in ("CheckpointOld", "FollowerLag", "FlushSlow", "LoopLate", "NotReady")}
        what = "the disk of node 2 stands still again and again"
        with self.fault(what, {("FlushSlow", 2)}, consequences) as (began, allowed):
            with self.frozen.slow(0.4, 0.05):
                self.expect(what, began, {("FlushSlow", 2)}, allowed)
        what = "the disk of node 2 stands still"
        with self.fault(what, {("FlushStuck", 2)}, consequences) as (began, allowed):
            with self.frozen.frozen():
                self.expect(what, began, {("FlushStuck", 2)}, allowed)

    def wrong_state(self):
        third = self.cluster.nodes[2]
        what = "the state of node 3 is another one"
        consequences = {("NodeDown", 3)}  # while it is down
        with self.fault(what, {("Diverged", 3)}, consequences, stays=True) as (_, allowed):
            self.cluster.run("checkpoint", server=third.server)
            third.stop()
            subprocess.run([TAMPER_STATE, str(third.data / "store"), "test/3", "key7", "tampered"], check=True,
                           timeout=60)
            third.start()
            self.expect(what, time.monotonic(), {("Diverged", 3)}, allowed)

    def killed_leader(self):
        what = "the leader is killed"
        expected = {("NoLeader", 0), ("NodeDown", 1)}
        with self.fault(what, expected, stays=True) as (began, allowed):
            self.cluster.leader.kill()
            self.expect(what, began, expected, allowed)

    def tell(self):
        print(f"\n{'fault':<70} {'alert':<16} {'node':>4} {'after':>8} {'its for':>8}")
        for what, name, node, after, hold in self.table:
            print(f"{what:<70} {name:<16} {node or 'all':>4} {after:>6.1f} s {hold:>6.1f} s")
        print(f"Times are {FACTOR} times as short as in the rules.", flush=True)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
