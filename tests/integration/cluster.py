"""Real `tailrace serve` processes on free loopback ports, for tests: started, killed, restarted, and
never left behind.

Usage in a test program:  PROGRAM=tailrace; with Cluster(PROGRAM, nodes=3) as cluster: ...
"""
import contextlib
import ctypes
import fcntl
import functools
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

from sockets import Forwarder

# Small enough that truncation and new segments happen within a test.
SMALL_LOG = """
log:
  page_bytes: 2 MiB
  buffer_pages: 4
  segment_bytes: 2 MiB
store:
  memory_bytes: 64 MiB
  page_bytes: 4 MiB
  segment_bytes: 4 MiB
  index_buckets: 4096
"""

# The exit code of a verb that may succeed when it is tried again.
UNREACHABLE = 3

# For disks of a few mebibytes.
SMALL_STORE = SMALL_LOG.replace("memory_bytes: 64 MiB", "memory_bytes: 8 MiB").replace(
    "page_bytes: 4 MiB\n  segment_bytes: 4 MiB", "page_bytes: 512 KiB\n  segment_bytes: 1 MiB")
# Which must fit on a page of it.
SMALL_VALUES = "max_value_bytes: 256 KiB, "


_libc = ctypes.CDLL(None)


def end_with_parent():
    """For Popen's preexec_fn: the child is killed when the thread that started it ends, also when the
    test was killed itself."""
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


_taken = []  # the locks of the ports that this process was given, until it ends


