"""What scenarios of services on three real nodes have in common: clients that say what they are told, kills,
restarts. The arguments are TAILRACE STREAM_CLIENTS [unittest arguments].

Environment: TAILRACE_SCENARIOS=large makes each of them long.
"""
import base64
import collections
import json
import os
import pathlib
import subprocess
import sys
import unittest

from cluster import SMALL_LOG, Cluster, end_with_parent, wait_until

TAILRACE, CLIENTS = sys.argv[1:3]
LARGE = os.environ.get("TAILRACE_SCENARIOS") == "large"
PATIENCE = 120  # seconds; for a machine that is busy with other things
# Checkpoints all the time, and no event is truncated.
SETTINGS = SMALL_LOG + "state_machine: {checkpoint_log_bytes: 256 KiB, retention_bytes: 4 GiB}\n"


class Scenario(unittest.TestCase):
    in_front = None
    settings = SETTINGS

    def setUp(self):
        self.nodes = Cluster(TAILRACE, nodes=3, settings=self.settings, in_front=self.in_front)
        self.addCleanup(self.nodes.__exit__)
        self.nodes.__enter__().wait_version()
        self.path = pathlib.Path(self.nodes.directory) / "told"
        self.errors = pathlib.Path(self.nodes.directory) / "clients.stderr"
        self.process = None

    def describe(self):
        errors = self.errors.read_text() if self.errors.exists() else ""
        return errors + self.nodes.describe()

    # ---- The clients, and what they are told.

    def start_clients(self, *words):
        with open(self.path, "wb") as out, open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                [CLIENTS, *map(str, words), "--server", self.nodes.servers], stdin=subprocess.PIPE,
                stdout=out, stderr=errors, preexec_fn=end_with_parent)
        self.addCleanup(lambda: (self.process.kill(), self.process.wait(), self.process.stdin.close()))

    def lines(self):
        return [line.split() for line in self.path.read_text().splitlines()]

    def wait_for_lines(self, more):
        goal = len(self.lines()) + more

        def reached():
            self.assertIn(self.process.poll(), (None, 0), "the clients ended with an error")
            return self.process.poll() == 0 or len(self.lines()) >= goal

        wait_until(f"{more} more answers", reached, PATIENCE)

    def end_clients(self, stop):
        """What each line says, by its first word. `stop`: nothing new is begun."""
        if stop:
            self.process.stdin.close()
        self.assertEqual(self.process.wait(timeout=PATIENCE * (10 if LARGE else 1)), 0)
        told = collections.defaultdict(list)
        for kind, *rest in self.lines():
            told[kind].append([int(one) for one in rest])
        return told

    # ---- What happens to the nodes.

    def kill_leader(self):
        """And another one takes over. The old one is back and follows at the end."""
        old = self.nodes.serving(PATIENCE)
        old.kill()
        self.nodes.run("promote", "--node", old.number % 3 + 1)
        self.nodes.serving(PATIENCE, other_than=old)
        self.back([old])

    def restart_all(self):
        for node in self.nodes.nodes:
            node.kill()
        self.back(self.nodes.nodes)

    def back(self, nodes):
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait_ready(PATIENCE)
        self.nodes.serving(PATIENCE)

    # ---- What the nodes have.

    def events(self, stream, node):
        """(version, text, id) of each."""
        done = self.nodes.run("read", stream, "--json", "--read", "any", server=node.behind)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        return [(one["version"], base64.b64decode(one.get("data_base64", "")).decode(), one.get("id"))
                for one in events]

    def on_each_node(self, look):
        """That all nodes have the same, once each has all; it."""
        self.nodes.wait_equal(PATIENCE)
        first, *others = [look(node) for node in self.nodes.nodes]
        for node, found in zip(self.nodes.nodes[1:], others):
            self.assertEqual(found, first, f"node {node.number} has something else than node 1")
        return first
