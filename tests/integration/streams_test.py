"""Streams and transactions through the command line, on three real nodes: what is expected of a stream,
ids, all or nothing wherever it is read, several keys of one moment under load, a leader that is killed,
and a cluster that does not know transactions yet.

Usage: streams_test.py TAILRACE ACK_WRITER"""
import base64
import json
import sys
import tempfile
import pathlib
import subprocess
import threading
import unittest
import uuid

from ack_log import Writer, value_of
from cluster import SMALL_LOG, Cluster, explained_tests, wait_until

TAILRACE, ACK_WRITER = sys.argv[1:3]
DONE, NEGATIVE, USAGE, UNREACHABLE, REFUSED = range(5)
# No checkpoint truncates the log while a test reads from it.
SETTINGS = SMALL_LOG + "state_machine:\n  retention_bytes: 1 GiB\n"


@explained_tests
class StreamsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.nodes = Cluster(TAILRACE, nodes=3, settings=SETTINGS)
        cls.nodes.__enter__().wait_version()

    @classmethod
    def tearDownClass(cls):
        cls.nodes.__exit__()

    def describe(self):
        return self.nodes.describe()

    # ---- Short forms.

    def call(self, code, *words, server=None, input=None):
        done = self.nodes.run(*words, server=server, input=input, check=False)
        self.assertEqual(done.returncode, code, (words, done.stdout, done.stderr))
        return done

    def append(self, stream, text, *words, code=DONE):
        done = self.call(code, "append", stream, "--output", "json", *words, input=text)
        return json.loads(done.stdout) if done.stdout else done.stderr.decode()

    def read(self, stream, *words, server=None):
        done = self.call(DONE, "read", stream, "--json", *words, server=server)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def texts(self, stream, *words, **more):
        return [event["text"] for event in self.read(stream, *words, **more)]

    def txn(self, body, code=DONE):
        done = self.call(code, "txn", input=json.dumps(body).encode())
        return json.loads(done.stdout)

    def settle(self):
        """What a follower has to have applied to show all of this."""
        leader = [node for node in self.nodes.status() if node["serving"]][0]
        return f"at-least={leader['epoch']}:{leader['applied']}"

    # ---- Streams.

    def test_an_append_has_the_version_that_it_expects(self):
        first = self.append("acct", b"a\nb\n", "--expect", "none")
        self.assertEqual((first["first"], first["last"], first["replayed"]), (0, 1, False))
        self.assertLess(first["first_position"], first["position"])
        self.assertIn("is at version 1", self.append("acct", b"x\n", "--expect", "none", code=NEGATIVE))
        self.assertIn("is at version 1", self.append("acct", b"x\n", "--expect", "0", code=NEGATIVE))
        self.assertIn("no stream 'nobody'", self.append("nobody", b"x\n", "--expect", "exists", code=NEGATIVE))
        self.assertEqual(self.append("acct", b"c\n", "--expect", "1")["first"], 2)
        self.assertEqual(self.append("acct", b"d\n", "--expect", "exists")["last"], 3)
        self.assertEqual(self.texts("acct"), ["a", "b", "c", "d"])
        self.assertEqual(self.texts("acct", "--from", "2"), ["c", "d"])
        self.assertEqual(self.texts("acct", "--backward", "--limit", "2"), ["d", "c"])
        self.assertEqual(self.texts("acct", "--backward", "--from", "1"), ["b", "a"])
        self.assertEqual(self.texts("acct", "--from", "end"), [])
        self.assertEqual([one["version"] for one in self.read("acct")], [0, 1, 2, 3])
        positions = [one["position"] for one in self.read("acct")]
        self.assertEqual(positions, sorted(set(positions)))
        self.assertEqual(positions[0], first["first_position"])
        # Of lines that are several batches each expects what the one before left.
        many = self.append("many", b"".join(b"%d\n" % n for n in range(5000)), "--expect", "none")
        self.assertEqual((many["first"], many["last"]), (0, 4999))
        self.assertEqual(self.texts("many"), [str(n) for n in range(5000)])
        self.assertEqual(self.texts("many", "--backward"), [str(n) for n in reversed(range(5000))])

    def test_ids_make_a_repeat_harmless(self):
        one = str(uuid.uuid4())
        event = json.dumps({"id": one, "type": "paid", "data": {"n": 12345678901234567890.5, "a": [1]},
                            "meta": {"by": "me"}, "tags": ["x:1", "y"]}).encode() + b"\n"
        first = self.append("ids", event, "--json", "--expect", "none")
        again = self.append("ids", event, "--json", "--expect", "none")
        self.assertEqual(again, dict(first, replayed=True))
        self.append("ids", b"line\n", "--id", str(uuid.uuid4()).replace("-", ""))
        self.append("ids", b"one\ntwo\n", "--ids", "--type", "t")
        events = self.read("ids")
        self.assertEqual(events[0]["id"], one)
        self.assertEqual(events[0]["tags"], ["x:1", "y"])
        self.assertEqual(len({event["id"] for event in events}), 4)
        self.assertEqual([event.get("type") for event in events], ["paid", None, "t", "t"])
        # The digits are those that were written.
        raw = b'{"data":{"big":123456789012345678901234567890,"b":1.10}}\n'
        self.append("digits", raw, "--json")
        shown = self.call(DONE, "read", "digits", "--json").stdout
        self.assertIn(b'"data":{"big":123456789012345678901234567890,"b":1.10}', shown)
        # Some of the ids, but not all.
        mixed = event + json.dumps({"id": str(uuid.uuid4())}).encode() + b"\n"
        self.assertIn("some of these ids", self.append("ids", mixed, "--json", code=NEGATIVE))

    def test_what_is_kept_of_a_stream(self):
        self.append("kept", b"".join(b"%d\n" % n for n in range(10)))
        self.call(DONE, "stream", "set", "kept", "--max-count", "3")
        self.assertEqual(self.texts("kept"), ["7", "8", "9"])
        self.assertIn(b"keeps only its newest 3 events",
                      self.call(DONE, "append", "kept", input=b"10\n").stderr)
        shown = json.loads(self.call(DONE, "stream", "show", "kept", "--json").stdout)
        self.assertEqual((shown["first"], shown["next"], shown["max_count"]), (8, 11, 3))
        self.call(DONE, "stream", "set", "kept", "--truncate-before", "10")
        self.assertEqual(self.texts("kept"), ["10"])
        self.call(DONE, "stream", "delete", "kept")
        self.assertIn(b"was deleted", self.call(NEGATIVE, "read", "kept").stderr)
        self.assertEqual(self.append("kept", b"back\n", "--expect", "none")["first"], 11)
        self.call(DONE, "stream", "tombstone", "kept")
        self.assertIn("tombstoned", self.append("kept", b"no\n", code=NEGATIVE))
        self.assertIn(b"tombstoned", self.call(NEGATIVE, "read", "kept").stderr)
        self.call(NEGATIVE, "stream", "show", "nobody")

    def test_streams_are_listed_by_their_names(self):
        for name in ("l/b", "l/a", "l/c", "other"):
            self.append(name, b"x\n")
        self.call(DONE, "stream", "delete", "l/c")
        listed = [json.loads(line) for line in
                  self.call(DONE, "streams", "l/", "--json").stdout.splitlines()]
        self.assertEqual([(one["stream"], one["first"], one["next"]) for one in listed],
                         [("l/a", 0, 1), ("l/b", 0, 1)])
        self.assertEqual(self.call(DONE, "streams", "l/", "--after", "l/a").stdout, b"l/b\t0\t1\n")
        self.call(NEGATIVE, "streams", "nothing/")

    # ---- Transactions.

    def test_a_transaction_is_all_or_nothing_on_every_node(self):
        done = self.txn({"if": [{"key": "t/stock", "absent": True}, {"stream": "t/orders", "none": True}],
                         "then": [{"put": {"key": "t/stock", "value": "5"}}, {"add": {"key": "t/n", "delta": 2}},
                                  {"append": {"stream": "t/orders", "expected": "none",
                                              "events": [{"type": "placed", "data": {"n": 1}}]}}]})
        self.assertTrue(done["succeeded"])
        self.assertEqual(done["results"], [{}, {"number": 2}, {"first": 0, "last": 0, "replayed": False}])
        failed = self.txn({"if": [{"key": "t/stock", "equals": "6"}, {"stream": "t/orders", "at": 7},
                                  {"key": "t/n", "min": 1, "max": 9}],
                           "then": [{"put": {"key": "t/stock", "value": "lost"}}],
                           "else": [{"get": {"key": "t/n"}}]}, NEGATIVE)
        self.assertEqual(failed["failed"], [{"index": 0, "found": {"value": "5"}},
                                            {"index": 1, "found": {"version": 0}}])
        self.assertEqual(failed["results"], [{"value": "2"}])
        impossible = self.txn({"then": [{"put": {"key": "t/stock", "value": "lost"}},
                                        {"append": {"stream": "t/orders", "expected": 5,
                                                    "events": [{"text": "lost"}]}}]}, NEGATIVE)
        self.assertEqual(impossible["failed"], [{"list": "then", "index": 1, "found": {"version": 0}}])
        level = self.settle()
        for node in self.nodes.nodes:
            got = json.loads(self.call(DONE, "mget", "t/stock", "t/n", "--json", "--read", level,
                                       server=node.server).stdout)
            self.assertEqual([one["value"] for one in got["values"]], ["5", "2"])
            self.assertEqual({one["modified_at"] for one in got["values"]}, {done["position"]})
            events = self.read("t/orders", "--read", level, server=node.server)
            self.assertEqual([(one["type"], one["data"]) for one in events], [("placed", {"n": 1})])

    def test_once_is_once(self):
        body = {"once": uuid.uuid4().hex, "then": [{"add": {"key": "once/n", "delta": 1}}]}
        first, again = self.txn(body), self.txn(body)
        self.assertEqual(again["results"], first["results"])
        self.assertEqual(self.nodes.run("get", "once/n").stdout, b"1")

    def test_several_keys_are_of_one_moment_under_load(self):
        keys = [f"m/{n}" for n in range(8)]
        stop, wrong, reads = threading.Event(), [], [0]

        def write():
            number = 0
            while not stop.is_set():
                number += 1
                self.txn({"then": [{"put": {"key": key, "value": str(number)}} for key in keys]})

        def look(node):
            while not stop.is_set():
                done = self.nodes.run("mget", *keys, "--json", "--read", "any", server=node.server,
                                      check=False)
                values = {one.get("value") for one in json.loads(done.stdout)["values"]}
                reads[0] += 1
                if len(values) != 1:
                    wrong.append(values)

        writers = [threading.Thread(target=write) for _ in range(2)]
        # Other keys, as fast as it goes.
        load = subprocess.Popen([TAILRACE, "bench", "service", "--op", "put", "--seconds", "60", "--server",
                                 self.nodes.servers], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (load.kill(), load.wait()))
        readers = [threading.Thread(target=look, args=(node,)) for node in self.nodes.nodes]
        for thread in writers + readers:
            thread.start()
        wait_until("enough reads", lambda: reads[0] >= 60 or wrong, 30)
        stop.set()
        for thread in writers + readers:
            thread.join()
        self.assertEqual(wrong, [])

    # ---- What cannot be.

    def test_mistakes_are_named(self):
        def says(text, code, *words, input=None):
            self.assertIn(text, self.call(code, *words, input=input).stderr.decode())

        says("line 2: typ is not known; did you mean type?", REFUSED, "append", "bad", "--json",
             input=b'{"text":"a"}\n{"typ":"t"}\n')
        self.assertEqual(self.texts("bad"), ["a"])
        says("--expect is 'soon'", USAGE, "append", "bad", "--expect", "soon", input=b"x\n")
        says("--id is 'x'", USAGE, "append", "bad", "--id", "x", input=b"x\n")
        says("more than one line", REFUSED, "append", "bad", "--id", str(uuid.uuid4()), input=b"x\ny\n")
        says("one word too many", USAGE, "append", "a", "b", "--stream", "c")
        says("control character", REFUSED, "append", "a\x01b", input=b"x\n")
        says("1025 bytes long", REFUSED, "read", "s" * 1025)
        says("--from is 'x'", USAGE, "read", "bad", "--from", "x")
        says("--max-age is '7'", USAGE, "stream", "set", "bad", "--max-age", "7")
        says("needs one of", USAGE, "stream", "set", "bad")
        says("then[0].put.vlaue is not known; did you mean value?", USAGE, "txn",
             input=b'{"then":[{"put":{"key":"k","vlaue":"v"}}]}')
        says("line 1, column 2", USAGE, "txn", input=b"{")
        says("then[0].ack is not supported yet", USAGE, "txn", input=b'{"then":[{"ack":{}}]}')
        says("then[0].put and then[1].put change one key", REFUSED, "txn", input=json.dumps(
            {"then": [{"put": {"key": "k", "value": "1"}}, {"put": {"key": "k", "value": "2"}}]}).encode())
        says("key", REFUSED, "mget", "")
        says("1 to 1024", REFUSED, "mget", *["k"] * 1025)
        self.call(NEGATIVE, "read", "nobody")
        self.call(NEGATIVE, "mget", "nobody")

    def test_the_log_shows_transactions(self):
        position = self.append("shown", b"one\ntwo\n")["first_position"]
        lines = [json.loads(line) for line in
                 self.nodes.run("tail", "--json", "--stream", "shown").stdout.splitlines()]
        self.assertEqual([line["kind"] for line in lines], ["txn"])
        events = lines[0]["txn"]["then"][0]["append"]["events"]
        self.assertEqual([event["text"] for event in events], ["one", "two"])
        self.assertTrue(lines[0]["address"] < position < lines[0]["end"])
        self.assertEqual(self.nodes.run("tail", "--stream", "shown").stdout, b"one\ntwo\n")
        self.assertEqual(self.nodes.run("tail", "--stream", "shown", "-n", "1").stdout, b"one\n")


