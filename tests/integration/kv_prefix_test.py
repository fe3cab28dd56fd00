"""A process that writes to a FasterKv store from several sessions is killed (SIGKILL) at any moment, while
checkpoints of all kinds, compaction, growth and scans go on; what the next one finds is, for each session,
exactly what its operations up to its point make of an empty store.

Usage: kv_prefix_test.py PREFIX_WORKER [unittest arguments]
Environment: TAILRACE_SEED replays a run's choices, TAILRACE_ROUNDS changes its length.
"""
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from cluster import end_with_parent

WORKER = sys.argv[1]
SEED = int(os.environ.get("TAILRACE_SEED") or random.SystemRandom().randrange(1 << 32))
ROUNDS = int(os.environ.get("TAILRACE_ROUNDS") or 16)
ROUNDS_OF_A_STORE = 8  # what came before is worked through again at each opening
PATIENCE = 120  # seconds; for a machine that is busy with other things


class Worker:
    """One life of the process."""

    def __init__(self, directory, arguments):
        self.lines = []
        self.changed = threading.Condition()
        self.command = [WORKER, str(directory), *map(str, arguments)]
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, text=True, preexec_fn=end_with_parent)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.split())
                self.changed.notify_all()
        with self.changed:
            self.lines.append(["end"])
            self.changed.notify_all()

    def count(self, word):
        return sum(line[0] == word for line in self.lines)

    def wait_for(self, word, times=1):
        """Until there are so many such lines; False when it has ended before."""
        with self.changed:
            reached = self.changed.wait_for(
                lambda: self.count(word) >= times or self.lines[-1:] == [["end"]], PATIENCE)
            if not reached:
                raise AssertionError(f"no {times}. '{word}' for {PATIENCE} s: {self.describe()}")
            return self.count(word) >= times

    def describe(self):
        self.errors.seek(0)
        tail = "\n".join(" ".join(line) for line in self.lines[-5:])
        return f"{' '.join(self.command)}\n{tail}\n{self.errors.read()}"

    def close(self):
        self.process.wait(timeout=PATIENCE)
        self.reader.join()
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors_text = self.describe()
        self.errors.close()
        return self.process.returncode


class KvPrefix(unittest.TestCase):
    def run_store(self, number, rounds, larger):
        choose = random.Random(f"{SEED}/{number}/{larger}")
        seed = choose.randrange(1 << 31)
        directory = pathlib.Path(tempfile.mkdtemp(prefix="tailrace-kv-prefix-"))
        least, kills, checkpoints = 0, 0, 0
        try:
            for round_number in range(rounds + 1):
                last = round_number == rounds
                arguments = ["--seed", seed, "--round", round_number, "--serials", 20000]
                arguments += ["--larger-than-memory"] if larger else []
                arguments += ["--die"] if not last and choose.random() < 0.4 else []
                arguments += ["--verify"] if last else []
                worker = Worker(directory, arguments)
                what = f"TAILRACE_SEED={SEED}, store {number}, round {round_number}"
                if worker.wait_for("verified") and not last:
                    worker.wait_for("published", choose.choice([0, 1, 2, 3, 5]))
                    time.sleep(choose.random() * choose.choice([0.002, 0.05, 0.3]))
                    worker.process.send_signal(signal.SIGKILL)
                status = worker.close()
                self.assertEqual(status, 0 if last else -signal.SIGKILL,
                                 f"{what}: {worker.errors_text}")
                opened = [int(line[1]) for line in worker.lines if line[0] == "opened"]
                self.assertGreaterEqual(opened[0], least,
                                        f"{what}: checkpoint {least} was published")
                published = [int(line[1]) for line in worker.lines if line[0] == "published"]
                least = max([least, *opened, *published])
                checkpoints += len(published)
                kills += not last
            print(f"store {number} ({'larger than' if larger else 'in'} memory): {kills} kills, "
                  f"{checkpoints} checkpoints published", flush=True)
        finally:
            shutil.rmtree(directory)

    def run_rounds(self, larger):
        print(f"TAILRACE_SEED={SEED}, {ROUNDS} rounds", flush=True)
        for number in range((ROUNDS + ROUNDS_OF_A_STORE - 1) // ROUNDS_OF_A_STORE):
            left = ROUNDS - number * ROUNDS_OF_A_STORE
            self.run_store(number, min(left, ROUNDS_OF_A_STORE), larger)

    def test_in_memory(self):
        self.run_rounds(False)

    def test_larger_than_memory(self):
        self.run_rounds(True)


unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
