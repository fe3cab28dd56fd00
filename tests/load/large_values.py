"""What a put of a large value costs three nodes on this machine: processor time by thread, bytes written to
disk and bytes sent, each for a byte of a value, and the rate beside what disk and loopback can do. Programs
take turns, each on a new cluster; figures are medians of turns.

Usage: large_values.py [--turns N] [--seconds N] [--values BYTES,...] [--in-flight N] [--log YAML] NAME=TAILRACE...
"""
import argparse
import collections
import json
import mmap
import os
import pathlib
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from cluster import Cluster  # noqa: E402

MEBIBYTE = 1 << 20
IN_FLIGHT = {256: 256, 1 << 16: 64, 1 << 18: 32}  # else 16
# Keys so few that the store's memory holds them: what is measured is the log and the way to it.
KEYS = 64
SETTINGS = """
log:
  segment_bytes: 256 MiB
state_machine:
  checkpoint_log_bytes: 4 GiB
"""


def thread_times(pid):
    """{name of threads: nanoseconds on a processor}"""
    times = collections.Counter()
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        times[name] += int((task / "schedstat").read_text().split()[0])
    return times


def disk_bytes(pid):
    """Counter of bytes, "read" and "written"."""
    lines = pathlib.Path(f"/proc/{pid}/io").read_text().splitlines()
    all_of = dict(line.split(": ") for line in lines)
    return collections.Counter(read=int(all_of["read_bytes"]), written=int(all_of["write_bytes"]))


class Look:
    """What the nodes have used so far."""

    def __init__(self, cluster):
        self.threads = [thread_times(node.process.pid) for node in cluster.nodes]
        self.disk = [disk_bytes(node.process.pid) for node in cluster.nodes]
        self.sent = cluster.leader.metric("tailrace_peer_sent_bytes_total")
        self.flushes = [node.metric("tailrace_log_flushes_total") for node in cluster.nodes]


def turn(program, settings, value_bytes, in_flight, seconds):
    """{figure: value} of one run of a new cluster."""
    with Cluster(program, settings=settings) as cluster:
        load = ["bench", "service", "--op", "put", "--json", "--clients", 1, "--keys", KEYS, "--in-flight",
                in_flight or IN_FLIGHT.get(value_bytes, 16), "--value-bytes", value_bytes, "--seconds"]
        cluster.run(*load, 1.5)  # memory is touched for the first time
        before = Look(cluster)
        done = json.loads(cluster.run(*load, seconds).stdout)
        after = Look(cluster)
    user = done["ops"] * value_bytes
    figures = {"MB/s": user / done["seconds"] / 1e6, "p50 ms": done["p50_us"] / 1000}
    for role, nodes in (("leader", [0]), ("follower", [1, 2])):
        spent = collections.Counter()
        for node in nodes:
            spent.update(after.threads[node] - before.threads[node])
        figures[f"{role} ns/B"] = spent.total() / len(nodes) / user
        for name, nanoseconds in spent.items():
            if name in ("nodes", "apply", "clients"):
                figures[f"  {role} {name}"] = nanoseconds / len(nodes) / user
        for what in ("written", "read"):
            moved = sum(after.disk[node][what] - before.disk[node][what] for node in nodes)
            figures[f"{role} {what} B/B"] = moved / len(nodes) / user
            if what == "written":
                flushes = sum(after.flushes[node] - before.flushes[node] for node in nodes)
                figures[f"{role} puts a flush"] = done["ops"] * len(nodes) / flushes
                figures[f"{role} blocks a flush"] = moved / 4096 / flushes
    figures["load ns/B"] = done["cpu_us_per_op"] * 1000 / value_bytes
    figures["sent B/B"] = (after.sent - before.sent) / user
    return figures


def disk_rate(folder, seconds=1.0, writers=3):
    """MB/s of that many writers of 1 MiB with O_DSYNC at once, over blocks that were written before."""
    total, end = [0] * writers, [0.0]

    def write(number):
        file = os.open(folder / f"raw{number}", os.O_RDWR | os.O_CREAT | os.O_DIRECT | os.O_DSYNC, 0o644)
        block = mmap.mmap(-1, MEBIBYTE)
        block.write(os.urandom(MEBIBYTE))
        for at in range(64):
            os.pwrite(file, block, at * MEBIBYTE)
        ready.wait()
        at = 0
        while time.monotonic() < began[0] + seconds:
            total[number] += os.pwrite(file, block, at % 64 * MEBIBYTE)
            at += 1
        end[0] = max(end[0], time.monotonic())
        os.close(file)

    began = [0.0]
    ready = threading.Barrier(writers, action=lambda: began.__setitem__(0, time.monotonic()))
    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(total) / (end[0] - began[0]) / 1e6


def loopback_rate(seconds=1.0, copies=2):
    """MB/s of that many copies through loopback at once, each by a process that sends and one that receives."""
    listener = socket.create_server(("127.0.0.1", 0))
    came, children = [0] * copies, []
    for _ in range(copies):
        child = os.fork()
        if child == 0:
            with socket.create_connection(listener.getsockname()) as to:
                data, end = bytes(MEBIBYTE), time.monotonic() + seconds
                while time.monotonic() < end:
                    to.sendall(data)
            os._exit(0)
        children.append(child)

    def receive(number, connection):
        room = bytearray(MEBIBYTE)
        while got := connection.recv_into(room):
            came[number] += got

    began = time.monotonic()
    threads = [threading.Thread(target=receive, args=(number, listener.accept()[0])) for number in range(copies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for child in children:
        os.waitpid(child, 0)
    return sum(came) / (time.monotonic() - began) / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--values", default="256,65536,262144,1048576")
    parser.add_argument("--in-flight", type=int, default=0)
    parser.add_argument("--log", default="", help="more keys of `log`, as '{page_bytes: 8 MiB}'")
    parser.add_argument("programs", nargs="+", metavar="NAME=TAILRACE")
    options = parser.parse_args()
    programs = dict(each.split("=", 1) for each in options.programs)
    settings = SETTINGS
    for pair in filter(None, options.log.strip("{} ").split(",")):
        settings = settings.replace("log:\n", f"log:\n  {pair.strip()}\n")
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="tailrace-large-"))
    limits = []
    try:
        for value_bytes in map(int, options.values.split(",")):
            turns = {name: [] for name in programs}
            for _ in range(options.turns):
                for name, program in programs.items():
                    turns[name].append(turn(program, settings, value_bytes, options.in_flight,
                                            options.seconds))
                limits.append((disk_rate(scratch), loopback_rate()))
            print(f"---- values of {value_bytes} bytes")
            keys = list(dict.fromkeys(key for one in turns.values() for each in one for key in each))
            print(f"{'':28}", *(f"{name:>12}" for name in programs))
            for key in keys:
                medians = [statistics.median(each.get(key, 0) for each in turns[name]) for name in programs]
                print(f"{key:28}", *(f"{median:12.3f}" for median in medians), flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for what, rates in zip(("three writers of 1 MiB, O_DSYNC", "two copies by loopback"), zip(*limits)):
        print(f"{what}: {statistics.median(rates):.0f} MB/s in all ({min(rates):.0f} to {max(rates):.0f})")


if __name__ == "__main__":
    main()
