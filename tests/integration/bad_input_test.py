"""What a node does with input that is wrong: configurations, data directories, ports, bytes on its
sockets, records beyond the limits, and disks that are full or take no writes. It says what is wrong,
changes nothing that it refuses, goes on serving others, and loses nothing that it has acknowledged.

Usage: bad_input_test.py TAILRACE
"""
import ctypes
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from cluster import SMALL_LOG, SMALL_STORE, SMALL_VALUES, Cluster, free_ports, wait_until  # noqa: E402
from sockets import Recorder, connect, frames_of, resident_bytes  # noqa: E402

TAILRACE = sys.argv[1]
DONE, NEGATIVE, USAGE, UNREACHABLE, REFUSED = range(5)


def serve_once(node, *arguments):
    """Runs a node that should refuse to start; returns (code, standard error)."""
    done = subprocess.run([TAILRACE, "serve", "--config", str(node.config), *arguments],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


def contents(directory):
    """Every file's bytes. LOCK files hold only the number of the process that last tried, and what a
    reserve holds is of no account (docs/formats/reserve.md)."""
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(pathlib.Path(directory).rglob("*"))
            if path.is_file() and path.name != "LOCK" and path.suffix != ".reserve"}


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def of_newer_version(content):
    """An atomically replaced file (storage/atomic_file.h) as a version to come would write it."""
    changed = bytearray(content)
    assert changed[:4] == b"TRAF", changed[:4]
    version, = struct.unpack_from("<I", changed, 12)
    struct.pack_into("<I", changed, 12, version + 100)
    struct.pack_into("<I", changed, 4, crc32c(changed[8:]))
    return bytes(changed)


class Case(unittest.TestCase):
    # Its appends are records of events, which need no room in the store.
    EVENTS_ALONE = "  cluster_version: 4\n"

    def cluster(self, nodes=1, settings=SMALL_LOG, server="", directory=None, replication=""):
        """Not started; stopped and removed at the end of the test."""
        cluster = Cluster(TAILRACE, nodes=nodes, settings=settings, directory=directory,
                          replication=replication)
        self.addCleanup(cluster.__exit__)
        for node in cluster.nodes:
            node.config.write_text(node.config.read_text().replace("server: {",
                                                                   "server: {" + server))
        return cluster

    def assert_refuses(self, node, *says, code=REFUSED, arguments=()):
        """The node does not start, says why, and leaves its directory as it is."""
        before = contents(node.data)
        got, error = serve_once(node, *arguments)
        self.assertEqual(got, code, error)
        for text in says:
            self.assertIn(text, error)
        self.assertEqual(contents(node.data), before, f"changed by a node that refused: {error}")

    def verb(self, code, cluster, *arguments, says=None, **keywords):
        done = cluster.run(*arguments, check=False, **keywords)
        told = f"{str(arguments)[:200]}: {done.stdout[-300:]} {done.stderr[-600:]}"
        self.assertEqual(done.returncode, code, told)
        if says is not None:
            self.assertIn(says, done.stderr.decode(), told)
        return done


