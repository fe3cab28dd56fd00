"""What services do with streams and transactions, on three real nodes: an account of which many withdraw,
events whose answers are lost, and orders with stock, view and outbox.

Usage: scenarios_test.py TAILRACE STREAM_CLIENTS [unittest arguments]
Environment: TAILRACE_SCENARIOS=large makes each of them long.
"""
import base64
import collections
import json
import subprocess
import sys
import time
import unittest
import uuid

from cluster import explained_tests
from scenario import CLIENTS, LARGE, PATIENCE, Scenario
from sockets import Cutter


@explained_tests
class Account(Scenario):
    """An append that expects the exact version is a compare-and-swap on the whole stream."""

    def test_as_much_is_withdrawn_as_there_is(self):
        tries, balance = (20_000, 10_000) if LARGE else (800, 400)
        self.nodes.run("append", "account", "--expect", "none", "--type", "opened",
                       input=b"%d\n" % balance)
        began = time.monotonic()
        self.start_clients("withdraw", "--clients", 64, "--tries", tries, "--balance", balance)
        told = self.end_clients(stop=False)
        seconds = time.monotonic() - began
        accepted, declined = told["accepted"], told["declined"]
        self.assertEqual((len(accepted), len(declined)), (balance, tries - balance))
        self.assertEqual(sorted(line[1] for line in accepted + declined), [*range(tries)])
        expected = {version: f"{client}:{number}" for client, number, version in accepted}
        self.assertEqual(sorted(expected), [*range(1, balance + 1)])
        events = self.on_each_node(lambda node: self.events("account", node))
        self.assertEqual([version for version, *_ in events], [*range(balance + 1)])
        self.assertEqual({version: text for version, text, _ in events[1:]}, expected)
        print(f"{balance} of {tries} withdrawals in {seconds:.1f} s by "
              f"{len({line[0] for line in accepted})} clients", flush=True)


@explained_tests
class LostAnswers(Scenario):
    """A fifth of the answers are lost, leaders are killed: with ids each event is there once."""
    in_front = Cutter
    STREAMS = 4

    def test_nothing_twice_and_nothing_missing(self):
        self.start_clients("events", "--clients", 16, "--streams", self.STREAMS, "--tries", 1 << 40)
        for _ in range(30 if LARGE else 3):
            self.wait_for_lines(2000 if LARGE else 150)
            self.kill_leader()
        self.wait_for_lines(200)
        told = self.end_clients(stop=True)["event"]
        streams = [f"events/{number}" for number in range(self.STREAMS)]
        found = self.on_each_node(lambda node: [self.events(stream, node) for stream in streams])
        for number, events in enumerate(found):
            expected = {version: (f"{client}:{event}", self.id_of(client, event))
                        for client, event, version, *_ in told if client % self.STREAMS == number}
            self.assertEqual([version for version, *_ in events], [*range(len(expected))])
            self.assertEqual({version: (text, name) for version, text, name in events}, expected)
        self.check_cuts(told)
        self.check_repeats(streams, found)
        again = self.on_each_node(lambda node: [self.events(stream, node) for stream in streams])
        self.assertEqual(again, found, "repeats have changed a stream")

    def check_cuts(self, told):
        cut = sum(one.cut for one in self.nodes.forwarders)
        passed = sum(one.passed for one in self.nodes.forwarders)
        replayed = sum(line[3] for line in told)
        print(f"{len(told)} events; {cut} of {cut + passed} answers were cut off; {replayed} events were "
              f"there when they were sent again, at most {max(line[4] for line in told)} attempts", flush=True)
        self.assertGreater(cut, (cut + passed) * 0.1)
        self.assertGreater(replayed, 0)

    def check_repeats(self, streams, found):
        """The last events of each stream are known again, whatever has happened since."""
        def repeat(where):
            for stream, events in zip(streams, found):
                for version, text, name in events[-3:]:
                    self.repeat(stream, version, text, name, where)

        repeat("at once")
        self.nodes.run("checkpoint")
        repeat("after a checkpoint")
        self.restart_all()
        repeat("after a restart of all nodes")
        self.kill_leader()
        repeat("after a fail-over")
        self.nodes.run("checkpoint")
        self.restart_all()
        repeat("after a restart from a checkpoint of the new leader")

    def repeat(self, stream, version, text, name, where):
        event = {"id": name, "data_base64": base64.b64encode(text.encode()).decode()}
        done = self.nodes.run("append", stream, "--json", "--expect", "any", "--output", "json",
                              input=json.dumps(event).encode() + b"\n")
        answer = json.loads(done.stdout)
        self.assertEqual((answer["first"], answer["last"], answer["replayed"]), (version, version, True),
                         f"{where}: {text} in {stream}")

    @staticmethod
    def id_of(client, number):
        return str(uuid.UUID(int=(client + 1) << 64 | number + 1))


