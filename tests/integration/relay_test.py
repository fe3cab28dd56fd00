"""A learner that has its stream from a follower: its leader ships it nothing, it holds what all others
hold, and it loses its stream neither with its upstream nor when another node leads.

Usage: relay_test.py TAILRACE ACK_WRITER [unittest arguments]
"""
import contextlib
import sys
import unittest

from ack_log import Writer, read_log
from cluster import Cluster, explained_tests, wait_until

TAILRACE, ACK_WRITER = sys.argv[1:3]
PATIENCE = 120  # seconds; for a machine that is busy with other things

# A learner tries its upstream again after ten timeouts.
REPLICATION = "  heartbeat_interval: 100 ms\n  peer_timeout: 500 ms\n"
LEARNER, UPSTREAM = 4, 3


@explained_tests
class Relay(unittest.TestCase):
    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.cluster = self.stack.enter_context(
            Cluster(TAILRACE, 4, replication=REPLICATION,
                    members={LEARNER: f"voter: false, upstream: {UPSTREAM}, "}))
        self.learner = self.cluster.nodes[LEARNER - 1]
        self.upstream = self.cluster.nodes[UPSTREAM - 1]
        self.writer = Writer(ACK_WRITER, "load", self.cluster.servers, self.cluster.directory,
                             "--in-flight", 16, "--timeout", 60)
        self.stack.callback(self.writer.close)

    def describe(self):
        return self.cluster.describe()

    def wait_for_acks(self, more):
        self.writer.wait_for_acks(more, PATIENCE)

    def wait_fed_by(self, source):
        def fed():
            return self.learner.metric("tailrace_replication_source_info", source=source) == 1

        wait_until(f"node {source} feeds the learner", fed, PATIENCE)

    def wait_applies(self):
        """Until the learner has applied what the leader has durable now."""
        goal = self.cluster.leader.metric("tailrace_log_address_bytes", watermark="durable")
        wait_until("the learner applies", lambda: (self.learner.metric(
            "tailrace_log_address_bytes", watermark="applied") or 0) >= goal, PATIENCE)

    def test_it_is_fed_by_its_upstream_and_by_the_leader_without_it(self):
        self.wait_fed_by(UPSTREAM)
        self.wait_for_acks(500)
        self.wait_applies()
        status = {node["node"]: node for node in self.cluster.status()}
        self.assertEqual(status[LEARNER]["source"], UPSTREAM)
        self.assertEqual(status[UPSTREAM]["followers"][0]["node"], LEARNER)
        of_leader = {one["node"]: one for one in status[1]["followers"]}[LEARNER]
        self.assertEqual((of_leader["relayed_by"], of_leader["connected"]), (UPSTREAM, True))
        for node in (1, UPSTREAM):
            self.assertIn(f"follower:{LEARNER}", status[node]["anchors"], "the log is kept for it")
        # Its reads are as fresh as those of any other.
        self.cluster.run("put", "fresh", "1")
        fresh = self.cluster.run("get", "--read", "bounded=2000ms", "fresh",
                                 server=self.learner.server)
        self.assertIn(b"1", fresh.stdout)

        self.upstream.kill()
        self.wait_fed_by(1)
        self.wait_for_acks(500)
        self.wait_applies()
        self.upstream.start().wait_ready(PATIENCE)
        self.wait_fed_by(UPSTREAM)
        self.wait_for_acks(500)
        self.wait_applies()

        self.writer.end()
        self.cluster.wait_equal(PATIENCE)
        end, events = read_log(self.cluster, self.learner.server, 64)
        self.writer.check_events(events, end, "the learner")
        self.writer.check_stream(self.cluster, self.learner.server, "the learner")
        self.cluster.run("verify")

    def test_another_leader_changes_nothing_for_it(self):
        self.wait_fed_by(UPSTREAM)
        self.wait_for_acks(200)
        self.cluster.run("promote", "--node", 2)
        self.wait_fed_by(UPSTREAM)
        self.wait_for_acks(200)
        # Its upstream leads: that is whom it would be fed by in any case.
        self.cluster.run("promote", "--node", UPSTREAM)
        self.wait_for_acks(200)
        self.wait_fed_by(UPSTREAM)
        self.writer.end()
        self.cluster.wait_equal(PATIENCE)
        self.cluster.run("verify")


unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
