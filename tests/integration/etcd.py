"""A real etcd of one member, for tests."""
import json
import pathlib
import shutil
import subprocess
import urllib.request

from cluster import end_with_parent, free_ports, wait_until

INSTALLED = shutil.which("etcd") is not None


class Etcd:
    """`inside` is a command that runs it on another machine (network.py), whose address is `host`."""

    def __init__(self, directory, host="127.0.0.1", inside=()):
        self.directory, self.host, self.inside = pathlib.Path(directory), host, list(inside)
        self.port, self.peer_port = free_ports(2)
        self.process = None

    @property
    def endpoint(self):
        return f"http://{self.host}:{self.port}"

    @property
    def coordinator(self):
        """For a node's file."""
        return f'kind: etcd, endpoints: ["{self.endpoint}"], lease_ttl: 3 s'

    def start(self):
        with open(self.directory / "etcd.log", "ab") as log:
            self.process = subprocess.Popen(
                [*self.inside, "etcd", "--data-dir", str(self.directory / "etcd"),
                 "--listen-client-urls", self.endpoint, "--advertise-client-urls", self.endpoint,
                 "--listen-peer-urls", f"http://127.0.0.1:{self.peer_port}",
                 "--initial-advertise-peer-urls", f"http://127.0.0.1:{self.peer_port}",
                 "--initial-cluster", f"default=http://127.0.0.1:{self.peer_port}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=end_with_parent)
        if not self.inside:
            wait_until("etcd is healthy", self.healthy, 60)
        return self

    def healthy(self):
        try:
            with urllib.request.urlopen(f"{self.endpoint}/health", timeout=2) as answer:
                return json.load(answer)["health"] == "true"
        except OSError:
            return False

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
