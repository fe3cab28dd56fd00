"""Clients and strangers that mean harm, in numbers, beside one that does not. Whatever they do, no node
ends, memory stays bounded, the honest client and the operators are served, and afterwards all is as before.

Usage: hostile_test.py TAILRACE [--connections N] [--seconds S]

With 10,000 connections and 300 seconds a kind it takes an hour, and prints the figures.
"""
import argparse
import json
import pathlib
import resource
import select
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from cluster import SMALL_LOG, Cluster, wait_until  # noqa: E402
from sockets import Recorder, frames_of, resident_bytes  # noqa: E402

arguments = argparse.ArgumentParser()
arguments.add_argument("tailrace")
arguments.add_argument("--connections", type=int, default=300)
arguments.add_argument("--seconds", type=float, default=1)
OPTIONS, REST = arguments.parse_known_args()

MEMORY = 64 << 20  # server.memory_bytes
FRAME = 8 << 20    # server.max_frame_bytes


class Horde(threading.Thread):
    """Connections to one port that send what `say` is and read nothing; opened anew when they end."""

    def __init__(self, port, say, count):
        super().__init__(daemon=True)
        self.port, self.say, self.count = port, say, count
        self.opened, self.ended = 0, False
        self.poll = select.epoll()
        self.left = {}  # what a connection has still to send, by descriptor
        self.sockets = {}

    def open(self):
        one = socket.socket()
        one.setblocking(False)
        try:
            one.connect(("127.0.0.1", self.port))
        except BlockingIOError:
            pass
        self.opened += 1
        self.sockets[one.fileno()] = one
        self.left[one.fileno()] = memoryview(self.say)
        self.poll.register(one.fileno(), select.EPOLLOUT | select.EPOLLHUP | select.EPOLLRDHUP)

    def look(self, descriptor, event):
        gone = event & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP)
        if not gone and event & select.EPOLLOUT:
            try:
                sent = self.sockets[descriptor].send(self.left[descriptor]) if self.left[descriptor] else 0
                self.left[descriptor] = self.left[descriptor][sent:]
            except BlockingIOError:
                pass
            except OSError:
                gone = True
            if not self.left[descriptor]:
                self.poll.modify(descriptor, select.EPOLLHUP | select.EPOLLRDHUP)
        if gone:
            self.poll.unregister(descriptor)
            self.left.pop(descriptor)
            self.sockets.pop(descriptor).close()

    def run(self):
        while not self.ended:
            for _ in range(min(100, self.count - len(self.sockets))):
                self.open()
            for descriptor, event in self.poll.poll(0.05, 1000):
                self.look(descriptor, event)
        for one in self.sockets.values():
            one.close()
        self.poll.close()

    def end(self):
        self.ended = True
        self.join()


