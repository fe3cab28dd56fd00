"""What others do beside this on the same machine, in turns: each turn starts a new cluster of three (one for
Redis), makes one load on it and ends it. Figures are medians of turns, and ratios of the medians.

  etcd       `etcdctl check perf`: values of 1 KiB, a majority syncs; 500 or 1,000 clients (fewer
             of them it holds to 150 and 1,000 writes a second)
  jetstream  nats_load: events of 256 bytes, three replicas, which no one syncs
  redis      redis-benchmark: one node, `appendfsync always`, values of 256 bytes

Debian has them all: etcd-server, etcd-client, nats-server, redis-server, redis-tools. nats_load is built when
asked for: `ninja -C build/release nats_load`. Each row says which load of this project is beside it.

Usage: beside_peers.py [--turns N] [--seconds N] [--only PEER,...] [--json] TAILRACE [NATS_LOAD]
"""
import argparse
import contextlib
import csv
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from cluster import Cluster, free_ports, wait_until  # noqa: E402

SETTINGS = "log: {segment_bytes: 256 MiB}\n"
# Names of etcdctl's loads.
CLIENTS_OF_LOAD = {"l": 500, "xl": 1000}


@contextlib.contextmanager
def processes(commands):
    started = []
    try:
        for command in commands:
            started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        yield
    finally:
        for one in started:
            one.kill()
        for one in started:
            one.wait()


def output(*command, **keywords):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, **keywords)
    return done.stdout + done.stderr


def etcd_writes(load):
    """`etcdctl check perf` runs for a minute whatever one asks for."""
    ports = free_ports(6)
    clients = [f"http://127.0.0.1:{port}" for port in ports[:3]]
    peers = [f"http://127.0.0.1:{port}" for port in ports[3:]]
    members = ",".join(f"n{number}={url}" for number, url in enumerate(peers))
    with tempfile.TemporaryDirectory() as folder:
        with processes([["etcd", "--name", f"n{number}", "--data-dir", f"{folder}/{number}",
                         "--listen-client-urls", clients[number], "--advertise-client-urls", clients[number],
                         "--listen-peer-urls", peers[number], "--initial-advertise-peer-urls", peers[number],
                         "--initial-cluster", members] for number in range(3)]):
            endpoints = f"--endpoints={','.join(clients)}"
            wait_until("etcd has a leader", lambda: "is healthy" in output("etcdctl", endpoints, "endpoint", "health"))
            told = output("etcdctl", endpoints, "check", "perf", f"--load={load}")
    found = re.search(r"Throughput(?: too low)?[^0-9]*([0-9]+) writes/s", told)
    if not found:
        raise SystemExit(f"etcdctl said no rate: {told[-500:]}")
    return float(found[1])


def jetstream_appends(nats_load, connections, seconds):
    ports = free_ports(6)
    routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports[3:])
    with tempfile.TemporaryDirectory() as folder:
        with processes([["nats-server", "-js", "-sd", f"{folder}/{number}", "-n", f"n{number}", "-a", "127.0.0.1",
                         "-p", str(ports[number]), "-cluster_name", "c", "-cluster",
                         f"nats://127.0.0.1:{ports[3 + number]}", "-routes", routes] for number in range(3)]):
            def loaded(for_seconds):
                return output(nats_load, "--json", "--server", f"127.0.0.1:{ports[0]}", "--connections", connections,
                              "--seconds", for_seconds)
            wait_until("JetStream has a leader", lambda: "ops_per_s" in loaded(0.2), pause=0.5)
            return json.loads(loaded(seconds))["ops_per_s"]


@contextlib.contextmanager
def redis():
    port = free_ports(1)[0]
    with tempfile.TemporaryDirectory() as folder:
        with processes([["redis-server", "--port", str(port), "--dir", folder, "--appendonly", "yes", "--appendfsync",
                         "always", "--save", ""]]):
            wait_until("Redis answers", lambda: "PONG" in output("redis-cli", "-p", port, "ping"))
            yield port


def redis_rate(operation, clients, seconds):
    def asked(port, requests):
        told = output("redis-benchmark", "-p", port, "-t", operation, "-d", 256, "-r", 100000, "-c", clients, "-n",
                      int(requests), "--csv")
        return float(list(csv.reader(told.strip().splitlines()))[-1][1])
    with redis() as port:
        return asked(port, asked(port, 5000) * seconds)


def ours(program, nodes, seconds, *load):
    with Cluster(program, nodes=nodes, settings=SETTINGS) as cluster:
        command = ["bench", "service", "--json", *load, "--seconds"]
        cluster.run(*command, 1.5)  # memory is touched for the first time
        return json.loads(cluster.run(*command, seconds).stdout)["ops_per_s"]


def rows(options):
    """(peer, load, beside it, the peer's rate, ours): the last two are asked in turns."""
    def load(operation, clients, nodes=3, value_bytes=256, in_flight=1):
        flags = ["--op", operation, "--clients", clients, "--in-flight", in_flight, "--value-bytes", value_bytes]
        if operation == "append":
            flags += ["--batch", 1]
        return " ".join(map(str, flags)), lambda: ours(options.tailrace, nodes, options.seconds, *flags)

    for name, clients in CLIENTS_OF_LOAD.items():
        yield "etcd", f"check perf --load={name}", *pair(lambda name=name: etcd_writes(name),
                                                         load("put", clients, value_bytes=1024))
    for connections in (1, 64, 256):
        if options.nats_load:
            yield "jetstream", f"{connections} connections", *pair(
                lambda connections=connections: jetstream_appends(options.nats_load, connections, options.seconds),
                load("append", connections))
    for operation, of_redis in (("put", "set"), ("get", "get")):
        for clients in (1, 64, 256):
            yield "redis", f"-t {of_redis} -c {clients}", *pair(
                lambda of_redis=of_redis, clients=clients: redis_rate(of_redis, clients, options.seconds),
                load(operation, clients, nodes=1))


def pair(theirs, own):
    return own[0], theirs, own[1]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--turns", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=5)
    arguments.add_argument("--only", default="etcd,jetstream,redis")
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("tailrace")
    arguments.add_argument("nats_load", nargs="?")
    options = arguments.parse_args()
    for peer, load, beside, theirs, own in rows(options):
        if peer not in options.only.split(","):
            continue
        rates = [(theirs(), own()) for _ in range(options.turns)]
        of_peer, of_ours = (statistics.median(each) for each in zip(*rates))
        if options.json:
            print(json.dumps({"peer": peer, "load": load, "peer_per_s": of_peer, "beside": beside,
                              "per_s": of_ours, "ratio": of_ours / of_peer, "turns": rates}), flush=True)
        else:
            print(f"{peer} {load}: {of_peer:,.0f}/s; bench service {beside}: {of_ours:,.0f}/s; "
                  f"{of_ours / of_peer:.2f} times", flush=True)
    return 0


if __name__ == "__main__":
    started = time.monotonic()
    code = main()
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    sys.exit(code)