@explained_tests
class FailingLeaderTest(unittest.TestCase):
    """Appends and additions go on while leaders are killed: nothing that was acknowledged is missing,
    and nothing is there twice."""

    def setUp(self):
        self.nodes = Cluster(TAILRACE, nodes=3, settings=SETTINGS)
        self.nodes.__enter__().wait_version()
        self.addCleanup(self.nodes.__exit__)
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def describe(self):
        return self.nodes.describe()

    def numbers(self, server, level):
        done = self.nodes.run("read", "w", "--json", "--read", level, server=server)
        return [int(base64.b64decode(json.loads(line)["data_base64"]).partition(b":")[2]
                    .rstrip(b".")) for line in done.stdout.splitlines()]

    def test_nothing_twice_and_nothing_missing(self):
        writer = Writer(ACK_WRITER, "w", self.nodes.servers, pathlib.Path(self.folder.name))
        self.addCleanup(writer.close)
        writer.wait_for_acks(500, 30)
        for next_leader in (2, 3):
            old = self.nodes.serving()
            old.kill()
            self.nodes.run("promote", "--node", str(next_leader))
            self.nodes.serving(other_than=old)
            writer.wait_for_acks(500, 30)
            old.start()
            old.wait_ready()
        writer.end()
        self.nodes.wait_equal()
        acknowledged = set(writer.new_events)
        lists = [self.numbers(node.server, "any") for node in self.nodes.nodes]
        self.assertTrue(all(numbers == lists[0] for numbers in lists))
        self.assertEqual(len(lists[0]), len(set(lists[0])), "an event is there twice")
        self.assertLessEqual(acknowledged, set(lists[0]))
        self.assertFalse(writer.failed & set(lists[0]))
        self.assertEqual(value_of("w", lists[0][0]).partition(":")[0], "w")


