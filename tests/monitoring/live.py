"""A cluster that does all that a dashboard shows, and a real Prometheus server which scrapes it."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETTINGS = ROOT / "deploy/monitoring/prometheus"
sys.path[:0] = [str(ROOT / "tests/integration"), str(ROOT / "deploy/monitoring")]
from asking import Prometheus  # noqa: E402
from cluster import SMALL_LOG, Cluster, end_with_parent, free_ports, wait_until  # noqa: E402
from etcd import INSTALLED, Etcd  # noqa: E402

# Checkpoints, digests and reads of the disk within seconds.
OFTEN = SMALL_LOG.replace("memory_bytes: 64 MiB", "memory_bytes: 16 MiB") + (
    "state_machine: {checkpoint_interval: 6 s, retention_bytes: 1 MiB}\n")
DIGESTS = "  digest_interval: 3 s\n"


def changed(text, pattern, by):
    """Each occurrence replaced; there has to be one."""
    made, count = re.subn(pattern, lambda _: by, text)
    assert count, f"prometheus.yml has no {pattern}"
    return made


class Server:
    """Prometheus with the settings of deploy/monitoring/prometheus, but for intervals and targets. Alerts go
    nowhere."""

    def __init__(self, directory, cluster, scrape_seconds):
        self.directory, self.scrape_seconds = pathlib.Path(directory), scrape_seconds
        self.port, nowhere = free_ports(2)
        self.process = None
        text = (SETTINGS / "prometheus.yml").read_text()
        text = changed(text, r"scrape_interval: *\S+", f"scrape_interval: {scrape_seconds}s")
        text = changed(text, r"scrape_timeout: *\S+", f"scrape_timeout: {scrape_seconds}s")
        text = changed(text, r"evaluation_interval: *\S+", f"evaluation_interval: {2 * scrape_seconds}s")
        text = changed(text, r"localhost:9093", f"127.0.0.1:{nowhere}")
        (self.directory / "prometheus.yml").write_text(text)
        for rules in SETTINGS.glob("*.rules.yml"):
            shutil.copy(rules, self.directory / rules.name)
        targets = "".join(f'- targets: ["127.0.0.1:{node.metrics_port}"]\n'
                          f'  labels: {{cluster: test, node: "{node.number}"}}\n' for node in cluster.nodes)
        (self.directory / "targets").mkdir()
        (self.directory / "targets/tailrace.yml").write_text(targets)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        with open(self.directory / "prometheus.log", "wb") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={self.directory}/prometheus.yml",
                 f"--storage.tsdb.path={self.directory}/db", f"--web.listen-address=127.0.0.1:{self.port}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, preexec_fn=end_with_parent)
        self.asked = Prometheus(self.address)

        def scraped():
            try:
                return sum(value for _, value in self.asked.now("up")) == 3
            except (OSError, ValueError):  # it starts
                return False

        wait_until("Prometheus scrapes three nodes", scraped, 30)
        return self

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Load:
    """Writes, reads of all levels, appends, tails, scans and errors, until the block ends. What fails while
    there is no leader is tried again."""

    def __init__(self, cluster, in_flight=4):
        self.cluster, self.in_flight = cluster, in_flight
        self.ended, self.processes, self.threads = threading.Event(), {}, []

    def often(self, pause, *arguments):
        """One process after the other."""
        def run():
            while not self.ended.wait(pause):
                environment = dict(os.environ, TAILRACE_SERVER=self.cluster.servers)
                self.processes[threading.get_ident()] = process = subprocess.Popen(
                    [self.cluster.program, *arguments], env=environment, stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                process.wait()

        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def client(self, step):
        """A little of everything that the benchmark does not do."""
        run = self.cluster.run
        more = {"check": False, "timeout": 60}
        run("append", "--stream", "orders", input=b"order placed\n" * 20, **more)
        run("put", f"key {step}", "value", **more)
        run("add", "count", "1", **more)
        run("cas", "count", "nothing", "other", **more)
        run("put", "short", "lived", "--ttl", "5s", **more)
        run("expire", f"key {step}", "--ttl", "60s", **more)
        run("delete", f"key {step - 1}", **more)
        for level in ("any", "bounded=1s", "linearizable", "at-least=1:64"):
            run("get", "count", "--read", level, **more)
        run("scan", "key", "--limit", "100", **more)
        run("put", "", "no key", **more)
        run("get", "absent", **more)

    def clients(self):
        step = 0
        while not self.ended.wait(0.2):
            with contextlib.suppress(AssertionError, subprocess.SubprocessError, OSError):
                self.client(step)
            step += 1

    def __enter__(self):
        self.often(0.5, "bench", "service", "--seconds", "3600", "--clients", "2", "--in-flight",
                   str(self.in_flight), "--keys", "20000", "--value-bytes", "400", "--op", "mixed")
        self.often(0.5, "bench", "service", "--seconds", "3600", "--clients", "1", "--in-flight", "2", "--keys",
                   "20000", "--op", "get", "--read", "any")
        self.often(0.5, "tail", "--follow", "--from", "end")
        self.often(4, "verify")
        self.threads.append(threading.Thread(target=self.clients, daemon=True))
        self.threads[-1].start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for process in list(self.processes.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
        for thread in self.threads:
            thread.join(timeout=60)


@contextlib.contextmanager
def loaded(program, scrape_seconds, in_flight=4):
    """(cluster, server, load) that run; with etcd where it is installed, so that another node takes over by
    itself."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="tailrace-test-"))
        more = {}
        if INSTALLED:
            etcd = Etcd(directory)
            stack.callback(etcd.kill)
            more["coordinator"] = etcd.start().coordinator
        cluster = stack.enter_context(Cluster(program, nodes=3, settings=OFTEN, replication=DIGESTS, **more))
        server = Server(directory, cluster, scrape_seconds)
        stack.callback(server.stop)
        server.start()
        yield cluster, server, stack.enter_context(Load(cluster, in_flight))


def lose_the_leader(cluster, away_seconds):
    """Kills it, and starts it again after a while; without etcd the next node is told to lead."""
    leader = cluster.serving()
    leader.kill()
    if not INSTALLED:
        cluster.run("promote", "--node", leader.number % 3 + 1)
    cluster.serving(other_than=leader)
    time.sleep(away_seconds)
    leader.start().wait_ready()