def _take_port(port):
    """Whether no other test program has it; a node of that one may just be down."""
    folder = pathlib.Path(tempfile.gettempdir()) / "tailrace-test-ports"
    folder.mkdir(exist_ok=True)
    lock = open(folder / str(port), "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return False
    _taken.append(lock)
    return True


def free_ports(count):
    """Ports that were free a moment ago, and that no other test program is given while this one runs.
    They lie below those that the system gives to outgoing connections: one of those would take the port
    of a node that is down."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        end = int(file.read().split()[0])
    ports = []
    while len(ports) < count:
        port = random.randrange(min(10000, end // 2), end)
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports and _take_port(port):
            ports.append(port)
    return ports


def wait_until(what, condition, seconds=30, pause=0.02):
    """Calls `condition` until it is true; the last value. Fails with `what` after the time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(pause)


@contextlib.contextmanager
def explained(describe):
    """An error that comes out of the block is told with what `describe` returns."""
    try:
        yield
    except unittest.SkipTest:
        raise
    except BaseException as error:
        raise AssertionError(f"{error!r}\n{describe()}") from error


def explained_tests(tests):
    """For a TestCase: each of its tests that fails is told with what its `describe()` returns then. (A
    context that setUp enters and a cleanup leaves sees no failure.)"""
    def wrapped(test):
        @functools.wraps(test)
        def run(self):
            with explained(self.describe):
                test(self)
        return run

    for name in [name for name in vars(tests) if name.startswith("test_")]:
        setattr(tests, name, wrapped(vars(tests)[name]))
    return tests


class Node:
    """One node: its configuration, and its process while it runs."""

    def __init__(self, program, number, directory, ports, config, host="127.0.0.1", inside=(),
                 behind=None):
        self.program, self.number = program, number
        self.host, self.inside = host, list(inside)
        self.directory = pathlib.Path(directory)
        self.client_port, self.peer_port, self.metrics_port = ports
        self.behind = behind or self.server
        self.config = self.directory / "node.yaml"
        self.data = self.directory / "data"
        self.log = self.directory / "stderr.log"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.config.write_text(config)
        self.process = None

    @property
    def server(self):
        return f"{self.host}:{self.client_port}"

    def start(self):
        assert not self.running(), f"node {self.number} runs already"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*self.inside, self.program, "serve", "--config", str(self.config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=end_with_parent)
        return self

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self, number=signal.SIGKILL):
        """Sends the signal and waits for the end; the exit code (negative: the signal)."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def stop(self):
        """SIGTERM: drains, flushes, ends with 0."""
        code = self.kill(signal.SIGTERM)
        assert code == 0, f"node {self.number} ended with {code}:\n{self.errors()}"

    def errors(self):
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    def http(self, path):
        """(status, body); status 0 while nothing listens."""
        try:
            url = f"http://127.0.0.1:{self.metrics_port}{path}"
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name, **labels):
        """The sum of the samples with these labels, or None where there is none."""
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        values = []
        for line in self.http("/metrics")[1].splitlines():
            series, _, value = line.rpartition(" ")
            if series.split("{")[0] == name and all(label in series for label in wanted):
                values.append(float(value))
        return sum(values) if values else None

    def wait_ready(self, seconds=30):
        def ready():
            if not self.running():
                raise AssertionError(f"node {self.number} ended with {self.process.returncode}:\n"
                                     f"{self.errors()}")
            return self.http("/readyz")[0] == 200

        try:
            wait_until(f"node {self.number} is ready", ready, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; /readyz: {self.http('/readyz')}\n{self.errors()}")
        return self


class Cluster:
    """`nodes` nodes of which number 1 leads. `server` and `metrics` ("KEY: VALUE, " each) and `replication`
    ("  KEY: VALUE\\n" each) are more keys of these mappings, `members` ({NUMBER: "KEY: VALUE, "}) of
    single members. With a `network` (network.py) each node is on a machine of its own. `published` nodes
    listen on other ports than they advertise, with a forwarder in between; with `in_front` one of that class
    is between clients and nodes alone, and `node.behind` is the way past it. The directory goes at the end,
    unless it is kept for a failed test by TAILRACE_KEEP=1."""

    def __init__(self, program, nodes=3, settings=SMALL_LOG, directory=None, server="",
                 replication="", coordinator="kind: static, leader: 1", network=None, members=(),
                 published=False, metrics="", in_front=None):
        self.published, self.in_front, self.forwarders = published, in_front, []
        self.program, self.network = program, network
        self.inside = network.inside(0) if network else []
        self.owned = directory is None
        self.directory = pathlib.Path(directory or tempfile.mkdtemp(prefix="tailrace-test-"))
        self.server, self.settings, self.metrics = server, settings, metrics
        self.replication = f"replication:\n  coordinator: {{{coordinator}}}\n{replication}"
        ports = free_ports(3 * nodes)
        triples = [ports[3 * i:3 * i + 3] for i in range(nodes)]
        more = dict(members)
        self.members = "".join(self._member(i + 1, triples[i], more.get(i + 1, ""))
                               for i in range(nodes))
        self.nodes = [self._node(i + 1, triples[i], self.members) for i in range(nodes)]

    def _host(self, number):
        return self.network.host(number) if self.network else "127.0.0.1"

    def _member(self, number, ports, more):
        client, peer, _ = ports
        host = self._host(number)
        return f'    - {{{more}id: {number}, peer: "{host}:{peer}", client: "{host}:{client}"}}\n'

    def member(self, node):
        """Its line in `members`, as a voter."""
        return self._member(node.number, (node.client_port, node.peer_port, 0), "")

    def _node(self, number, ports, members):
        client, peer, metrics = ports
        host = self._host(number)
        folder = self.directory / f"node{number}"
        listen, replication = f"{host}:{client}", self.replication
        if self.published:
            behind = free_ports(2)
            self.forwarders += [Forwarder(*ports) for ports in zip((client, peer), behind)]
            listen = f"0.0.0.0:{behind[0]}"
            replication += f"  listen: '0.0.0.0:{behind[1]}'\n"
        inner = client
        if self.in_front:
            inner = free_ports(1)[0]
            self.forwarders.append(self.in_front(client, inner))
            listen = f"{host}:{inner}"
        config = (f"cluster: test\nnode: {number}\ndata_dir: {folder}/data\n"
                  f"server: {{{self.server}listen: '{listen}'}}\n"
                  f"metrics: {{{self.metrics}listen: '127.0.0.1:{metrics}'}}\n"
                  f"{replication}  members:\n{members}{self.settings}")
        return Node(self.program, number, folder, ports, config, host,
                    self.network.inside(number) if self.network else (), f"{host}:{inner}")

    def new_node(self):
        """One more, which is no member yet: its configuration has those of the beginning, and itself as a
        learner."""
        number, ports = len(self.nodes) + 1, free_ports(3)
        members = self.members + self._member(number, ports, "voter: false, ")
        self.nodes.append(self._node(number, ports, members))
        return self.nodes[-1]

    def add_member(self, node, *options, **more):
        """`tailrace member add` with its addresses; it waits for as long as the test does."""
        return self.run("member", "add", "--id", node.number, "--peer",
                        f"{node.host}:{node.peer_port}", "--client", node.server, "--timeout",
                        more.get("timeout", 120), *options, **more)

    def kinds(self):
        """{number: "voter", "joining" or "learner"}, as `tailrace member list` has them."""
        told = json.loads(self.run("member", "list", "--json").stdout)
        return {member["node"]: member["kind"] for member in told["members"]}

    def __enter__(self):
        try:
            for node in self.nodes:
                node.start()
            for node in self.nodes:
                node.wait_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            if node.running():
                node.kill()
        for forwarder in self.forwarders:
            forwarder.close()
        if self.owned and not os.environ.get("TAILRACE_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def leader(self):
        return self.nodes[0]

    @property
    def servers(self):
        return ",".join(node.server for node in self.nodes)

    def run(self, *arguments, server=None, input=None, check=True, timeout=120):
        """A client verb; `server` defaults to all nodes, past what is in front. Bytes in, bytes out."""
        past = ",".join(node.behind for node in self.nodes)
        environment = dict(os.environ, TAILRACE_SERVER=server or past)
        done = subprocess.run([*self.inside, self.program, *map(str, arguments)], env=environment,
                              input=input,
                              stdin=subprocess.DEVNULL if input is None else None,
                              capture_output=True, timeout=timeout)
        if check and done.returncode != 0:
            raise AssertionError(f"{arguments} ended with {done.returncode}: "
                                 f"{done.stderr.decode(errors='replace')}")
        return done

    def status(self):
        return json.loads(self.run("status", "--json").stdout)

    def serving(self, seconds=30, other_than=None):
        """The node that leads and serves, once there is one; the newest if an old one thinks it does."""
        def look():
            nodes = json.loads(self.run("status", "--json", "--timeout", 1, check=False).stdout)
            leading = [node for node in nodes if node.get("serving")
                       and node["node"] != (other_than.number if other_than else 0)]
            if not leading:
                return None
            return self.nodes[max(leading, key=lambda node: node["epoch"])["node"] - 1]

        return wait_until("a node serves", look, seconds)

    def transfer(self, number, seconds=30):
        """Hands over to a node, asked again while that node does not follow (it may have come back just now)."""
        def hand_over():
            done = self.run("transfer", "--to", number, check=False)
            if done.returncode not in (0, UNREACHABLE):
                raise AssertionError(f"transfer ended with {done.returncode}: {done.stderr.decode()}")
            return done.returncode == 0

        wait_until(f"node {number} leads", hand_over, seconds)

    def wait_version(self, least=5, seconds=30):
        """Until all nodes know that the cluster is of that version: from 5 on appends are transactions."""
        wait_until(f"the cluster is of version {least}", lambda: all(
            node.get("cluster_version", 0) >= least for node in self.status()), seconds)
        return self

    def describe(self):
        """For a test that fails: what each node says of itself, and the end of what it has logged."""
        status = self.run("status", "--json", "--timeout", 5, check=False).stdout.decode()
        return status + "".join(f"---- node {node.number}, exit code {node.process.poll()}\n"
                                f"{node.errors()}" for node in self.nodes if node.process)

    def wait_equal(self, seconds=60):
        """Until all nodes have applied everything that the leader has."""
        def equal():
            done = self.run("status", "--json", check=False)
            if done.returncode != 0:
                return False
            nodes = json.loads(done.stdout)
            return all(node["applied"] == nodes[0]["durable"] for node in nodes) and nodes

        return wait_until("all nodes have applied the whole log", equal, seconds)