class Configuration(Case):
    """Wrong files: the message has file, line, key and remedy; no directory is made."""

    BASE = ("cluster: test\n"
            "node: 1\n"
            "data_dir: {data}\n"
            "server:\n"
            "  listen: 127.0.0.1:{client}\n"
            "metrics:\n"
            "  listen: 127.0.0.1:{metrics}\n"
            "log:\n"
            "  page_bytes: 2 MiB\n"
            "store:\n"
            "  memory_bytes: 64 MiB\n")

    def refused(self, change, *says, code=USAGE):
        with tempfile.TemporaryDirectory(prefix="tailrace-test-") as directory:
            data, config = pathlib.Path(directory, "data"), pathlib.Path(directory, "node.yaml")
            client, metrics = free_ports(2)
            text = change(self.BASE.format(data=data, client=client, metrics=metrics))
            config.write_bytes(text if isinstance(text, bytes) else text.encode())
            done = subprocess.run([TAILRACE, "serve", "--config", str(config)], text=True,
                                  errors="replace", stdin=subprocess.DEVNULL, capture_output=True,
                                  timeout=60)
            self.assertEqual(done.returncode, code, done.stderr)
            for part in says:
                self.assertIn(part.replace("FILE", str(config)), done.stderr)
            self.assertFalse(data.exists(), "a directory was made for a refused configuration")

    def test_unknown_keys_name_the_nearest(self):
        for old, new, line, key, meant in (
                ("page_bytes", "page_byte", 9, "log.page_byte", "page_bytes"),
                ("memory_bytes", "memroy_bytes", 11, "store.memroy_bytes", "memory_bytes"),
                ("cluster:", "Cluster:", 1, "Cluster", "cluster"),
                ("metrics:", "metric:", 6, "metric", "metrics"),
                ("  listen: 127.0.0.1", "  lisen: 127.0.0.1", 5, "server.lisen", "listen")):
            says = [f"FILE:{line}: unknown key '{key}'", f"did you mean '{meant}'?"]
            if key == "Cluster":
                says = [f"FILE:{line}:"]  # named as missing or as unknown: both lead to the line
            self.refused(lambda text: text.replace(old, new, 1), *says)
        self.refused(lambda text: text + "flux_capacitor: 1\n", "FILE:12:", "flux_capacitor",
                     "valid here: cluster node data_dir")

    def test_values_of_the_wrong_kind(self):
        for old, new, line, *says in (
                ("page_bytes: 2 MiB", "page_bytes: many", 9, "log.page_bytes", "64 KiB"),
                ("page_bytes: 2 MiB", "page_bytes: 2 MB", 9, "log.page_bytes", "16 MiB"),
                ("page_bytes: 2 MiB", "page_bytes: [2]", 9, "log.page_bytes", "single value"),
                ("node: 1", "node: one", 2, "node", "one"),
                ("node: 1", "node: -1", 2, "node", "-1"),
                ("node: 1", "node: 1\nnode: 1", 3, "node is given twice"),
                ("log:\n  page_bytes: 2 MiB", "log: 7", 8, "log must be a mapping"),
                ("127.0.0.1:", "127.0.0.1;", 5, "server.listen", "HOST:PORT")):
            self.refused(lambda text: text.replace(old, new, 1), f"FILE:{line}:", *says)

    def test_impossible_sizes(self):
        for old, new, line, *says in (
                ("2 MiB", "0", 9, "log.page_bytes", "must be from 65536 to 67108864"),
                ("2 MiB", "3 MiB", 9, "log.page_bytes", "power of two"),
                ("2 MiB", "1 TiB", 9, "log.page_bytes", "must be from"),
                ("2 MiB", "99999999999 TiB", 9, "log.page_bytes"),
                ("2 MiB", "-1", 9, "log.page_bytes"),
                ("2 MiB", "2 MiB\n  segment_bytes: 1 MiB", 10, "less than page_bytes"),
                ("2 MiB", "2 MiB\n  buffer_pages: 3", 10, "log.buffer_pages", "from 4 to 4096"),
                ("2 MiB", "2 MiB\n  buffer_pages: 5", 10, "log.buffer_pages", "power of two"),
                ("64 MiB", "1 MiB", 11, "store.memory_bytes", "less than four pages"),
                ("store:", "server_:\nstore:", 10, "unknown key 'server_'"),
                ("metrics:", "  max_value_bytes: 16 MiB\nmetrics:", 6, "max_value_bytes",
                 "64 KiB below max_frame_bytes"),
                ("metrics:", "  max_connections: 0\nmetrics:", 6, "max_connections")):
            self.refused(lambda text: text.replace(old, new, 1), f"FILE:{line}:", *says)

    def test_settings_that_do_not_go_together(self):
        self.refused(lambda text: text.replace("page_bytes: 2 MiB", "page_bytes: 1 MiB"),
                     "max_value_bytes", "log.page_bytes")
        self.refused(lambda text: text + "replication:\n  members:\n    - {id: 2, peer: 'h:1', client: 'h:2'}\n",
                     "FILE:", "replication.members", "this node, 1")
        self.refused(lambda text: text + "replication:\n  coordinator: {kind: raft}\n",
                     "FILE:13:", "replication.coordinator.kind", "static")
        self.refused(lambda text: text + "replication:\n  members:\n    - {id: 1, peer: 'h:1', client: 'h:2'}\n",
                     "FILE:", "names no leader")

    def test_what_is_no_yaml_and_what_is_not_there(self):
        self.refused(lambda text: text.replace("node: 1", "node: [1"), "FILE:")
        self.refused(lambda text: "", "FILE", "cluster is missing")
        self.refused(lambda text: "just words\n", "FILE:1: the file must be a mapping")
        self.refused(lambda text: os.urandom(4096), "FILE")
        done = subprocess.run([TAILRACE, "serve", "--config", "/nowhere/node.yaml"],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, USAGE)
        self.assertIn("/nowhere/node.yaml", done.stderr)


