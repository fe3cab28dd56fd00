"""A node whose log ends below the leader's begin gets a copy of the leader's state, by itself, and is
then a member like any other.

Usage: state_copy_test.py TAILRACE ACK_WRITER [unittest arguments]
"""
import contextlib
import json
import re
import signal
import sys
import unittest

from ack_log import Writer
from cluster import SMALL_LOG, Cluster, explained_tests, wait_until

TAILRACE, ACK_WRITER = sys.argv[1:3]
PATIENCE = 120  # seconds; for a machine that is busy with other things

# A checkpoint for each MiB, and a log that keeps nothing that nobody needs.
SETTINGS = SMALL_LOG.replace("page_bytes: 2 MiB\n  buffer_pages: 4\n  segment_bytes: 2 MiB",
                             "page_bytes: 256 KiB\n  buffer_pages: 8\n  segment_bytes: 256 KiB") + """
state_machine: {checkpoint_log_bytes: 1 MiB}
"""
SERVER = "max_value_bytes: 64 KiB, "
PIN = "  follower_pin_bytes: 1 MiB\n"


@explained_tests
class StateCopy(unittest.TestCase):
    def start(self, replication=""):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.nodes = self.stack.enter_context(
            Cluster(TAILRACE, 3, SETTINGS, server=SERVER, replication=PIN + replication))
        self.writer = Writer(ACK_WRITER, "load", self.nodes.servers, self.nodes.directory,
                             "--in-flight", 64, "--timeout", 60)
        self.stack.callback(self.writer.close)
        wait_until("every vote counts",
                   lambda: all(node["vote"] == "full" for node in self.nodes.status()), PATIENCE)
        return self.nodes.nodes

    def describe(self):
        return self.nodes.describe()

    def wait_for_acks(self, more):
        self.writer.wait_for_acks(more, PATIENCE)

    def of_leader(self):
        return json.loads(self.nodes.run("status", "--json", "--only-named", server=self.nodes.leader.server).stdout)[0]

    def leave_behind(self, on_the_way=0):
        """Until the leader's log begins beyond what a node that is down or stopped since can have."""
        have = self.of_leader()["tail"] + on_the_way
        wait_until("the leader no longer keeps the log for it",
                   lambda: self.of_leader()["begin"] > have, PATIENCE, pause=0.2)

    def copies(self, node):
        """How often `node` was given a copy."""
        return node.log.read_text().count("starting anew with the copied state")

    def copying(self, node):
        """Whether a copy comes in, and some of it has."""
        status = json.loads(self.nodes.run("status", "--json", "--only-named", "--timeout", 5, server=node.server,
                                           check=False).stdout)[0]
        copy = status.get("state_copy", {})
        return copy.get("stage") == "receiving" and copy["received"] > 0 and copy

    def wait_until_member(self, node, copies=1):
        wait_until(f"node {node.number} has been given the state",
                   lambda: self.copies(node) == copies, PATIENCE)
        node.wait_ready(PATIENCE)
        wait_until("every vote counts", lambda: all(
            one.get("vote") == "full" for one in self.nodes.status()), PATIENCE)
        self.assertNotIn("state_copy", self.nodes.status()[node.number - 1])
        for left in ("STATE-COPY", "store.incoming", "log.incoming"):
            self.assertFalse((node.data / left).exists(), f"{left} has done its work")

    def check_all(self):
        """Ends the writer; all that it was told is true on every node."""
        self.writer.end()
        self.nodes.wait_equal(PATIENCE)
        for node in self.nodes.nodes:
            where = f"node {node.number}"
            self.writer.check_state_at_end(self.writer.get("any", node.server), where)
        self.nodes.run("verify", timeout=PATIENCE)

    def test_a_node_that_was_away_too_long_comes_back(self):
        _, late, _ = self.start()
        late.stop()
        self.leave_behind()
        late.start()
        self.wait_until_member(late)
        self.wait_for_acks(1000)
        # It is worth as much as any other: with it alone the leader has a majority.
        self.nodes.nodes[2].stop()
        self.wait_for_acks(1000)
        self.nodes.nodes[2].start().wait_ready(PATIENCE)
        # And what it was given is on its disk.
        self.assertEqual(late.kill(), -signal.SIGKILL)
        late.start().wait_ready(PATIENCE)
        self.check_all()
        self.assertEqual(self.copies(late), 1)

    def test_a_node_with_a_new_disk_gets_its_vote_back(self):
        _, lost, _ = self.start()
        lost.kill()
        self.leave_behind()
        lost.data.rename(lost.directory / "lost")
        lost.start()
        self.wait_until_member(lost)
        self.nodes.nodes[2].stop()
        self.wait_for_acks(1000)
        self.nodes.nodes[2].start().wait_ready(PATIENCE)
        self.check_all()

    def test_a_node_that_falls_behind_while_it_runs_is_moved(self):
        _, slow, _ = self.start("  window_bytes: 1 MiB\n  batch_bytes: 256 KiB\n")
        slow.process.send_signal(signal.SIGSTOP)
        try:
            self.leave_behind(on_the_way=2 << 20)
        finally:
            slow.process.send_signal(signal.SIGCONT)
        self.wait_until_member(slow)
        self.check_all()

    def test_a_copy_goes_on_where_either_side_was_killed(self):
        leader, late, _ = self.start("  checkpoint_bytes_per_s: 512 KiB\n")
        late.stop()
        self.leave_behind()
        # From now on the newest checkpoint is the one that is copied.
        self.writer.end()
        self.nodes.run("checkpoint", server=leader.server)
        late.start()
        wait_until("some of it has come", lambda: self.copying(late), PATIENCE)
        self.assertGreater(leader.metric("tailrace_replication_checkpoint_sent_bytes_total"), 0)
        self.assertEqual(late.http("/readyz")[0], 503, "it has nothing that it could serve")
        self.assertEqual(leader.kill(), -signal.SIGKILL)
        leader.start()

        def more():
            copy = self.copying(late)
            return copy and copy["received"] >= 2 << 20 and copy

        before = wait_until("it goes on", more, PATIENCE)
        self.assertEqual(late.kill(), -signal.SIGKILL)
        late.start()
        self.wait_until_member(late)
        went_on = re.findall(r"goes on at byte (\d+) of (\d+)", late.log.read_text())
        self.assertTrue(went_on and int(went_on[-1][0]) > 0, "what had come was not thrown away")
        self.assertEqual({int(total) for _, total in went_on}, {before["bytes"]})
        self.nodes.run("put", "still", "writes")
        self.check_all()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