class OldClusterTest(unittest.TestCase):
    def test_an_older_cluster_appends_as_before_and_refuses_the_rest(self):
        with Cluster(TAILRACE, nodes=1, replication="  cluster_version: 4\n") as single:
            self.assertEqual(single.status()[0]["cluster_version"], 4)
            done = single.run("append", "plain", input=b"one\n")
            self.assertTrue(done.stdout.startswith(b"first "))
            kinds = [json.loads(line)["kind"] for line in
                     single.run("tail", "--json").stdout.splitlines()]
            self.assertIn("event", kinds)
            self.assertNotIn("txn", kinds)
            for words, text in ((["append", "s", "--expect", "none"], b"x\n"), (["append", "s", "--ids"], b"x\n"),
                                (["txn"], b'{"then":[{"get":{"key":"k"}}]}'), (["stream", "delete", "s"], None)):
                refused = single.run(*words, input=text, check=False)
                self.assertEqual(refused.returncode, REFUSED, refused.stderr)
                self.assertIn(b"needs cluster version 5", refused.stderr)
            self.assertEqual(single.run("read", "plain", check=False).returncode, NEGATIVE)
            single.run("put", "k", "v")
            got = json.loads(single.run("mget", "k", "--json").stdout)
            self.assertEqual([one["value"] for one in got["values"]], ["v"])


unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
