"""The main job in small: a package history carried by three real nodes, through kills and restarts.

Usage: main_job_test.py TAILRACE [unittest arguments]
"""
import concurrent.futures
import json
import random
import signal
import sys
import unittest
import zlib

from cluster import Cluster, wait_until

TAILRACE = sys.argv[1]
PATIENCE = 120  # seconds; for a machine that is busy with other things

# Small enough that one test fills several segments; checkpoints come when they are asked for.
SETTINGS = """
log: {page_bytes: 256 KiB, buffer_pages: 8, segment_bytes: 256 KiB}
store: {memory_bytes: 64 MiB, page_bytes: 1 MiB, index_buckets: 4096}
state_machine: {checkpoint_log_bytes: 1 GiB, checkpoint_interval: 0 s}
"""
SEGMENT = 256 << 10
SERVER = "max_value_bytes: 64 KiB, "


def history(seed, lines):
    """What dpkg writes to its log, from a fixed seed: bytes, one event a line."""
    chance = random.Random(seed)
    states = ["half-installed", "unpacked", "half-configured", "triggers-pending", "installed"]
    packages = [(f"{chance.choice(['lib', 'python3-', ''])}{chance.choice('abcdefgh')}pkg{number}",
                 chance.choice(["amd64", "amd64", "all"])) for number in range(60)]
    made, second = [], 0
    while len(made) < lines:
        second += chance.randrange(3)
        time = f"2026-01-{2 + second // 86400:02d} {second // 3600 % 24:02d}:{second // 60 % 60:02d}:" \
               f"{second % 60:02d}"
        name, arch = chance.choice(packages)
        version = f"{chance.randrange(9)}:{chance.randrange(20)}.{chance.randrange(9)}-1+deb12u1"
        kind = chance.randrange(10)
        if kind == 0:
            made.append(f"{time} startup archives unpack")
        elif kind < 7:
            made.append(f"{time} {chance.choice(['install', 'upgrade', 'configure'])} {name}:{arch} "
                        f"{version} <none>")
        else:
            made.append(f"{time} status {chance.choice(states)} {name}:{arch} {version}")
    return "".join(line + "\n" for line in made).encode()


def status_lines(text):
    """(key, value) of each status line, in order."""
    for line in text.decode().splitlines():
        fields = line.split()
        if fields[2] == "status":
            yield f"pkg/{fields[4]}", f"{fields[3]} {fields[5]}"


