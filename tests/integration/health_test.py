"""Health that is true: a node whose state silently differs from the others' is found by itself, says so
everywhere, serves no reads, survives no restart as a healthy one, and comes back as a new disk.

Usage: health_test.py TAILRACE TAMPER_STATE
"""
import json
import pathlib
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from cluster import SMALL_LOG, Cluster, wait_until  # noqa: E402

TAILRACE, TAMPER_STATE = sys.argv[1:3]
# A new disk follows from the log's beginning: it is kept.
SETTINGS = SMALL_LOG + \
    "state_machine: {checkpoint_interval: 0 s, retention_bytes: 1 GiB}\n"
REPLICATION = "  digest_interval: 1 s\n"


def tamper(node, key, value):
    """The node is down; its store then says something else, at the same address."""
    subprocess.run([TAMPER_STATE, str(node.data / "store"), f"test/{node.number}", key, value],
                   check=True, timeout=60)


class Health(unittest.TestCase):
    def cluster(self):
        return Cluster(TAILRACE, nodes=3, settings=SETTINGS, replication=REPLICATION)

    def fill(self, cluster):
        for number in range(20):
            cluster.run("put", f"key{number}", f"value{number}")
        cluster.wait_equal()

    def of_node(self, cluster, number):
        """What the node says of itself."""
        return next(node for node in cluster.status() if node["node"] == number)

    def of_follower(self, cluster, number):
        """What the leader says of it."""
        leader = next(node for node in cluster.status() if node["serving"])
        return next(each for each in leader["followers"] if each["node"] == number)

    def wait_all_compared(self, cluster):
        def compared():
            nodes = cluster.status()
            return all(node["healthy"] for node in nodes) and len(
                {node["last_compared"] for node in nodes}) == 1 and nodes[0]["last_compared"] > 0

        wait_until("all states are compared and equal", compared)

    def expect_no_reads(self, cluster, node):
        for level in ("any", "bounded=60000ms", "at-least=1:64"):
            for verb in (("get", "key1"), ("scan", "key")):
                done = cluster.run(*verb, "--read", level, server=node.server, check=False)
                self.assertEqual(done.returncode, 3, (verb, level, done))
                self.assertIn(b"differs from the cluster's", done.stderr)
        # A follower sends who wants to be certain to the leader, whose state is right.
        self.assertEqual(cluster.run("get", "key7", server=node.server).stdout, b"value7")

    def expect_diverged(self, cluster, node):
        """Everywhere that an operator looks."""
        wait_until("it is found", lambda: node.http("/readyz")[0] == 503
                   and "differs from the cluster's" in node.http("/readyz")[1])
        reason = node.http("/readyz")[1]
        for part in ("at address", "its digest is", "remove its data directory"):
            self.assertIn(part, reason)
        self.assertEqual(node.metric("tailrace_node_healthy"), 0)
        itself = self.of_node(cluster, node.number)
        self.assertFalse(itself["healthy"])
        self.assertTrue(itself["diverged"])
        self.assertIn("at address", itself["unhealthy"])
        self.expect_no_reads(cluster, node)

    def test_a_state_that_silently_differs_is_found_and_serves_nothing_until_its_disk_is_new(self):
        with self.cluster() as cluster:
            leader, well, victim = cluster.nodes
            self.fill(cluster)
            self.wait_all_compared(cluster)
            for node in cluster.nodes:
                self.assertEqual(node.metric("tailrace_node_healthy"), 1)
                self.assertEqual(
                    node.metric("tailrace_replication_state_digest_mismatches_total"), 0)
            cluster.run("checkpoint", server=victim.server)
            victim.stop()
            tamper(victim, "key7", "tampered")
            victim.start()
            cluster.run("put", "another", "one")
            self.expect_diverged(cluster, victim)
            self.assertGreaterEqual(
                victim.metric("tailrace_replication_state_digest_mismatches_total"), 1)

            # The leader says which one, and both others are well and go on.
            follower = wait_until("the leader knows", lambda: (
                lambda one: not one["healthy"] and one)(self.of_follower(cluster, 3)))
            self.assertIn("at address", follower["unhealthy"])
            self.assertGreaterEqual(
                leader.metric("tailrace_replication_state_digest_mismatches_total"), 1)
            self.assertEqual(
                leader.metric("tailrace_replication_follower_healthy", follower="3"), 0)
            self.assertEqual(
                leader.metric("tailrace_replication_follower_healthy", follower="2"), 1)
            text = cluster.run("status").stdout.decode()
            self.assertEqual(text.count("unhealthy: "), 2, text)
            for node in (leader, well):
                self.assertEqual(node.http("/readyz"), (200, node.http("/readyz")[1]))
                self.assertTrue(self.of_node(cluster, node.number)["healthy"])
            cluster.run("put", "key1", "still written")
            # A client that may ask any node finds one that is well, whichever it asks first.
            for servers in (victim, leader), (victim, well):
                done = cluster.run("get", "key7", "--read", "any",
                                   server=",".join(node.server for node in servers))
                self.assertEqual(done.stdout, b"value7")
            self.assertEqual(cluster.run("get", "key1").stdout, b"still written")
            # It does not get the lead, and `verify` sees the same.
            done = cluster.run("transfer", "--to", 3, check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(b"unhealthy", done.stderr)
            self.assertNotEqual(
                cluster.run("promote", "--node", 3, check=False).returncode, 0)
            done = cluster.run("verify", check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"the states differ", done.stderr)

            # A restart makes no state right: it says so before any comparison.
            victim.kill()
            victim.start()
            wait_until("it is there", lambda: "differs from the cluster's"
                       in victim.http("/readyz")[1])
            self.expect_no_reads(cluster, victim)

            # As an operator does.
            victim.stop()
            shutil.rmtree(victim.data)
            victim.start()
            victim.wait_ready(60)
            cluster.run("put", "key2", "after that")
            wait_until("the leader finds it well",
                       lambda: self.of_follower(cluster, 3)["healthy"])
            self.wait_all_compared(cluster)
            self.assertEqual(cluster.run("get", "key7", "--read", "any",
                                         server=victim.server).stdout, b"value7")
            cluster.wait_equal()
            cluster.run("verify")

    def test_a_leader_whose_state_differs_hands_over_to_one_that_is_well(self):
        with self.cluster() as cluster:
            victim = cluster.nodes[0]
            self.fill(cluster)
            cluster.run("checkpoint", server=victim.server)
            victim.kill()
            tamper(victim, "key7", "tampered")
            victim.start()
            wait_until("it leads and finds itself wrong, or has handed over",
                       lambda: "differs from the cluster's" in victim.http("/readyz")[1], 60)
            leader = cluster.serving(60, other_than=victim)
            self.assertIn(leader.number, (2, 3))
            self.expect_diverged(cluster, victim)
            for node in cluster.nodes[1:]:
                self.assertTrue(self.of_node(cluster, node.number)["healthy"])
            cluster.run("put", "key1", "still written")
            self.assertEqual(cluster.run("get", "key7").stdout, b"value7")

    def test_states_that_do_not_change_are_not_digested_again(self):
        with self.cluster() as cluster:
            self.fill(cluster)
            self.wait_all_compared(cluster)
            end = self.of_node(cluster, 1)["tail"]
            before = json.dumps(end)
            try:
                wait_until("never", lambda: self.of_node(cluster, 1)["tail"] != end, 5, 0.5)
            except AssertionError:
                return
            self.fail(f"the log grew from {before} although nobody wrote")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"], verbosity=2)