class DataDirectory(Case):
    """Directories that a node must not touch. A stopped node with a checkpoint and some log behind
    it; each test damages or claims it, sees it refused and unchanged, and undoes the damage."""

    def stored(self, how):
        cluster = self.cluster(replication=self.EVENTS_ALONE)
        node = cluster.leader
        node.start().wait_ready()
        for number in range(20):
            cluster.run("put", f"key {number}", f"value {number}")
        cluster.run("checkpoint")
        cluster.run("append", input=b"".join(b"event %d\n" % number for number in range(100)))
        cluster.run("put", "last", "one")
        # Until the last record is proven: damage to it is corruption then, not an unfinished batch.
        def proven():
            seen = json.loads(subprocess.run(
                [TAILRACE, "log", "inspect", "--json", str(node.data / "log")],
                capture_output=True, timeout=60).stdout)
            return seen["proven"] >= cluster.status()[0]["durable"]
        wait_until("all of the log is proven", proven)
        if how == "killed":
            node.kill()
        else:
            node.stop()
        return cluster

    def assert_all_there(self, cluster):
        if not cluster.leader.running():
            cluster.leader.start().wait_ready()
        for number in range(20):
            self.assertEqual(cluster.run("get", f"key {number}").stdout, b"value %d" % number)
        self.assertEqual(cluster.run("get", "last").stdout, b"one")
        self.assertEqual(cluster.run("tail").stdout,
                         b"".join(b"event %d\n" % number for number in range(100)))

    def important_files(self, node):
        return [node.data / "PROMISE", node.data / "log" / "META",
                *(node.data / "store").rglob("MANIFEST")]

    def test_in_use_by_another_process(self):
        cluster = self.stored("stopped")
        node = cluster.leader
        node.start().wait_ready()
        config = node.config.read_text()
        for port, other in zip((node.client_port, node.peer_port, node.metrics_port),
                               free_ports(3)):
            config = config.replace(str(port), str(other))
        second = pathlib.Path(node.directory, "second.yaml")
        second.write_text(config)
        done = subprocess.run([TAILRACE, "serve", "--config", str(second)], capture_output=True,
                              text=True, timeout=60)
        self.assertEqual(done.returncode, REFUSED)
        self.assertIn(f"{node.data} is in use by process {node.process.pid}", done.stderr)
        self.assert_all_there(cluster)

    def test_of_another_node_or_cluster(self):
        for how in ("stopped", "killed"):
            cluster = self.stored(how)
            node = cluster.leader
            right = node.config.read_text()
            node.config.write_text(right.replace("cluster: test", "cluster: other"))
            self.assert_refuses(node, "cluster 'test'", "'other'", str(node.data))
            node.config.write_text(right.replace("node: 1\n", "node: 2\n").replace(
                "{id: 1", "{id: 2").replace("leader: 1", "leader: 2"))
            self.assert_refuses(node, "node 1", "node 2", str(node.data))
            # Without its promise the log still knows whose it is.
            promise = (node.data / "PROMISE").read_bytes()
            (node.data / "PROMISE").unlink()
            (node.data / "store").rename(node.directory / "store")
            code, error = serve_once(node)
            self.assertEqual(code, REFUSED)
            self.assertIn("belongs to 'test/1', not to 'test/2'", error)
            shutil.rmtree(node.data / "store")
            (node.directory / "store").rename(node.data / "store")
            (node.data / "PROMISE").write_bytes(promise)
            node.config.write_text(right)
            self.assert_all_there(cluster)

    def test_of_a_newer_format(self):
        for how in ("stopped", "killed"):
            cluster = self.stored(how)
            node = cluster.leader
            for file in self.important_files(node):
                with self.subTest(file=file.name, how=how):
                    content = file.read_bytes()
                    file.write_bytes(of_newer_version(content))
                    self.assert_refuses(node, str(file), "newer")
                    file.write_bytes(content)
            self.assert_all_there(cluster)

    def test_files_that_are_cut_off_or_changed(self):
        for how in ("stopped", "killed"):
            cluster = self.stored(how)
            node = cluster.leader
            for file in self.important_files(node):
                content = file.read_bytes()
                flipped = bytearray(content)
                flipped[-1] ^= 1
                for damage in (b"", content[:20], content[:-1], content + b"x", bytes(flipped),
                               bytes(len(content))):
                    with self.subTest(file=file.name, how=how, damage=damage[-8:]):
                        file.write_bytes(damage)
                        self.assert_refuses(node, str(file))
                        file.write_bytes(content)
            self.assert_all_there(cluster)

    def test_a_log_without_its_meta(self):
        cluster = self.stored("killed")
        meta = cluster.leader.data / "log" / "META"
        meta.rename(cluster.leader.directory / "META")
        self.assert_refuses(cluster.leader, str(meta.parent), "no META")
        (cluster.leader.directory / "META").rename(meta)
        self.assert_all_there(cluster)

    def test_a_log_that_misses_a_segment(self):
        cluster = self.stored("killed")
        segment = min((cluster.leader.data / "log").glob("*.seg"))
        aside = cluster.leader.directory / "aside"
        segment.rename(aside)
        self.assert_refuses(cluster.leader, segment.name)
        aside.rename(segment)
        self.assert_all_there(cluster)

    def test_a_store_whose_records_changed(self):
        cluster = self.stored("killed")
        records, = (cluster.leader.data / "store" / "log").glob("*.log")
        content = records.read_bytes()
        self.assertIn(b"value 7", content)
        records.write_bytes(content.replace(b"value 7", b"value 8"))
        self.assert_refuses(cluster.leader, str(records))
        records.write_bytes(content)
        self.assert_all_there(cluster)

    def test_a_changed_byte_below_the_proven_watermark(self):
        for how in ("stopped", "killed"):
            cluster = self.stored(how)
            node = cluster.leader
            segment, = [path for path in (node.data / "log").glob("*.seg")
                        if b"event 50" in path.read_bytes()]
            content = segment.read_bytes()
            for text in (b"event 50", b"lastone"):
                damaged = bytearray(content)
                damaged[content.rindex(text)] ^= 0x20
                segment.write_bytes(damaged)
                self.assert_refuses(node, str(segment), "bad record at address ", "checksum")
                named = int(re.search(r"bad record at address (\d+)", serve_once(node)[1])[1])
                base = int(segment.name[:16], 16)
                self.assertLess(named - base, content.rindex(text))
                self.assertLess(content.rindex(text) - (named - base), 128)
                inspected = subprocess.run([TAILRACE, "log", "inspect", str(node.data / "log")],
                                           capture_output=True, text=True, timeout=60)
                self.assertEqual(inspected.returncode, NEGATIVE)
                self.assertIn(f"address {named}", inspected.stderr)
                segment.write_bytes(content)
            self.assert_all_there(cluster)

    def test_where_no_directory_can_be(self):
        cluster = self.stored("stopped")
        file = cluster.directory / "file"
        file.write_text("a file")
        for place in (file, file / "below"):
            code, error = serve_once(cluster.leader, "--data-dir", str(place))
            self.assertNotEqual(code, DONE)
            self.assertIn(str(place), error)
        self.assertEqual(file.read_text(), "a file")
        self.assert_all_there(cluster)


