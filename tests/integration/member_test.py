"""Members come and go while the cluster works: `tailrace member add`, `remove` and `list`.

Usage: member_test.py TAILRACE ACK_WRITER [unittest arguments]
"""
import contextlib
import json
import re
import shutil
import signal
import sys
import tempfile
import unittest

from ack_log import Writer
from cluster import SMALL_LOG, UNREACHABLE, Cluster, explained_tests, free_ports, wait_until
from etcd import INSTALLED, Etcd

TAILRACE, ACK_WRITER = sys.argv[1:3]
PATIENCE = 120  # seconds; for a machine that is busy with other things
SERVER = "max_value_bytes: 64 KiB, "
# A checkpoint for each MiB, and a log that keeps nothing that nobody needs.
TRUNCATING = SMALL_LOG.replace("page_bytes: 2 MiB\n  buffer_pages: 4\n  segment_bytes: 2 MiB",
                               "page_bytes: 256 KiB\n  buffer_pages: 8\n  segment_bytes: 256 KiB") + """
state_machine: {checkpoint_log_bytes: 1 MiB}
"""


@explained_tests
class Members(unittest.TestCase):
    def start(self, nodes=3, settings=SMALL_LOG, load=True, **more):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.nodes = self.stack.enter_context(
            Cluster(TAILRACE, nodes, settings, server=SERVER, **more))
        if nodes > 1:
            wait_until("every vote counts",
                       lambda: all(node["vote"] == "full" for node in self.nodes.status()), PATIENCE)
        if load:
            self.writer = Writer(ACK_WRITER, "load", self.nodes.servers, self.nodes.directory,
                                 "--in-flight", 64, "--timeout", 60)
            self.stack.callback(self.writer.close)
            self.wait_for_acks(500)
        return self.nodes.nodes

    def describe(self):
        return self.nodes.describe()

    def wait_for_acks(self, more):
        self.writer.wait_for_acks(more, PATIENCE)

    def join(self, options=()):
        """A new node that is started and added, and votes when this returns."""
        node = self.nodes.new_node().start()
        self.nodes.add_member(node, *options, timeout=PATIENCE)
        return node

    def remove(self, node):
        self.nodes.run("member", "remove", "--id", node.number, "--timeout", 60)

    def check_all(self, members):
        """Ends the writer; all that it was told is true on every member."""
        self.writer.end()
        head = self.nodes.serving(PATIENCE)

        def equal():
            end = self.status_of(head)["durable"]
            return all(self.status_of(node)["applied"] == end for node in members)

        wait_until("all members have applied the whole log", equal, PATIENCE)
        servers = ",".join(node.server for node in members)
        for node in members:
            self.writer.check_state_at_end(self.writer.get("any", node.server),
                                           f"node {node.number}")
        self.nodes.run("verify", "--only-named", server=servers, timeout=PATIENCE)

    def status_of(self, node):
        return json.loads(self.nodes.run("status", "--json", "--only-named", server=node.server).stdout)[0]

    def test_every_node_is_replaced_while_clients_write(self):
        """The members that began are all gone in the end, and nothing that was acknowledged is."""
        one, two, three = self.start()
        self.assertEqual(self.nodes.kinds(), {1: "voter", 2: "voter", 3: "voter"})
        new = []
        for old in (three, two, one):  # who leads is the last to go
            new.append(self.join())
            self.wait_for_acks(500)
            self.remove(old)
            self.wait_for_acks(500)
            wait_until(f"node {old.number} knows that it was removed",
                       lambda: self.status_of(old)["removed"], PATIENCE)
            self.assertEqual(old.http("/readyz")[0], 503)
            self.assertIn("stop it", old.http("/readyz")[1])
            self.assertNotIn("member add", old.http("/readyz")[1])
            refused = self.nodes.run("get", "k", "--read", "any", "--timeout", 1, server=old.server,
                                     check=False)
            self.assertIn(b"answers no reads", refused.stderr)
            old.stop()
        self.assertEqual(self.nodes.kinds(), {4: "voter", 5: "voter", 6: "voter"})
        for node in new:
            self.assertEqual(node.metric("tailrace_replication_members", kind="voter"), 3)
        # They go by what their logs say, not by files that name nodes of long ago.
        for node in new:
            node.kill()
        for node in new:
            node.start()
        for node in new:
            node.wait_ready(PATIENCE)
        self.assertEqual(self.nodes.kinds(), {4: "voter", 5: "voter", 6: "voter"})
        # Two of them are a majority, whichever.
        self.wait_for_acks(500)
        leader = self.nodes.serving(PATIENCE)
        other = next(node for node in new if node is not leader)
        other.kill()
        self.wait_for_acks(500)
        other.start().wait_ready(PATIENCE)
        self.check_all(new)

    def test_a_dead_node_is_replaced(self):
        """With one of three gone for good, the cluster goes on in every step, and who comes back after
        all is told that it is none of them."""
        _, _, dead = self.start()
        dead.kill()
        self.wait_for_acks(200)
        four = self.join()
        self.assertEqual(self.nodes.kinds()[4], "voter")
        self.wait_for_acks(500)
        self.remove(dead)
        self.wait_for_acks(500)
        dead.start()
        wait_until("it is told", lambda: "member" in dead.http("/readyz")[1], PATIENCE)
        self.assertEqual(dead.http("/readyz")[0], 503)
        self.wait_for_acks(500)
        self.assertEqual(self.nodes.kinds(), {1: "voter", 2: "voter", 4: "voter"})
        # The new one is worth as much as the old ones.
        self.nodes.nodes[1].kill()
        self.wait_for_acks(500)
        self.nodes.nodes[1].start().wait_ready(PATIENCE)
        self.check_all([*self.nodes.nodes[:2], four])

    def test_one_node_becomes_three(self):
        """From no redundancy to all of it, without a stop."""
        [one] = self.start(nodes=1)
        # With a new disk it would go by its file, and be a cluster of its own.
        two = self.nodes.new_node().start()
        refused = self.nodes.run("member", "add", "--id", 2, "--peer", f"{two.host}:{two.peer_port}",
                                 "--client", two.server, check=False).stderr.decode()
        self.assertIn("names no other voter", refused)
        config = one.config.read_text()
        one.config.write_text(config + "nonsense: 1\n")
        self.assertIn("nonsense", self.nodes.run(
            "member", "add", "--id", 2, "--peer", f"{two.host}:{two.peer_port}", "--client",
            two.server, check=False).stderr.decode())
        self.assertEqual(self.nodes.kinds(), {1: "voter"})
        one.config.write_text(config.replace(
            self.nodes.members, self.nodes.members + self.nodes.member(two)))
        self.nodes.add_member(two, timeout=PATIENCE)
        three = self.join()
        self.assertEqual(self.nodes.kinds(), {1: "voter", 2: "voter", 3: "voter"})
        self.wait_for_acks(500)
        self.nodes.transfer(2)
        one.kill()
        self.wait_for_acks(500)
        # A new disk finds the others by its file.
        shutil.rmtree(one.data)
        one.start().wait_ready(PATIENCE)
        self.check_all([one, two, three])

    def test_who_comes_too_late_for_the_log_gets_the_state_and_the_members(self):
        self.start(settings=TRUNCATING)
        wait_until("the log's beginning is gone",
                   lambda: self.status_of(self.nodes.leader)["begin"] > 1 << 20, PATIENCE)
        four = self.join()
        self.assertIn("starting anew with the copied state", four.log.read_text())
        wait_until("it knows the members",
                   lambda: [member["kind"] for member in self.status_of(four)["members"]] ==
                   ["voter"] * 4, PATIENCE)
        # Also when the record that says so is gone from its log.
        begin = self.status_of(four)["tail"]
        wait_until("its log begins behind that record",
                   lambda: self.status_of(four)["begin"] > begin, PATIENCE)
        four.kill()
        four.start().wait_ready(PATIENCE)
        self.assertEqual(len(self.status_of(four)["members"]), 4)
        self.check_all(self.nodes.nodes)

    def test_a_leader_that_moved_finds_a_node_that_was_down_meanwhile(self):
        """That one has the old address, in its file and in its log, and the greater number."""
        one, two, three = self.start()
        three.kill()
        old, new = (f"{one.host}:{port}" for port in (one.peer_port, free_ports(1)[0]))
        self.nodes.run("member", "add", "--id", 1, "--peer", new, "--client", one.server)
        one.kill()
        one.config.write_text(one.config.read_text().replace(old, new))
        one.start().wait_ready(PATIENCE)
        wait_until("node 2 follows", lambda: self.status_of(two)["source"] == 1, PATIENCE)
        self.wait_for_acks(200)
        three.start().wait_ready(PATIENCE)
        self.assertIn(old, three.log.read_text(), "it looked for it where it was")
        self.check_all([one, two, three])

    def test_a_learner_never_votes_until_it_is_asked_to(self):
        self.start()
        four = self.join(["--learner"])
        four.wait_ready(PATIENCE)
        self.assertEqual(self.nodes.kinds()[4], "learner")
        self.wait_for_acks(200)
        self.assertEqual(self.status_of(four)["role"], "learner")
        self.nodes.run("member", "add", "--id", 4, "--timeout", PATIENCE, timeout=PATIENCE)
        self.assertEqual(self.nodes.kinds()[4], "voter")
        wait_until("it follows", lambda: self.status_of(four)["role"] == "follower", PATIENCE)
        self.nodes.run("member", "add", "--id", 4, "--learner")
        self.assertEqual(self.nodes.kinds()[4], "learner")
        self.check_all(self.nodes.nodes)

    def test_nodes_listen_elsewhere_than_others_reach_them(self):
        """As in containers with published ports: clients, nodes and a new member use what is advertised
        alone, and who was told of one node finds all of them."""
        nodes = self.start(published=True)
        self.nodes.run("put", "key", "value", server=nodes[2].server)
        four = self.join()
        listed = json.loads(self.nodes.run("member", "list", "--json", server=nodes[1].server).stdout)
        self.assertEqual([(member["peer"], member["client"]) for member in listed["members"]],
                         [(f"{node.host}:{node.peer_port}", node.server) for node in self.nodes.nodes])
        self.nodes.transfer(4)
        got = self.nodes.run("get", "key", server=nodes[2].server)
        self.assertEqual(got.stdout, b"value")
        self.assertEqual(self.nodes.serving(PATIENCE), four)
        self.wait_for_acks(500)
        # Nobody has gone another way: each listens where only its forwarder knows.
        for node in self.nodes.nodes:
            self.assertIn(f"(advertised as {node.server})", node.errors())
            self.assertIn(f"(advertised as {node.host}:{node.peer_port})", node.errors())
        self.check_all(self.nodes.nodes)

    def test_how_far_behind_a_member_is_is_told_in_units(self):
        one, *_ = self.start(load=False, replication="  peer_timeout: 100 s\n  give_up_after: 100 s\n")
        four = self.nodes.new_node().start()
        self.nodes.add_member(four, "--learner")

        def listed():
            return self.nodes.run("member", "list", server=one.server).stdout.decode().splitlines()[-1]

        wait_until("it has the log", lambda: listed().endswith("behind by 0 bytes"), PATIENCE)
        four.process.send_signal(signal.SIGSTOP)
        try:
            self.nodes.run("append", input=(b"x" * 1000 + b"\n") * 3000, server=one.server)
            wait_until("it is told", lambda: re.search(r"behind by [23]\.\d MiB$", listed()), PATIENCE)
            told = self.nodes.run("member", "add", "--id", 4, "--timeout", 1, server=one.server, check=False)
            self.assertEqual(told.returncode, UNREACHABLE, told)
            self.assertRegex(told.stderr.decode(), r"node 4 joins, behind by [23]\.\d MiB")
        finally:
            four.process.send_signal(signal.SIGCONT)

    def test_what_can_not_be_is_refused_and_changes_nothing(self):
        one, two, _ = self.start(load=False)

        def refused(*arguments):
            done = self.nodes.run("member", *arguments, "--timeout", 3, check=False)
            self.assertNotEqual(done.returncode, 0)
            return done.stderr.decode()

        self.assertIn("member list", refused("remove", "--id", 9))
        self.assertIn("addresses", refused("add", "--id", 4))
        self.assertIn("nonsense", refused("add", "--id", 4, "--peer", "nonsense", "--client", "a:1"))
        for nobody in ("0.0.0.0:7", "[::]:7"):
            self.assertIn("all addresses", refused("add", "--id", 4, "--peer", nobody, "--client", "a:1"))
            self.assertIn("all addresses", refused("add", "--id", 4, "--peer", "a:1", "--client", nobody))
        self.assertIn("'0' is not a whole number", refused("add", "--id", 0, "--peer", "a:1", "--client", "a:1"))
        self.assertIn("hand over", refused("add", "--id", 1, "--learner"))
        # With another one gone, the last two are needed both.
        self.nodes.nodes[2].kill()
        wait_until("the leader knows",
                   lambda: not self.status_of(one)["followers"][1]["connected"], PATIENCE)
        self.assertIn("no majority", refused("remove", "--id", 2))
        self.assertEqual(self.nodes.kinds(), {1: "voter", 2: "voter", 3: "voter"})
        told = json.loads(self.nodes.run("member", "list", "--json").stdout)
        # One that never comes stays joining, and can be taken back.
        ghost = self.nodes.new_node()
        told = self.nodes.run("member", "add", "--id", 4, "--peer", f"{ghost.host}:{ghost.peer_port}",
                              "--client", ghost.server, "--timeout", 0.5, check=False)
        self.assertEqual(told.returncode, UNREACHABLE)
        self.assertIn(b"does not vote yet", told.stderr)
        self.assertEqual(self.nodes.kinds()[4], "joining")
        self.nodes.run("put", "key", "value")
        self.remove(ghost)
        self.assertEqual(self.nodes.kinds(), {1: "voter", 2: "voter", 3: "voter"})

    def test_a_leader_that_cannot_be_removed_keeps_the_lead(self):
        self.start(load=False)
        head = self.nodes.serving(PATIENCE)
        self.nodes.run("put", "key", "value")
        next(node for node in self.nodes.nodes if node is not head).kill()
        wait_until("it is missed",
                   lambda: sum(one["connected"] for one in self.status_of(head)["followers"]) == 1,
                   PATIENCE)
        epoch = self.status_of(head)["epoch"]
        refused = self.nodes.run("member", "remove", "--id", head.number, check=False)
        self.assertEqual(refused.returncode, 4, refused.stderr)
        self.assertIn(b"no majority", refused.stderr)
        self.assertNotIn(b"hands over", refused.stderr)
        self.assertEqual((self.nodes.serving(PATIENCE), self.status_of(head)["epoch"]), (head, epoch))

    def test_with_etcd_a_new_member_can_lead(self):
        if not INSTALLED:
            self.skipTest("NOT TESTED: there is no etcd on this machine")
        directory = tempfile.TemporaryDirectory(prefix="tailrace-test-")
        self.addCleanup(directory.cleanup)
        etcd = Etcd(directory.name)
        self.addCleanup(etcd.kill)
        etcd.start()
        self.start(coordinator=etcd.coordinator)
        four = self.join()
        first = self.nodes.serving(PATIENCE)
        self.remove(first)  # which hands over first
        self.wait_for_acks(500)
        wait_until("it knows", lambda: self.status_of(first)["removed"], PATIENCE)
        self.nodes.transfer(4)
        self.wait_for_acks(500)
        four.kill()
        last = self.nodes.serving(PATIENCE, other_than=four)
        self.assertNotIn(last, (first, four))
        self.wait_for_acks(500)
        four.start().wait_ready(PATIENCE)
        self.check_all([node for node in self.nodes.nodes if node is not first])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
