"""A real Prometheus that watches a test's cluster by the rules of deploy/monitoring/prometheus, in a time that passes
faster."""
import json
import pathlib
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

import rules

sys.path.insert(0, str(rules.ROOT / "tests/integration"))
from cluster import end_with_parent, free_ports, wait_until  # noqa: E402

CONFIGURATION = """
global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}
rule_files: ["*.rules.yml"]
scrape_configs:
  - job_name: tailrace
    static_configs:
"""


class Watcher:
    """Scrapes the nodes twice a second, and notes each alert (name without Tailrace, node) that fires and since when.
    An alert of the whole cluster has node 0."""

    def __init__(self, cluster, directory, factor):
        self.directory = pathlib.Path(directory)
        self.port, = free_ports(1)
        text = CONFIGURATION
        for node in cluster.nodes:
            text += (f"      - targets: ['127.0.0.1:{node.metrics_port}']\n"
                     f"        labels: {{cluster: test, node: '{node.number}'}}\n")
        (self.directory / "prometheus.yml").write_text(text)
        for file in rules.FILES:
            (self.directory / file.name).write_text(rules.scaled(file.read_text(), factor))
        self.firing, self.began = {}, {}  # (name, node): the texts; and the time since when
        self.errors = set()  # of rules that could not be evaluated
        self.lock = threading.Lock()
        self.stopping = threading.Event()

    def __enter__(self):
        with open(self.directory / "log", "wb") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={self.directory}/prometheus.yml",
                 f"--storage.tsdb.path={self.directory}/db", f"--web.listen-address=127.0.0.1:{self.port}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, preexec_fn=end_with_parent)
        try:
            wait_until("every node is scraped", lambda: len(self.query("up == 1")) == 3, 30, 0.2)
        except BaseException:
            self.process.kill()
            raise
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()
        self.process.kill()
        self.process.wait()

    def ask(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=10) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def query(self, expression):
        answer = self.ask("query?" + urllib.parse.urlencode({"query": expression}))
        return answer["result"] if answer else []

    def _watch(self):
        while not self.stopping.wait(0.2):
            answer = self.ask("alerts")
            if answer is None:
                continue
            firing = {}
            for alert in answer["alerts"]:
                if alert["state"] == "firing":
                    labels = alert["labels"]
                    name = labels["alertname"].removeprefix("Tailrace")
                    firing[name, int(labels.get("node", 0))] = alert["annotations"]
            told = self.ask("rules") or {"groups": []}
            errors = {f"{rule['name']}: {rule['lastError']}" for group in told["groups"] for rule in group["rules"]
                      if rule.get("lastError")}
            now = time.monotonic()
            with self.lock:
                self.errors |= errors
                self.began = {key: self.began.get(key, now) for key in firing}
                self.firing = firing

    def now_firing(self):
        with self.lock:
            return dict(self.firing)
