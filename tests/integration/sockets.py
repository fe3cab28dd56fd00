"""Bare sockets for tests that speak to a node in its own bytes."""
import itertools
import pathlib
import random
import socket
import struct
import threading
import time


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def frame_size(stream):
    """Of the frame that it begins with; more than it has while that is not whole."""
    if len(stream) < 8:
        return 8
    count = struct.unpack_from("<I", stream)[0] + 1
    table = (4 * (count + 1) + 7) // 8 * 8
    if len(stream) < table:
        return table
    return table + 8 * sum(struct.unpack_from(f"<{count}I", stream, 4))


def frames_of(stream):
    """Splits recorded bytes into frames."""
    frames = []
    while len(stream) >= 8:
        size = frame_size(stream)
        frames.append(stream[:size])
        stream = stream[size:]
    return frames


def shut(*ends):
    for one in ends:
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Recorder:
    """A proxy in front of a port that keeps what its clients send. `asleep`: it accepts nothing for so
    many seconds, and has no room for those that come meanwhile. `late`: it takes each connection at once,
    and passes nothing on for so many seconds."""

    def __init__(self, test, port, asleep=0, late=0):
        self.target = port
        self.late = late
        self.sent = b""
        self.asleep = asleep
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=0 if asleep else None)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()
        test.addCleanup(self.close)

    def accept(self):
        time.sleep(self.asleep)
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.late:
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()
            else:
                self.serve(client)

    def serve(self, client):
        time.sleep(self.late)
        try:
            server = connect(self.target)
        except OSError:
            return client.close()  # the test is over
        threads = [threading.Thread(target=self.copy, args=pair, daemon=True)
                   for pair in ((client, server, True), (server, client, False))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.close()
        server.close()

    def copy(self, come, go, keep):
        try:
            while some := come.recv(65536):
                if keep:
                    self.sent += some
                go.sendall(some)
        except OSError:
            pass
        shut(come, go)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


class Forwarder:
    """Passes on what comes to one port to another one, as a container's published port does."""

    def __init__(self, port, target):
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.open = set()
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = connect(self.target)
            except OSError:  # nobody is there: as if nobody was here
                client.close()
                continue
            for one in (client, server):
                one.settimeout(None)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.open |= {client, server}
            for way, pair in ((self.copy, (client, server)), (self.answer, (server, client))):
                threading.Thread(target=self.run, args=(way, *pair), daemon=True).start()

    def copy(self, come, go):
        while some := come.recv(1 << 20):
            go.sendall(some)

    answer = copy

    def run(self, way, come, go):
        try:
            way(come, go)
        except OSError:
            pass
        shut(come, go)
        come.close()
        with self.lock:
            self.open.discard(come)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            shut(*self.open)


class Cutter(Forwarder):
    """Cuts a connection in place of an answer that the server has given: a fifth of those to a client that
    goes on. The first answers of each connection always pass, so that everyone gets on."""

    FIRST, SHARE = 3, 0.5  # SHARE of the others is cut

    def __init__(self, port, target):
        self.passed = self.cut = 0
        self.random = random.Random()
        super().__init__(port, target)

    def answer(self, come, go):
        rest = b""
        for number in itertools.count():  # the first is the server's greeting
            while len(rest) < (size := frame_size(rest)):
                some = come.recv(1 << 20)
                if not some:
                    return
                rest += some
            if number > self.FIRST and self.random.random() < self.SHARE:
                with self.lock:
                    self.cut += 1
                return
            go.sendall(rest[:size])
            rest = rest[size:]
            if number > 0:
                with self.lock:
                    self.passed += 1


def resident_bytes(node):
    for line in pathlib.Path(f"/proc/{node.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