def recorded(test, port, *verb):
    """The frames that the verb sends: hello first."""
    recorder = Recorder(test, port)
    child = subprocess.Popen([OPTIONS.tailrace, *verb, "--server", recorder.address, "--timeout", "2"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    frames = wait_until("a request", lambda: (
        found if len(found := frames_of(recorder.sent)) >= 2 else None))
    child.kill()
    child.wait()
    return frames


class Hostile(unittest.TestCase):
    """One node with less memory than by default, and fewer places than there are connections."""

    @classmethod
    def setUpClass(cls):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        cls.count = min(OPTIONS.connections, most - 200)

    def setUp(self):
        self.cluster = Cluster(OPTIONS.tailrace, nodes=1, server=f"memory_bytes: {MEMORY}, max_frame_bytes: {FRAME}, "
                                      f"max_connections: {min(1024, self.count * 2 // 3)}, ")
        self.node = self.cluster.leader
        self.cluster.__enter__()
        self.addCleanup(self.cluster.__exit__)
        self.cluster.run("put", "big", "v" * 100_000)
        self.before = resident_bytes(self.node)

    def recorded(self, *verb):
        return recorded(self, self.node.client_port, *verb)

    def beside(self, name, port, say, newcomers=False):
        """An honest client, an operator and a probe while a horde does its worst; and where the horde is
        idle, others that come meanwhile."""
        horde = Horde(port, say, self.count)
        bench = subprocess.Popen(
            [OPTIONS.tailrace, "bench", "service", "--clients", "1", "--in-flight", "1", "--value-bytes", "100",
             "--seconds", str(OPTIONS.seconds + 1), "--json", "--server", self.node.server,
             "--timeout", "60"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        # It has its place with its first request; connected alone it may come behind the horde.
        puts = self.node.metric("tailrace_rpc_requests_total", kind="put", result="ok")
        wait_until("the honest client is there", lambda: self.node.metric(
            "tailrace_rpc_requests_total", kind="put", result="ok") > puts + 1)
        horde.start()
        self.addCleanup(horde.end)
        peak, slowest_probe, statuses = 0, 0, 0
        while bench.poll() is None:
            began = time.monotonic()
            self.assertEqual(self.node.http("/healthz")[0], 200)
            slowest_probe = max(slowest_probe, time.monotonic() - began)
            self.cluster.run("status", "--timeout", "30")
            statuses += 1
            if newcomers:
                self.cluster.run("put", "newcomer", str(statuses), "--timeout", "30")
            peak = max(peak, resident_bytes(self.node))
        told, errors = bench.communicate()
        self.assertEqual(bench.returncode, 0, errors)
        self.assertGreater(statuses, 0)
        self.assertLess(peak, self.before + 2 * MEMORY + (160 << 20))
        horde.end()
        figures = json.loads(told)
        print(f"{name}: {horde.opened} connections, {(peak - self.before) >> 20} MiB more, /healthz "
              f"{slowest_probe * 1000:.0f} ms at most, the honest client: {json.dumps(figures)[:900]}", flush=True)
        self.assertTrue(self.node.running())
        wait_until("all of them are gone", lambda: self.node.metric("tailrace_rpc_connections") <= 4)
        wait_until("its memory is free", lambda: self.node.metric("tailrace_rpc_memory_bytes") < 1 << 20)
        self.cluster.run("put", "after", name)
        self.assertEqual(self.cluster.run("get", "after").stdout.decode(), name)

    def test_silent(self):
        self.beside("silent", self.node.client_port, b"", newcomers=True)

    def test_idle_after_their_hello(self):
        self.beside("idle", self.node.client_port, self.recorded("get", "big")[0],
                    newcomers=True)

    def test_frames_that_do_not_end(self):
        hello = self.recorded("get", "big")[0]
        words = (4 << 20) // 8
        self.beside("unfinished", self.node.client_port,
                    hello + bytes(4) + words.to_bytes(4, "little") + bytes(1 << 20), newcomers=True)

    def test_answers_that_nobody_reads(self):
        hello, get = self.recorded("get", "big")[:2]
        self.beside("unread", self.node.client_port, hello + get * 200)

    def test_reads_that_cannot_be_answered(self):
        hello, get = self.recorded("get", "big", "--read", f"at-least=9:{1 << 40}")[:2]
        self.beside("waiting", self.node.client_port, hello + get * 200)

    def test_tails(self):
        frames = self.recorded("tail", "--follow")
        # The same id is refused: one tail a connection, and many refusals.
        self.beside("tails", self.node.client_port, frames[0] + frames[1] * 20)

    def test_digests(self):
        frames = self.recorded("verify")
        hello, digest = frames[0], frames[-1]
        self.beside("digests", self.node.client_port, hello + digest * 20)

    def test_half_requests_to_the_metrics(self):
        self.beside("probes", self.node.metrics_port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n")


class FewDescriptors(unittest.TestCase):
    """One node that may have 256 files open."""

    def start(self, settings=SMALL_LOG):
        cluster = Cluster(OPTIONS.tailrace, nodes=1, settings=settings)
        cluster.leader.inside = ["bash", "-c", 'ulimit -n 256; exec "$0" "$@"']
        cluster.__enter__()
        self.addCleanup(cluster.__exit__)
        return cluster, cluster.leader

    def test_clients_in_all_places_leave_probes_and_operators_theirs(self):
        cluster, node = self.start()
        cluster.run("put", "k", "v")
        hello, get = recorded(self, node.client_port, "get", "k")[:2]
        horde = Horde(node.client_port, hello + get, 200)
        horde.start()
        self.addCleanup(horde.end)
        wait_until("all places are taken", lambda: horde.opened >= 200)
        time.sleep(1)
        for _ in range(10):
            self.assertEqual(node.http("/healthz")[0], 200)
            cluster.run("status", "--timeout", "10")
        self.assertTrue(node.running())

    def test_strangers_leave_the_log_its_files(self):
        """With a limit of 256 open files, and strangers on all three ports, the log goes on to make files."""
        settings = SMALL_LOG.replace("segment_bytes: 2 MiB", "segment_bytes: 4 MiB").replace(
            "segment_bytes: 4 MiB", "segment_bytes: 16 MiB")
        cluster, node = self.start(settings)
        load = subprocess.Popen(
            [OPTIONS.tailrace, "bench", "service", "--clients", "1", "--in-flight", "4", "--value-bytes", "8192",
             "--seconds", "8", "--json", "--server", node.server, "--timeout", "10"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_until("it writes", lambda: node.metric("tailrace_rpc_requests_total", kind="put", result="ok"))
        hordes = [Horde(port, b"", 300) for port in (node.client_port, node.metrics_port, node.peer_port)]
        for horde in hordes:
            horde.start()
            self.addCleanup(horde.end)
        told, errors = load.communicate()
        self.assertTrue(node.running(), node.errors())
        self.assertEqual(load.returncode, 0, errors)
        self.assertEqual(json.loads(told)["errors"], 0, told)
        for horde in hordes:
            horde.end()
        cluster.run("put", "after", "all", "--timeout", "30")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *REST], verbosity=2)