class Ports(Case):
    def test_a_port_in_use_is_named_and_nothing_is_lost(self):
        cluster = self.cluster()
        node = cluster.leader
        node.start().wait_ready()
        cluster.run("put", "k", "v")
        node.stop()
        for port in (node.client_port, node.peer_port, node.metrics_port):
            with socket.socket() as taken:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                taken.bind(("127.0.0.1", port))
                taken.listen()
                self.assert_refuses(node, f"127.0.0.1:{port}", "in use")
        # Nor where there is no such address.
        right = node.config.read_text()
        node.config.write_text(right.replace(f"server: {{listen: '127.0.0.1:{node.client_port}",
                                             f"server: {{listen: '192.0.2.1:{node.client_port}"))
        self.assert_refuses(node, f"192.0.2.1:{node.client_port}")
        node.config.write_text(right)
        node.start().wait_ready()
        self.assertEqual(cluster.run("get", "k").stdout, b"v")


def ends(stream):
    """Waits until the other side has closed; what it said before."""
    said = b""
    try:
        while True:
            some = stream.recv(65536)
            if not some:
                return said
            said += some
    except ConnectionError:
        return said


def frame(*segments):
    """A frame as it should be, of whole words."""
    table = struct.pack("<I", len(segments) - 1)
    table += b"".join(struct.pack("<I", len(segment) // 8) for segment in segments)
    return table + bytes(-len(table) % 8) + b"".join(segments)


class Sockets(Case):
    """Bytes that are no messages, on the client port and on the peer port of a live leader, while
    another client writes and reads."""

    def setUp(self):
        self.trio = self.cluster(nodes=3, server="max_connections: 40, ")
        self.leader = self.trio.leader
        # What a follower says first, recorded before there is a leader.
        with socket.create_server(("127.0.0.1", self.leader.peer_port)) as instead:
            instead.settimeout(60)
            self.trio.nodes[1].start()
            dialled, _ = instead.accept()
            with dialled:
                dialled.settimeout(60)
                self.peer_hello = b""
                while not frames_of(self.peer_hello) or \
                        len(frames_of(self.peer_hello)[0]) > len(self.peer_hello):
                    self.peer_hello += dialled.recv(65536)
        self.leader.start()
        self.trio.nodes[2].start()
        for node in self.trio.nodes:
            node.wait_ready()
        self.writes = 0
        recorder = Recorder(self, self.leader.client_port)
        for verb in (["put", "--", "recorded", "v" * 100], ["get", "recorded"], ["add", "n", "3"],
                     ["cas", "recorded", "a", "b"], ["append"], ["tail"], ["status"]):
            before = len(recorder.sent)
            self.trio.run(*verb, server=recorder.address, check=False, input=b"line\nline\n")
            if verb[0] == "put":
                self.client_hello, self.put = frames_of(recorder.sent[before:])[:2]
        self.requests = [one for one in frames_of(recorder.sent) if one != self.client_hello]
        self.assertGreaterEqual(len(self.requests), 7)

    def assert_serves(self):
        """This node, and the whole cluster: another client's write and read."""
        self.writes += 1
        self.trio.run("put", "alive", str(self.writes))
        self.assertEqual(self.trio.run("get", "alive").stdout, b"%d" % self.writes)
        self.assertTrue(all(node.running() for node in self.trio.nodes))

    def send(self, port, content, half_close=False):
        """What came back until the node closed the connection."""
        with connect(port) as stream:
            try:
                stream.sendall(content)
                if half_close:
                    stream.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # closed already
            return ends(stream)

    def test_frames_that_lie_about_their_size_are_closed_at_once(self):
        huge = 0xffffffff
        lies = [struct.pack("<II", huge, huge), struct.pack("<II", 0, huge),
                struct.pack("<II", 16, 1), struct.pack("<II", 0x7fffffff, 0),
                struct.pack("<18I", 15, *[huge] * 16, 0), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10]
        before = resident_bytes(self.leader)
        for port, hello in ((self.leader.client_port, self.client_hello),
                            (self.leader.peer_port, self.peer_hello)):
            for lie in lies:
                self.assertEqual(self.send(port, lie), b"", lie)
                # As little after a hello that is in order. (The peer's replaces that follower's
                # connection; it dials again.)
                self.send(port, hello + lie)
            # Larger than a hello, and announced before there was one.
            self.send(port, struct.pack("<II", 0, (1 << 20) // 8))
            self.assert_serves()
        self.assertLess(resident_bytes(self.leader) - before, 64 << 20)
        self.assertGreater(self.leader.metric("tailrace_rpc_bad_frames_total"), 0)
        self.assertGreater(self.leader.metric("tailrace_peer_bad_frames_total"), 0)
        self.trio.wait_equal()

    def test_large_frames_that_are_announced_and_never_come_cost_no_memory(self):
        before = resident_bytes(self.leader)
        announced = struct.pack("<II", 0, (15 << 20) // 8) + bytes(1000)
        streams = []
        try:
            for _ in range(30):
                stream = connect(self.leader.client_port)
                streams.append(stream)
                stream.sendall(self.client_hello + announced)
            self.assert_serves()
            grown = resident_bytes(self.leader) - before
            self.assertLess(grown, 64 << 20, "30 frames of 15 MiB were announced")
        finally:
            for stream in streams:
                stream.close()

    def test_truncated_frames(self):
        for cut in range(1, len(self.client_hello), 5):
            self.assertEqual(self.send(self.leader.client_port, self.client_hello[:cut],
                                       half_close=True), b"")
        for cut in range(1, len(self.put), 5):
            self.send(self.leader.client_port, self.client_hello + self.put[:cut], half_close=True)
        for cut in range(1, len(self.peer_hello), 3):
            self.assertEqual(self.send(self.leader.peer_port, self.peer_hello[:cut],
                                       half_close=True), b"")
        self.assert_serves()
        self.trio.wait_equal()

    def test_a_first_message_that_is_no_hello(self):
        for content in (self.put, frame(bytes(800))[:-8], struct.pack("<II", 0, 0)):
            self.assertEqual(self.send(self.leader.client_port, content, half_close=True), b"")
        # Nothing but zeros is a hello that states no version: that is answered, and closed.
        for content in (frame(bytes(8)), frame(bytes(64))):
            self.assertIn(b"states no protocol version",
                          self.send(self.leader.client_port, content))
        # One side's hello at the other's port.
        self.send(self.leader.client_port, self.peer_hello, half_close=True)
        self.send(self.leader.peer_port, self.client_hello, half_close=True)
        for content in (self.put, frame(bytes(8)), frame(bytes(64))):
            self.send(self.leader.peer_port, content)
        self.assert_serves()

    def test_a_peer_of_another_cluster_or_number_is_told_and_closed(self):
        self.assertIn(b"test", self.peer_hello)
        answer = self.send(self.leader.peer_port, self.peer_hello.replace(b"test", b"tEst"))
        self.assertIn(b"belongs to cluster 'tEst'", answer)
        self.assert_serves()

    def test_random_bytes(self):
        seed = random.SystemRandom().getrandbits(32)
        chance = random.Random(seed)
        with self.subTest(seed=seed):
            for port in (self.leader.client_port, self.leader.peer_port):
                for _ in range(40):
                    content = chance.randbytes(chance.choice((1, 7, 8, 9, 64, 1000, 100000)))
                    self.send(port, content, half_close=True)
            self.assert_serves()

    def test_requests_with_changed_bytes(self):
        seed = random.SystemRandom().getrandbits(32)
        chance = random.Random(seed)
        with self.subTest(seed=seed):
            for number in range(400):
                request = bytearray(chance.choice(self.requests))
                for _ in range(chance.choice((1, 1, 2, 8))):
                    request[chance.randrange(8, len(request))] = chance.randrange(256)
                self.send(self.leader.client_port, self.client_hello + bytes(request),
                          half_close=True)
                if number % 100 == 0:
                    self.assert_serves()
            self.assert_serves()
            self.trio.wait_equal()
            self.trio.run("verify")

    def test_messages_with_changed_bytes_from_a_peer(self):
        seed = random.SystemRandom().getrandbits(32)
        chance = random.Random(seed)
        with self.subTest(seed=seed):
            for _ in range(60):
                junk = frame(chance.randbytes(8 * chance.randrange(1, 20)))
                self.send(self.leader.peer_port, self.peer_hello + junk, half_close=True)
            self.assert_serves()
            self.trio.wait_equal()

    def test_too_many_connections(self):
        recorder = Recorder(self, self.leader.client_port)
        follower = subprocess.Popen([TAILRACE, "tail", "--follow", "--server", recorder.address],
                                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        follow = wait_until("a tail", lambda: (frames_of(recorder.sent) + [None, None])[1])
        follower.kill()
        follower.wait()
        streams = [connect(self.leader.client_port) for _ in range(40)]
        try:
            for stream in streams:  # none of them is idle
                stream.sendall(self.client_hello + follow)
            wait_until("they are in",
                       lambda: self.leader.metric("tailrace_rpc_tails") == len(streams))
            done = self.verb(REFUSED, self.trio, "get", "recorded", "--timeout", "5",
                             server=self.leader.server)
            self.assertIn(b"40 connections are in use, the most that this server takes", done.stderr)
            # But operators are answered, and who is in stays in.
            self.trio.run("status", server=self.leader.server)
            self.assertEqual(self.leader.metric("tailrace_rpc_tails"), len(streams))
        finally:
            for stream in streams:
                stream.close()
        self.assertEqual(wait_until("there is room again", lambda: self.trio.run(
            "get", "recorded", "--timeout", "5", check=False).stdout), b"v" * 100)
        # Idle ones make room by themselves.
        streams = [connect(self.leader.client_port) for _ in range(40)]
        for stream in streams:
            stream.sendall(self.client_hello)
        wait_until("they are in", lambda: self.leader.metric("tailrace_rpc_connections") >= 40)
        self.trio.run("put", "recorded", "v" * 100, "--timeout", "10")
        for stream in streams:
            stream.close()
        self.assert_serves()

    def test_a_follower_that_is_asked_for_what_the_leader_does(self):
        follower = self.trio.nodes[1]
        with connect(follower.client_port) as stream:
            stream.sendall(self.client_hello + self.put)
            answer = b""
            while b"not_leader" not in answer:
                some = stream.recv(65536)
                self.assertNotEqual(some, b"", answer)
                answer += some
            self.assertIn(b"node 2 is a follower and does not lead; the leader is node 1 at "
                          + self.leader.server.encode(), answer)
        # Without a leader the client says who did not answer, and nothing is done.
        self.leader.kill()
        done = self.verb(UNREACHABLE, self.trio, "put", "late", "v", "--timeout", "1",
                         server=follower.server)
        self.assertRegex(done.stderr.decode(), "does not lead|refused")
        self.assertEqual(self.trio.run("get", "recorded", "--read", "any",
                                       server=follower.server).stdout, b"v" * 100)
        self.leader.start()
        for node in self.trio.nodes:
            node.wait_ready()
        self.verb(NEGATIVE, self.trio, "get", "late")
        self.assert_serves()


class Limits(Case):
    def test_keys_values_and_records(self):
        cluster = self.cluster(server="max_value_bytes: 65 KiB, ")
        cluster.leader.start().wait_ready()
        largest_key, largest_value = "k" * 65535, "v" * 66560
        cluster.run("put", largest_key, "of the largest key")
        cluster.run("put", "largest", largest_value)
        lost = self.verb(NEGATIVE, cluster, "cas", "largest", "another", "v",
                         says="the present value has 66560 bytes; read it with get")
        self.assertEqual(lost.stdout, b"")
        self.verb(REFUSED, cluster, "put", largest_key + "k", "v", says="the limit is 65535 bytes")
        self.verb(REFUSED, cluster, "get", largest_key + "k", says="the limit is 65535 bytes")
        self.verb(REFUSED, cluster, "put", "k", largest_value + "v",
                  says="the limit is 66560 bytes")
        self.verb(REFUSED, cluster, "cas", "k", largest_value + "v", "v",
                  says="the limit is 66560 bytes")
        self.verb(REFUSED, cluster, "put", "", "v", says="the key is empty")
        self.verb(REFUSED, cluster, "append", "--stream", "s" * 1025, input=b"x\n",
                  says="1025 bytes long, 1024 are allowed")
        self.verb(REFUSED, cluster, "append", input=b"x" * 66561 + b"\n",
                  says="66561 bytes long, 66560 are allowed (server.max_value_bytes in")
        self.verb(REFUSED, cluster, "append", input=b"x" * (20 << 20) + b"\n",
                  says="4194304 are allowed")
        cluster.run("append", input=b"x" * 66560 + b"\n")
        binary = bytes(range(1, 256))
        cluster.run("put", os.fsdecode(b"bin" + binary), os.fsdecode(binary))
        cluster.run("put", "empty value", "")
        cluster.leader.kill()
        cluster.leader.start().wait_ready()
        self.assertEqual(cluster.run("get", largest_key).stdout, b"of the largest key")
        self.assertEqual(cluster.run("get", "largest").stdout.decode(), largest_value)
        self.assertEqual(cluster.run("tail").stdout, b"x" * 66560 + b"\n")
        self.assertEqual(cluster.run("get", os.fsdecode(b"bin" + binary)).stdout, binary)
        self.assertEqual(cluster.run("get", "empty value").stdout, b"")
        self.verb(NEGATIVE, cluster, "get", "k")

    def test_a_store_that_is_full_refuses_and_keeps(self):
        settings = SMALL_STORE.replace("store:", "store:\n  disk_bytes: 16 MiB")
        cluster = self.cluster(server=SMALL_VALUES, settings=settings
                               + "state_machine: {store_reserve_bytes: 1 MiB}\n")
        cluster.leader.start().wait_ready()
        value = "v" * 100000
        kept = 0
        while True:
            done = cluster.run("put", f"key {kept}", value, check=False)
            if done.returncode != DONE:
                break
            kept += 1
            self.assertLess(kept, 1000)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn(b"raise store.disk_bytes", done.stderr)
        self.assertGreater(kept, 80)
        self.assertGreater(cluster.leader.metric("tailrace_kv_refused_writes_total"), 0)
        self.assertIn("writes are refused, 1 since the start: the store would need",
                      cluster.leader.errors())
        for again in range(2):
            for number in range(kept):
                self.assertEqual(cluster.run("get", f"key {number}").stdout.decode(), value)
            cluster.run("append", input=b"an event needs little room in the store\n")
            if not again:
                cluster.leader.kill()
                cluster.leader.start().wait_ready()
        # Room is made by deleting, for which there is always some.
        for number in range(0, kept, 2):
            cluster.run("delete", f"key {number}")
        cluster.run("put", "key 0", value)


CLONE_NEWNS = 0x00020000


def private_mounts():
    """From here on this process has mounts of its own: none outlives it. An error text, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        return f"unshare: {os.strerror(ctypes.get_errno())}"
    done = subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode != 0 else None


class Disk(Case):
    """A small file system of the test's own that fills up, or takes no writes at all."""

    SETTINGS = (SMALL_STORE
                + "state_machine: {checkpoint_interval: 0 s, store_reserve_bytes: 1 MiB}\n")

    def mounted(self, mebibytes):
        if NO_MOUNTS is not None:
            self.skipTest(f"NOT TESTED, no file system of its own: {NO_MOUNTS}")
        place = tempfile.mkdtemp(prefix="tailrace-test-")
        self.addCleanup(shutil.rmtree, place, ignore_errors=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", place],
                       check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", place], check=True)
        return pathlib.Path(place)

    def small_cluster(self, mebibytes, reserve):
        place = self.mounted(mebibytes)
        settings = self.SETTINGS.replace("log:\n", f"log:\n  reserve_disk_bytes: {reserve}\n")
        cluster = self.cluster(settings=settings, server=SMALL_VALUES, directory=place / "cluster",
                               replication=self.EVENTS_ALONE)
        cluster.leader.log = pathlib.Path(tempfile.mkstemp(prefix="tailrace-test-")[1])
        self.addCleanup(cluster.leader.log.unlink)
        return place, cluster

    @staticmethod
    def fill(file):
        """Takes what is left of the file system, to the last byte."""
        with open(file, "wb", buffering=0) as ballast:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        ballast.write(bytes(size))
                except OSError:
                    pass

    def assert_events(self, cluster, first, count):
        lines = cluster.run("tail").stdout.splitlines()
        self.assertEqual(len(lines), count)
        self.assertEqual([line[:8] for line in lines],
                         [b"%08d" % number for number in range(first, first + count)])

    def append_until_refused(self, cluster, first):
        """Appends numbered events; how many were acknowledged when the node refused."""
        acknowledged = 0
        for _ in range(1000):
            lines = b"".join(b"%08d" % (first + acknowledged + number) + b"x" * 10000 + b"\n"
                             for number in range(20))
            done = cluster.run("append", check=False, input=lines)
            match = re.search(rb"records (\d+)", done.stdout)
            acknowledged += int(match[1]) if match else 0
            if done.returncode != DONE:
                self.assertEqual(done.returncode, REFUSED, done.stderr)
                self.assertIn(b"has no room for the log's next segment", done.stderr)
                return acknowledged
        self.fail("the file system never became full")

    def test_a_disk_that_fills_refuses_and_keeps_what_was_acknowledged(self):
        place, cluster = self.small_cluster(64, "4 MiB")
        node = cluster.leader
        ballast = place / "ballast"
        ballast.write_bytes(bytes(16 << 20))
        node.start().wait_ready()
        cluster.run("put", "k", "v")
        count = self.append_until_refused(cluster, 0)
        self.assertGreater(count, 100)
        refused = self.verb(REFUSED, cluster, "put", "more", "v" * 100000,
                            says="node 1: the disk of data_dir/log has no room")
        self.assertNotIn(str(place), refused.stderr.decode())
        self.assertIn(str(node.data / "log"), node.errors())
        self.assertTrue(node.running())
        self.assertEqual(cluster.run("get", "k").stdout, b"v")
        self.assert_events(cluster, 0, count)
        # In order and out of order, with the disk still full: it says so before it is asked to write.
        node.stop()
        wait_full(node.start())
        self.assert_events(cluster, 0, count)
        node.kill()
        wait_full(node.start())
        self.assert_events(cluster, 0, count)
        self.assertEqual(cluster.run("get", "k").stdout, b"v")
        # Room, and it goes on without a restart.
        ballast.unlink()
        wait_until("writes are taken again", lambda: cluster.run(
            "put", "more", "v" * 100000, check=False).returncode == DONE)
        count += self.append_until_refused(cluster, count)
        node.kill()
        wait_full(node.start())
        self.assert_events(cluster, 0, count)
        # A checkpoint makes room as well.
        cluster.run("checkpoint")
        wait_until("the truncated segments are room", lambda: cluster.run(
            "append", check=False, input=b"%08d\n" % count).returncode == DONE)
        self.assertEqual(len(cluster.run("get", "more").stdout), 100000)

    def test_a_disk_without_a_byte_left(self):
        place, cluster = self.small_cluster(64, "0")
        node = cluster.leader
        node.start().wait_ready()
        cluster.run("put", "k", "v")
        ballast = place / "ballast"
        self.fill(ballast)
        # What is allocated can still be written. The store may need more, so it is refused, and so is
        # a checkpoint.
        cluster.run("append", input=b"%08d\n" % 0)
        wait_until("the store notices that the disk is full", lambda: cluster.run(
            "put", "k", "w", check=False).returncode == REFUSED)
        written = cluster.run("get", "k").stdout
        self.verb(REFUSED, cluster, "put", "k", "w", says="free disk space")
        self.verb(REFUSED, cluster, "checkpoint", says="No space left on device")
        count = 1 + self.append_until_refused(cluster, 1)
        self.assertEqual(node.http("/healthz")[0], 200)
        self.assert_events(cluster, 0, count)
        # It stops in order: all is durable, though nothing more could be noted of it.
        node.stop()
        # It may refuse to start, and says why; nothing is lost by trying.
        for _ in range(2):
            code, error = serve_once_or_stop(node)
            self.assertIn(code, (DONE, REFUSED), error)
            if code == REFUSED:
                self.assertIn("No space left on device", error)
        ballast.unlink()
        node.start().wait_ready()
        self.assertEqual(cluster.run("get", "k").stdout, written)
        self.assert_events(cluster, 0, count)
        # The same with a node that is killed.
        cluster.run("put", "k", "x")
        self.fill(ballast)
        cluster.run("append", input=b"%08d\n" % count)
        count += 1
        node.kill()
        for _ in range(2):
            code, error = serve_once_or_stop(node)
            self.assertIn(code, (DONE, REFUSED), error)
        ballast.unlink()
        node.start().wait_ready()
        self.assertEqual(cluster.run("get", "k").stdout, b"x")
        self.assert_events(cluster, 0, count)

    def test_a_follower_whose_disk_fills_catches_up_when_there_is_room(self):
        place = self.mounted(32)
        cluster = self.cluster(nodes=3, server=SMALL_VALUES, settings=self.SETTINGS.replace(
            "log:\n", "log:\n  reserve_disk_bytes: 4 MiB\n"))
        follower = cluster.nodes[2]
        follower.config.write_text(follower.config.read_text().replace(str(follower.data),
                                                                       str(place / "data")))
        ballast = place / "ballast"
        ballast.write_bytes(bytes(20 << 20))
        for node in cluster.nodes:
            node.start()
        for node in cluster.nodes:
            node.wait_ready()
        lines = b"".join(b"%08d" % number + b"x" * 10000 + b"\n" for number in range(1200))
        cluster.run("append", input=lines)
        self.assertTrue(follower.running())
        nodes = cluster.status()
        self.assertLess(nodes[2]["durable"], nodes[0]["durable"])
        self.assertGreater(nodes[0]["followers"][1]["lag_bytes"], 0)
        ballast.unlink()
        cluster.wait_equal()
        self.assert_events(cluster, 0, 1200)
        cluster.run("verify")

    def test_a_directory_that_takes_no_writes(self):
        place, cluster = self.small_cluster(64, "4 MiB")
        node = cluster.leader
        node.start().wait_ready()
        cluster.run("put", "k", "v")
        node.kill()
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        self.assert_refuses(node, str(node.data), "Read-only file system")
        code, error = serve_once(node, "--data-dir", str(place / "new"))
        self.assertEqual(code, REFUSED)
        self.assertIn(str(place / "new"), error)
        subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
        node.start().wait_ready()
        self.assertEqual(cluster.run("get", "k").stdout, b"v")

    def test_a_directory_of_somebody_else(self):
        if os.geteuid() == 0:
            self.skipTest("NOT TESTED: root may write everywhere")
        cluster = self.cluster()
        cluster.leader.start().wait_ready()
        cluster.leader.stop()
        cluster.leader.data.chmod(0o500)
        self.addCleanup(cluster.leader.data.chmod, 0o700)
        (cluster.leader.data / "LOCK").chmod(0o400)
        self.assert_refuses(cluster.leader, str(cluster.leader.data), "Permission denied")


def says_full(node):
    """Whether it serves and is not ready for want of room."""
    code, told = node.http("/readyz")
    return code == 503 and ("has no room for the log" in told or "would be refused" in told)


def wait_full(node):
    wait_until("the node says that its disk is full", lambda: says_full(node), 60)


def serve_once_or_stop(node):
    """Starts the node; (code, what it said) of its refusal, or of its stop once it is ready, or would be
    if its disk had room."""
    before = len(node.log.read_text(errors="replace"))
    node.start()
    wait_until("the node is ready or has ended",
               lambda: not node.running() or node.http("/readyz")[0] == 200 or says_full(node), 60)
    code = node.kill(signal.SIGTERM) if node.running() else node.process.returncode
    return code, node.log.read_text(errors="replace")[before:]


NO_MOUNTS = private_mounts()
# A test that is told to stop goes through its cleanups.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
