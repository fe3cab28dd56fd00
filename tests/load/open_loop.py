"""Latency as users meet it: three nodes, puts that begin by a schedule whether or not the ones before were
answered, and checkpoints meanwhile. Beside them a lone writer asks the disk itself, again and again, how long a
synced write of 4 KiB takes: what the disk does to it, it does to the nodes.

Usage: open_loop.py [--rate N] [--seconds N] [--turns N] [--checkpoint-interval TIME] [--value-bytes N] TAILRACE
"""
import argparse
import json
import mmap
import os
import pathlib
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from cluster import Cluster  # noqa: E402

BLOCK = 4096


class DiskProbe(threading.Thread):
    """Synced writes over blocks that were written before, one after the other with a pause."""

    def __init__(self, folder, pause=0.004):
        super().__init__(daemon=True)
        self.file = os.open(folder / "probe", os.O_RDWR | os.O_CREAT | os.O_DIRECT | os.O_DSYNC, 0o644)
        self.block = mmap.mmap(-1, BLOCK)
        for at in range(256):
            os.pwrite(self.file, self.block, at * BLOCK)
        self.pause, self.times, self.ended = pause, [], threading.Event()

    def run(self):
        at = 0
        while not self.ended.wait(self.pause):
            began = time.perf_counter()
            os.pwrite(self.file, self.block, at % 256 * BLOCK)
            self.times.append((time.perf_counter() - began) * 1000)
            at += 1

    def end(self):
        self.ended.set()
        self.join()
        os.close(self.file)


def share(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def turn(options):
    settings = ("log: {segment_bytes: 256 MiB}\n"
                f"state_machine: {{checkpoint_interval: {options.checkpoint_interval}}}\n")
    with tempfile.TemporaryDirectory() as folder, Cluster(options.tailrace, settings=settings) as cluster:
        load = ["bench", "service", "--op", "put", "--json", "--clients", 4, "--in-flight", 256, "--value-bytes",
                options.value_bytes, "--rate", options.rate, "--seconds"]
        cluster.run(*load, 5)  # memory is touched for the first time
        before = cluster.leader.metric("tailrace_kv_checkpoints_total", result="published") or 0
        probe = DiskProbe(pathlib.Path(folder))
        probe.start()
        done = json.loads(cluster.run(*load, options.seconds).stdout)
        probe.end()
        checkpoints = (cluster.leader.metric("tailrace_kv_checkpoints_total", result="published") or 0) - before
    return {"per_s": done["ops_per_s"], "not_started": done["not_started"], "checkpoints": checkpoints,
            "p50_ms": done["p50_us"] / 1000, "p99_ms": done["p99_us"] / 1000, "p999_ms": done["p999_us"] / 1000,
            "disk_p50_ms": share(probe.times, 0.5), "disk_p99_ms": share(probe.times, 0.99),
            "disk_p999_ms": share(probe.times, 0.999)}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rate", type=int, default=40_000)
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--turns", type=int, default=1)
    arguments.add_argument("--checkpoint-interval", default="10 s")
    arguments.add_argument("--value-bytes", type=int, default=256)
    arguments.add_argument("tailrace")
    options = arguments.parse_args()
    turns = []
    for _ in range(options.turns):
        turns.append(turn(options))
        print(json.dumps(turns[-1]), flush=True)
    if len(turns) > 1:
        print(json.dumps({key: statistics.median(each[key] for each in turns) for key in turns[0]}))


if __name__ == "__main__":
    main()
