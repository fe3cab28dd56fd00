"""Disks that come back, are there twice or belong to a file that says otherwise: nothing that was
acknowledged is lost, and the cluster goes on (docs/internals/safety.md).

Usage: old_disks_test.py TAILRACE [unittest arguments]
"""
import shutil
import signal
import sys
import unittest

from cluster import SMALL_LOG, Cluster, Node, explained_tests, free_ports, wait_until

TAILRACE = sys.argv[1]
PATIENCE = 120  # seconds; for a machine that is busy with other things


@explained_tests
class OldDisks(unittest.TestCase):
    def start(self, nodes=3):
        self.nodes = Cluster(TAILRACE, nodes, SMALL_LOG)
        self.addCleanup(self.nodes.__exit__)
        self.nodes.__enter__()
        self.nodes.run("put", "first", "value")
        wait_until("every vote counts",
                   lambda: all(node["vote"] == "full" for node in self.nodes.status()), PATIENCE)
        wait_until("the log says who votes",
                   lambda: all("info members: 1" in node.log.read_text() for node in self.nodes.nodes), PATIENCE)
        return self.nodes.nodes

    def describe(self):
        return self.nodes.describe()

    def put(self, *keys, by):
        for key in keys:
            self.nodes.run("put", key, "acknowledged", "--timeout", 60,
                           server=",".join(node.server for node in by))

    def promote(self, node):
        """As an operator who thinks that the leader is lost."""
        self.nodes.run("promote", "--node", node.number, "--timeout", 3, check=False,
                       server=node.server)

    def check_there(self, *keys):
        """Once the cluster serves again, with all nodes up."""
        for node in self.nodes.nodes:
            if not node.running():
                node.start()
        self.nodes.serving(PATIENCE)
        for key in keys:
            self.assertEqual(self.nodes.run("get", key, "--timeout", 60).stdout, b"acknowledged", key)
        self.nodes.wait_equal(PATIENCE)

    def clone(self, node):
        """A copy of its disk, made while it runs, with ports of its own."""
        ports = free_ports(3)
        config = node.config.read_text()
        for old, new in zip((node.client_port, node.peer_port, node.metrics_port), ports):
            config = config.replace(f":{old}", f":{new}")
        folder = self.nodes.directory / "clone"
        config = config.replace(f"{node.directory}/data", f"{folder}/data")
        copy = Node(TAILRACE, node.number, folder, ports, config)
        shutil.copytree(node.data, copy.data)
        self.addCleanup(lambda: copy.running() and copy.kill())
        return copy

    def test_a_clone_beside_its_original_does_not_vote(self):
        """It lacks what the original has acknowledged since it was made."""
        one, two, three = self.start()
        clone = self.clone(three)
        two.process.send_signal(signal.SIGSTOP)
        one.kill()
        one.start()
        self.put("x", by=[one])  # by 1 and 3
        one.kill()
        two.process.send_signal(signal.SIGCONT)
        clone.start()
        wait_until("it has met the others", lambda: "node 2" in clone.log.read_text(), PATIENCE)
        self.promote(two)
        # Now nobody can tell which of the two is node 3; whoever leads holds x, or nobody does.
        got = self.nodes.run("get", "x", "--timeout", 5, check=False, server=f"{two.server},{three.server}")
        self.assertIn(got.stdout, (b"acknowledged", b""))
        self.assertNotEqual(got.returncode, 1, "node 2 leads without what was acknowledged")
        clone.kill()
        self.check_there("x")

    def test_an_old_disk_does_not_vote(self):
        """Node 3 gets a new disk, which acknowledges x; then the old one is put back into it."""
        one, two, three = self.start()
        three.kill()
        shelf = self.nodes.directory / "shelf"
        three.data.rename(shelf)
        three.start().wait_ready(PATIENCE)
        # The record that takes the old disk's vote away may be still to come: the list alone says nothing.
        wait_until("the new disk votes", lambda: self.nodes.status()[2]["vote"] == "full"
                   and self.nodes.kinds() == {1: "voter", 2: "voter", 3: "voter"}, PATIENCE)
        two.kill()
        self.put("x", by=[one])  # by 1 and 3
        one.kill()
        three.kill()
        shutil.rmtree(three.data)
        shelf.rename(three.data)
        two.start()
        three.start()
        self.promote(two)
        wait_until("the old disk is told",
                   lambda: three.http("/readyz")[0] == 503 and two.http("/readyz")[0] == 503, PATIENCE)
        got = self.nodes.run("put", "y", "value", "--timeout", 5, check=False,
                             server=f"{two.server},{three.server}")
        self.assertNotEqual(got.returncode, 0, "a majority of numbers, not of disks, took a write")
        self.check_there("x")

    def test_a_directory_that_is_put_back_does_not_vote(self):
        """To what it was before it acknowledged x, while the node that acknowledged it too is away."""
        one, two, three = self.start()
        three.stop()
        copy = self.nodes.directory / "copy"
        shutil.copytree(three.data, copy)
        three.start().wait_ready(PATIENCE)
        two.process.send_signal(signal.SIGSTOP)
        self.put("x", by=[one])  # by 1 and 3
        two.process.send_signal(signal.SIGCONT)
        self.nodes.wait_equal(PATIENCE)
        three.kill()
        shutil.rmtree(three.data)
        copy.rename(three.data)
        three.start()
        wait_until("it is noticed", lambda: "seen by node" in three.log.read_text(), PATIENCE)
        wait_until("it votes again", lambda: "joining" not in self.nodes.kinds().values() and
                   three.http("/readyz")[0] == 200, PATIENCE)
        self.check_there("x")

    def test_two_that_believe_to_lead_agree(self):
        """Each was promoted while the other was down; the third is away."""
        one, two, three = self.start()
        three.kill()
        one.kill()
        self.promote(two)
        two.kill()
        one.start()
        one.kill()
        one.start()
        two.start()
        self.nodes.serving(PATIENCE)
        self.put("x", by=[one, two])
        self.check_there("x")

    def test_a_removed_node_with_later_epochs_deposes_nobody(self):
        """It led once, was removed while it was down, and was promised epochs alone since."""
        one, two, three = self.start()
        self.promote(two)
        self.nodes.serving(PATIENCE, other_than=one)
        two.kill()
        self.promote(one)
        self.nodes.serving(PATIENCE, other_than=two)
        self.nodes.run("member", "remove", "--id", 2, "--timeout", 60,
                       server=f"{one.server},{three.server}")
        one.process.send_signal(signal.SIGSTOP)
        three.process.send_signal(signal.SIGSTOP)
        for _ in range(2):
            two.start()
            wait_until("it can be asked", lambda: self.nodes.run(
                "status", "--only-named", server=two.server, check=False).returncode == 0, PATIENCE)
            self.promote(two)
            two.kill()
        one.process.send_signal(signal.SIGCONT)
        three.process.send_signal(signal.SIGCONT)
        two.start()
        wait_until("it is refused", lambda: all(
            "node 2 refused (unknown_node)" in node.log.read_text() for node in (one, three)), PATIENCE)
        self.put("x", by=[one, three])
        self.assertEqual(self.nodes.kinds(), {1: "voter", 3: "voter"})
        two.kill()
        for node in (one, three):
            node.kill()
            node.start()
        self.put("y", by=[one, three])

    def test_the_only_voter_that_lost_its_promise_goes_on_when_it_is_told_to(self):
        [one] = self.start(nodes=1)
        self.put("x", by=[one])
        one.kill()
        for path in one.data.rglob("PROMISE*"):
            path.unlink()
        one.start()
        wait_until("it says what helps", lambda: "tailrace promote" in one.http("/readyz")[1], PATIENCE)
        self.promote(one)
        one.wait_ready(PATIENCE)
        self.check_there("x")
        one.kill()
        one.start().wait_ready(PATIENCE)
        self.check_there("x")

    def test_a_file_that_names_more_voters_changes_nothing(self):
        """A node that is alone has written down that it is: it restarts with its file made ready for the
        one that is to be added, and goes on."""
        [one] = self.start(nodes=1)
        two = self.nodes.new_node()
        one.config.write_text(one.config.read_text().replace(
            self.nodes.members, self.nodes.members + self.nodes.member(two)))
        one.stop()
        one.start().wait_ready(PATIENCE)
        self.put("x", by=[one])
        two.start()
        self.nodes.add_member(two, timeout=PATIENCE)
        self.assertEqual(self.nodes.kinds(), {1: "voter", 2: "voter"})
        self.check_there("x")


if __name__ == "__main__":
    unittest.main(argv=["old_disks_test", *sys.argv[2:]], verbosity=2)
