"""The program of the last release and this one in one cluster, both ways, until the cluster goes over to
the newer version. scripts/test-upgrade builds the older program and runs this.

Usage: upgrade_test.py OLD NEW [unittest arguments]
"""
import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from cluster import Cluster, explained_tests, wait_until  # noqa: E402

OLD, NEW = sys.argv[1:3]
PATIENCE = 60


@explained_tests
class Upgrade(unittest.TestCase):
    """Three voters. `written` is what every node must have in the end."""

    def start(self, program, nodes=3, keys=""):
        self.nodes = Cluster(program, nodes=nodes)
        self.configs = {}
        self.written = {}
        for node in self.nodes.nodes:
            self.configure(node, keys)
        self.nodes.__enter__()
        self.addCleanup(self.nodes.__exit__)
        self.nodes.program = NEW  # its client, from here on
        return self.nodes.nodes

    def describe(self):
        return self.nodes.describe()

    def configure(self, node, keys):
        plain = self.configs.setdefault(node.number, node.config.read_text())
        node.config.write_text(plain.replace("replication:\n", "replication:\n" + keys))

    def put(self, count=20):
        for _ in range(count):
            key = f"key-{len(self.written)}"
            self.nodes.run("put", key, key, "--timeout", PATIENCE)
            self.written[key] = key

    def becomes(self, node, program, keys=""):
        """The node ends and starts again as the other program, with more keys in its file."""
        if self.nodes.serving(PATIENCE) is node:
            self.nodes.transfer(node.number % len(self.nodes.nodes) + 1, PATIENCE)
        node.stop()
        node.program = program
        self.configure(node, keys)
        node.start().wait_ready(PATIENCE)
        self.put()

    def version(self):
        return max(node.get("cluster_version", 0) for node in self.nodes.status())

    def first_version(self):
        """The cluster's own, once its log says which members it has."""
        wait_until("the log names the members", lambda: all(
            node.get("members") and self.nodes.run("member", "list", "--json").stdout.find(b'"in_log": true') > 0
            for node in self.nodes.status()), PATIENCE)
        return self.version()

    def start_old_and_replace_all(self, finalize_after):
        """Gives each node in turn the newer program. Returns the nodes and the version of before."""
        nodes = self.start(OLD)
        before = self.first_version()
        self.put()
        for node in reversed(nodes):
            self.becomes(node, NEW, f"  finalize_after: {finalize_after}\n")
        return nodes, before

    def check_all(self):
        self.nodes.wait_equal(PATIENCE)
        for node in self.nodes.nodes:
            scan = self.nodes.run("scan", "", "--json", "--read", "any", server=node.server).stdout.decode()
            pairs = [json.loads(line) for line in scan.splitlines()][:-1]  # the last is of the scan
            self.assertEqual({pair["key"]: pair["value"] for pair in pairs}, self.written)
        self.nodes.run("verify")

    def test_node_by_node_and_back_again(self):
        """While the newer version waits, any node may have either program."""
        nodes, before = self.start_old_and_replace_all("1 h")
        self.check_all()
        self.assertEqual(self.version(), before)
        for node in nodes:
            self.becomes(node, OLD)
        self.check_all()

    def test_a_cluster_goes_over_to_the_newer_version(self):
        """Then the old program refuses the data, says why, and changes nothing."""
        nodes, before = self.start_old_and_replace_all("3 s")
        single = Cluster(NEW, nodes=1)
        with single:
            newest = wait_until("its version", lambda: json.loads(
                single.run("status", "--json").stdout)[0]["cluster_version"])
        wait_until(f"version {newest}", lambda: self.version() == newest, PATIENCE)
        self.check_all()
        if newest == before:
            self.skipTest(f"both programs know version {newest} and no newer one")
        node = self.nodes.serving(PATIENCE)
        node = next(one for one in nodes if one is not node)
        node.stop()
        self.configure(node, "")
        node.program = OLD
        node.start()
        self.assertNotEqual(wait_until("it ends", lambda: node.process.poll(), PATIENCE), 0)
        self.assertRegex(node.errors(), "upgrade this node|newer than")
        node.program = NEW
        node.start().wait_ready(PATIENCE)
        self.put()
        self.check_all()

    def test_an_old_node_joins_a_cluster_that_is_held(self):
        self.start(OLD, nodes=1)
        before = self.first_version()
        self.nodes.__exit__()
        self.start(NEW, nodes=3, keys=f"  cluster_version: {before}\n")
        self.put()
        self.assertLessEqual(self.version(), before)
        node = self.nodes.new_node()
        node.program = OLD
        node.start()
        self.nodes.add_member(node, timeout=PATIENCE)
        self.put()
        self.nodes.transfer(node.number, PATIENCE)
        self.put()
        self.assertLessEqual(self.version(), before)
        self.check_all()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