class MainJob(unittest.TestCase):
    def cluster(self, **options):
        cluster = Cluster(TAILRACE, 3, **{"settings": SETTINGS, "server": SERVER, **options})
        entered = cluster.__enter__()
        self.addCleanup(cluster.__exit__)
        return entered

    def append(self, text, stream="dpkg"):
        """Appends the lines; (first address, EPOCH:ADDRESS of the end)."""
        done = self.nodes.run("append", "--stream", stream, "-", input=text)
        words = done.stdout.decode().split()
        report = dict(zip(words[::2], words[1::2]))
        self.assertEqual(int(report["records"]), text.count(b"\n"))
        return int(report["first"]), report["end"]

    def put_states(self, text):
        """Each status line's package; several at a time, those of one key in order."""
        chains = [[] for _ in range(4)]
        for key, value in status_lines(text):
            chains[zlib.crc32(key.encode()) % len(chains)].append((key, value))
            self.states[key] = value

        def put(chain):
            for key, value in chain:
                self.nodes.run("put", key, value)

        with concurrent.futures.ThreadPoolExecutor(len(chains)) as pool:
            for done in [pool.submit(put, chain) for chain in chains]:
                done.result()

    def check_keys(self, server, read, keys=None):
        for key in keys or self.states:
            found = self.nodes.run("get", key, "--read", read, server=server, check=False)
            self.assertEqual(found.stdout.decode(), self.states[key],
                             f"{key} at {server}, {read}: {found.stderr.decode()}")

    def check_tail(self, expected, first, server):
        got = self.nodes.run("tail", "--from", first, server=server).stdout
        self.assertEqual(got, expected, f"the lines from {server} are those that were appended")

    def epoch(self):
        return max(node["epoch"] for node in self.nodes.status())

    def restart_leader(self, number):
        """By a signal; what was acknowledged is there, and the epoch has risen."""
        before = self.epoch()
        code = self.nodes.leader.kill(number)
        self.assertEqual(code, 0 if number == signal.SIGTERM else -signal.SIGKILL,
                         self.nodes.leader.errors())
        self.nodes.leader.start().wait_ready(PATIENCE)
        # One that ends by itself has handed over: it is given the lead again.
        self.nodes.transfer(1)
        self.assertGreater(self.epoch(), before)

    def test_history_survives_kills_and_restarts(self):
        self.nodes = self.cluster()
        self.states = {}
        leader, killed, other = self.nodes.nodes
        parts = [history(seed, 700) for seed in (1, 2, 3)]

        first, end = self.append(parts[0])
        self.put_states(parts[0])
        some = sorted(self.states)[:5]
        # A follower answers: at once with what it has, or when it has what is asked for.
        now = self.nodes.status()[0]
        self.check_keys(killed.server, f"at-least={now['epoch']}:{now['committed']}")
        self.check_keys(killed.server, "any")
        self.check_keys(other.server, f"at-least={end}", some)
        self.check_keys(leader.server, "linearizable", some)
        self.nodes.run("put", "found", "by a follower", server=killed.server)

        # A follower dies in the middle; the others go on; it catches up.
        self.assertEqual(killed.kill(), -signal.SIGKILL)
        self.append(parts[1])
        self.put_states(parts[1])
        status = self.nodes.run("status", "--json", server=leader.server)
        followers = {one["node"]: one for one in json.loads(status.stdout)[0]["followers"]}
        self.assertFalse(followers[2]["connected"])
        self.assertTrue(followers[3]["connected"])
        self.assertGreater(followers[2]["lag_bytes"], 0)
        killed.start().wait_ready(PATIENCE)
        nodes = self.nodes.wait_equal(PATIENCE)
        self.assertEqual(len({node["durable"] for node in nodes}), 1)
        self.check_keys(killed.server, "any")

        # The leader goes, by request and by force; nothing acknowledged is gone.
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.restart_leader(number)
            self.check_keys(leader.server, "linearizable")
        self.append(parts[2])
        self.put_states(parts[2])
        self.restart_leader(signal.SIGKILL)

        self.nodes.wait_equal(PATIENCE)
        for node in self.nodes.nodes:
            self.check_tail(b"".join(parts), first, node.server)
            self.check_keys(node.server, "any")
        agreed = json.loads(self.nodes.run("verify", "--json").stdout)
        self.assertTrue(agreed["states_agree"] and agreed["logs_agree"], agreed)
        for node in self.nodes.nodes:
            node.stop()

    def test_checkpoint_moves_begin_and_frees_the_disk(self):
        self.nodes = self.cluster()
        self.states = {}
        text = history(4, 400)
        self.put_states(text)
        for number in range(40):
            self.append(history(5, 1500), f"rotated-{number}")
        before = self.nodes.wait_equal(PATIENCE)
        self.nodes.run("checkpoint")

        def freed():
            # A stretch of events is kept until it is whole and a file, and begin lies at a mark before that.
            nodes = self.nodes.status()
            whole = before[0]["durable"] // SEGMENT * SEGMENT
            return all(node["begin"] > whole - SEGMENT for node in nodes) and nodes

        # Nobody writes: what a follower's anchor held at the checkpoint is freed when it lets go.
        for old, new in zip(before, wait_until("the log is truncated", freed, PATIENCE)):
            self.assertEqual(old["begin"], 64)
            self.assertGreaterEqual(new["checkpointed"], old["durable"])
        # The files go after the begin has moved.
        wait_until("the disk is freed", lambda: all(
            new["log_disk_bytes"] < old["log_disk_bytes"] / 2
            for old, new in zip(before, self.nodes.status())), PATIENCE)

        # A follower that is down holds the log of the leader, until it is back.
        late = self.nodes.nodes[2]
        late.stop()
        for number in range(10):
            self.append(history(5, 1500), f"rotated-{number}")
        self.nodes.run("checkpoint", server=self.nodes.leader.server)
        held = self.nodes.run("status", "--json", server=self.nodes.leader.server)
        held = json.loads(held.stdout)[0]
        self.assertLess(held["begin"], held["checkpointed"] - SEGMENT)
        late.start().wait_ready(PATIENCE)
        before = self.nodes.wait_equal(PATIENCE)
        self.nodes.run("checkpoint", server=",".join(node.server for node in self.nodes.nodes[1:]))
        wait_until("the log is truncated", freed, PATIENCE)

        # What is gone is said to be gone, and what is left is enough to start from.
        gone = self.nodes.run("tail", "--from", 64, check=False)
        self.assertEqual(gone.returncode, 4, gone.stderr.decode())
        self.restart_leader(signal.SIGKILL)
        self.assertEqual(self.nodes.nodes[2].kill(), -signal.SIGKILL)
        self.nodes.nodes[2].start().wait_ready(PATIENCE)
        self.nodes.wait_equal(PATIENCE)
        for node in self.nodes.nodes:
            self.check_keys(node.server, "any")
        first, _ = self.append(text)
        self.nodes.wait_equal(PATIENCE)
        for node in self.nodes.nodes:
            self.check_tail(text, first, node.server)
        self.nodes.run("verify")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