@explained_tests
class Orders(Scenario):
    """One transaction of four effects: an order's stream, stock, a view and the outbox have it, or none."""
    in_front = Cutter
    TRIES, SKUS, STOCK, PAUSE_MS = (12_000, 12, 700, 20) if LARGE else (480, 2, 180, 200)

    def test_all_or_nothing_through_kills_and_restarts(self):
        for sku in range(self.SKUS):
            self.nodes.run("put", f"stock/{sku}", self.STOCK)
        self.nodes.wait_equal(PATIENCE)
        self.start_clients("orders", "--clients", 16, "--tries", self.TRIES, "--skus", self.SKUS,
                           "--pause-ms", self.PAUSE_MS)
        for number in range(20 if LARGE else 3):
            self.wait_for_lines(self.TRIES // 30)
            if number % 3 == 2:
                self.restart_all()
            else:
                self.kill_leader()
            for node in self.nodes.nodes:
                self.look(node)
        told = self.end_clients(stop=False)
        orders = self.check_end(told)
        self.nodes.run("checkpoint")
        self.restart_all()
        self.assertEqual(self.on_each_node(self.look), orders, "a restart from a checkpoint changed something")
        sent_again = sum(line[3] > 1 for line in told["sold"])
        print(f"{len(told['sold'])} of {self.TRIES} orders; {sent_again} were sent again by their clients",
              flush=True)

    def check_end(self, told):
        """What all nodes have of the orders: those that were sold, in the log's order."""
        self.assertEqual(sorted(line[0] for line in told["sold"] + told["out"]), [*range(self.TRIES)])
        for sku in range(self.SKUS):
            left = sorted(line[2] for line in told["sold"] if line[1] == sku)
            self.assertEqual(left, [*range(self.STOCK)], "each piece is sold once")
        orders = self.on_each_node(self.look)
        self.assertEqual(sorted(order for order, *_ in orders), sorted(line[0] for line in told["sold"]))
        return orders

    def look(self, node):
        """Of one node's state, whichever it has: what is in one look is in the next, and what was done by one
        transaction is there together. Each order with the places of its three marks."""
        done = subprocess.run([CLIENTS, "look", "--server", node.behind, "--tries", str(self.TRIES), "--skus",
                               str(self.SKUS)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        seen = collections.defaultdict(list)
        for line in done.stdout.splitlines():
            kind, *rest = line.split()
            seen[kind].append(tuple(int(one) for one in rest))
        for sku, left, views in seen["stock"]:
            self.assertGreaterEqual(left, 0)
            self.assertEqual(left + views, self.STOCK, f"node {node.number}, SKU {sku}, at one address")
        marks = [dict(seen[kind]) for kind in ("first", "view", "outbox", "last")]
        for kind, mark in zip(("first", "view", "outbox", "last"), marks):
            self.assertEqual(len(mark), len(seen[kind]), f"node {node.number}: an order is twice in {kind}")
        for before, after in zip(marks, marks[1:]):
            self.assertLessEqual(before.keys(), after.keys(), f"node {node.number}")
        _, views, outbox, last = marks
        orders = sorted((order, view, last[order], outbox[order]) for order, view in views.items())
        orders.sort(key=lambda order: order[1])
        # Each transaction is one record: its marks are after its begin, and before the next one's.
        places = [place for _, *of_order in orders for place in of_order]
        self.assertEqual(places, sorted(places), f"node {node.number}")
        return orders


unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
