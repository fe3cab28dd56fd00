"""What `log dump` prints, `load` puts back: the events with their batches, the state, also behind damage.

Usage: load_test.py TAILRACE
"""
import base64
import json
import pathlib
import struct
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from cluster import SMALL_LOG, Cluster  # noqa: E402

TAILRACE = sys.argv[1]
# Nothing is truncated.
SETTINGS = SMALL_LOG + "state_machine: {checkpoint_interval: 0 s}\n"


def lines(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def as_lines(records):
    return "".join(json.dumps(one) + "\n" for one in records).encode()


def dump(cluster, *flags):
    return lines(cluster.run("log", "dump", "--json", cluster.leader.data / "log", *flags))


def events(records):
    return [(one["stream"], one["payload"]) for one in records if one["kind"] == "event"]


def state(cluster):
    """The pairs, without where and when."""
    return lines(cluster.run("scan", "", "--json", check=False))[:-1]


class LoadTest(unittest.TestCase):
    """Of clusters whose appends are records of events."""
    REPLICATION = "  cluster_version: 4\n"

    def setUp(self):
        self.old, self.new = (
            self.enterContext(Cluster(TAILRACE, nodes=1, settings=SETTINGS, replication=self.REPLICATION))
            for _ in range(2))

    def enterContext(self, context):  # of unittest from 3.11 on
        self.addCleanup(context.__exit__, None, None, None)
        return context.__enter__()

    def load(self, records, *flags, check=True):
        data = records if isinstance(records, bytes) else as_lines(records)
        return self.new.run("load", *flags, input=data, check=check)

    def test_a_whole_log_comes_back(self):
        run = self.old.run
        run("append", "--stream", "a", input=b"".join(b"%d\n" % n for n in range(3000)))
        run("append", "--stream", "b", input=b"\xff\xfe binary \x01\n\n")
        for n in range(300):
            if n % 100 == 0:
                run("append", input=b"between\n")
            if n < 20:
                run("put", f"key{n % 7}", f"value{n}")
        run("put", b"\xff\x00".replace(b"\x00", b"\x01"), b"\x80")
        run("add", "n", "5")
        run("add", "n", "--", "-7")
        run("cas", "key1", "lost", "never", check=False)
        run("cas", "key1", "value15", "won")
        run("delete", "key2")
        run("cas", "key2", "--absent", "inserted")
        run("cas", "key3", "--absent", "never", check=False)
        run("delete", "nobody", check=False)
        run("put", "short", "v", "--ttl", "1h")
        run("cas", "held", "--absent", "me", "--ttl", "1h")
        run("expire", "key3", "--ttl", "7d")
        run("expire", "key3", "--never")
        before = dump(self.old)
        # Of a log that knows a command twice the second did nothing; and a gap in a session did neither.
        twice = [one for one in before if one["kind"] == "add"][0]
        gap = dict(twice, serial=twice["serial"] + 2)
        done = self.load(before + [twice, gap])
        self.assertIn(b"2 commands that did nothing", done.stderr)
        self.assertNotIn(b"does not t", done.stderr)
        self.assertNotIn(b"already holds", done.stderr)
        self.assertTrue(all(one["log_time_ns"] > 0 for one in before))
        self.assertGreater(twice["begins_before_ns"], twice["log_time_ns"])
        after = dump(self.new)
        self.assertEqual(events(after), events(before))
        self.assertEqual(state(self.new), state(self.old))
        self.assertEqual(self.new.run("get", "n").stdout, b"-2")

        def batches(records):
            """What became durable together: at least what did so before."""
            together = {}
            for number, one in enumerate(one for one in records if one["kind"] == "event"):
                together.setdefault(one["batch"], set()).add((one["stream"], number))
            return together.values()

        for batch in batches(before):
            for stream in {stream for stream, _ in batch}:
                mine = {one for one in batch if one[0] == stream}
                neighbours = max(mine, key=lambda one: one[1])[1] - min(mine, key=lambda one: one[1])[1]
                if neighbours == len(mine) - 1:
                    self.assertTrue(any(mine <= now for now in batches(after)), mine)
        words = done.stdout.split()
        self.assertEqual(words[::2], [b"events", b"commands", b"dump_end", b"end"])
        self.assertEqual(int(words[1]), len(events(before)))
        self.assertEqual(int(words[5]), before[-1]["end"])
        self.assertIn(words[7].decode(), {f"{one['epoch']}:{one['end']}" for one in after})
        # Once more is twice, and said.
        self.assertIn(b"already holds events or commands", self.load(before).stderr)
        self.assertEqual(self.new.run("get", "n").stdout, b"-4")

    def test_it_goes_on_where_it_stopped_and_refuses_what_it_cannot_put_back(self):
        self.old.run("append", input=b"one\ntwo\n")
        self.old.run("put", "k", "v")
        self.old.run("append", input=b"three\n")
        records = dump(self.old)
        event = [one for one in records if one["kind"] == "event"][-1]
        odd = {"address": 1 << 40, "end": (1 << 40) + 8, "epoch": 1, "kind": "77", "payload": "x"}
        for wrong, says in ((odd, "kind '77' cannot be put back"), ({"kind": "put"}, "'address' is missing"),
                            (dict(event, payload=7), "'payload' is not text"),
                            (dict(event, payload="?", payload_encoding="base64"), "base64"), ([1], "JSON")):
            done = self.load(as_lines([wrong]), check=False)
            self.assertEqual(done.returncode, 4)
            self.assertIn(f"standard input: line 1: ", done.stderr.decode())
            self.assertIn(says, done.stderr.decode())
        self.assertEqual(events(dump(self.new)), [])
        # All before the wrong line is in, and where to go on is said.
        cut = next(n for n, one in enumerate(records) if one["kind"] == "put")
        done = self.load(as_lines(records[:cut]) + b"nonsense\n", check=False)
        self.assertEqual(done.returncode, 4)
        where = done.stderr.decode().split("--from ")[1].strip()
        self.load(records, "--from", where)
        self.assertEqual(events(dump(self.new)), events(records))
        self.assertEqual(self.new.run("get", "k").stdout, b"v")
        # Also from a file, and what `tail` shows.
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.old.run("tail", "--json", "--from", where).stdout)
            file.flush()
            self.new.run("load", file.name)
        self.assertEqual(events(dump(self.new))[-1], ("default", "three"))

    def test_commands_that_were_not_applied_then_are_not_applied_now(self):
        second = 10 ** 9
        rules = base64.b64encode(struct.pack("<IIQII", 1, 16, second, 65536, 0)).decode()
        address = 64

        def line(kind, at, **more):
            """A batch of its own, whose mark has that time."""
            nonlocal address
            made = {"address": address, "end": address + 64, "epoch": 1, "kind": kind, **more,
                    "batch": address, "log_time_ns": at}
            address += 128
            return made

        def add(at, client, serial, **more):
            return line("add", at, key="n", delta=1, client=client, serial=serial, **more)

        now = 1_800_000_000 * second
        whole = [line("epoch_start", now),
                 line("rules", now + 1, payload=rules, payload_encoding="base64"),
                 add(now + 2, "a", 1, begins_before_ns=now + second),
                 add(now + 3, "a", 2),
                 add(now + 4, "a", 4),                                     # a gap
                 add(now + 5, "b", 7),                                     # never begun
                 line("time", now + 10 * second),
                 add(now + 10 * second + 1, "a", 3),                       # expired, so sent again as
                 add(now + 10 * second + 2, "c", 1, begins_before_ns=now + 11 * second),
                 add(now + 10 * second + 3, "a", 1, begins_before_ns=now + second)]  # a late repeat
        done = self.load(whole)
        self.assertEqual(self.new.run("get", "n").stdout, b"3")
        self.assertIn(b"4 commands that did nothing", done.stderr)
        # Where the dump begins in the middle nobody knows, but of what is shown from its beginning.
        part = [line("event", now, stream="s", payload="e"), add(now, "d", 7), add(now, "d", 8),
                add(now, "e", 1), add(now, "e", 2)]
        done = self.load(part, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.new.run("get", "n").stdout, b"5")
        self.assertIn(f"LEFT OUT: 2 commands of sessions whose beginning the dump does not show (the "
                      f"first at address {part[1]['address']})", done.stderr.decode())
        done = self.load(part, "--apply-unknown")
        self.assertEqual(self.new.run("get", "n").stdout, b"9")
        self.assertIn(b"put back: 2 commands of sessions", done.stderr)
        # With what was before it, it is known.
        before = [dict(add(now, "d", serial), address=serial * 16) for serial in range(1, 7)]
        begin = dict(whole[0], address=64, batch=64)
        self.load([begin, *before, *part], "--from", str(part[0]["address"]))
        self.assertEqual(self.new.run("get", "n").stdout, b"13")
        # Without times expiry is not known.
        for one in part:
            del one["log_time_ns"], one["batch"]
        done = self.load(part[3:])
        self.assertIn(b"does not tell when its commands were applied", done.stderr)

    def test_a_batch_that_does_not_fit_on_a_page_is_divided_and_told(self):
        lines = [{"address": 64 + 8 * n, "end": 72 + 8 * n, "epoch": 1, "kind": "event", "stream": "s",
                  "payload": f"{n} " + "x" * 1000, "batch": 64} for n in range(3000)]
        done = self.load(lines)
        self.assertIn(b"were divided 1 times", done.stderr)
        self.assertEqual(events(dump(self.new)), events(lines))

    def test_what_a_repair_cuts_off_is_put_back(self):
        """As the report of the repair says it."""
        self.old.run("append", input=b"".join(b"line %d\n" % n for n in range(2000)))
        self.old.run("put", "k", "v")
        self.old.run("add", "n", "3")
        self.old.leader.stop()
        segment = sorted((self.old.leader.data / "log").glob("*.seg"))[0]
        damaged = bytearray(segment.read_bytes())
        damaged[damaged.find(b"line 1000")] ^= 1
        segment.write_bytes(damaged)
        log = self.old.leader.data / "log"
        done = self.old.run("log", "repair", log, "--yes")
        recover = [line for line in done.stdout.decode().splitlines() if line.startswith("recover")]
        self.assertEqual(len(recover), 2, done.stdout)
        words = recover[0].split("tailrace ")[1].split(" > ")[0].split()
        rest = self.old.run(*words).stdout
        self.assertIn(b'"behind_damage":true', rest)
        kept = self.old.run(*recover[1].split("tailrace ")[1].split(" | ")[0].split()).stdout
        self.old.leader.start().wait_ready()
        self.assertEqual(state(self.old), [])
        self.old.run(*recover[1].split("tailrace ")[2].split(), input=kept + rest)
        self.assertEqual(events(dump(self.old)), [("default", f"line {n}") for n in range(2000) if n != 1000])
        self.assertEqual((self.old.run("get", "k").stdout, self.old.run("get", "n").stdout), (b"v", b"3"))


class LoadTransactionsTest(unittest.TestCase):
    def setUp(self):
        self.old, self.new = (
            self.enterContext(Cluster(TAILRACE, nodes=1, settings=SETTINGS)).wait_version()
            for _ in range(2))

    def enterContext(self, context):  # of unittest from 3.11 on
        self.addCleanup(context.__exit__, None, None, None)
        return context.__enter__()

    def read(self, cluster, stream):
        """Without where and when."""
        return [{name: value for name, value in one.items() if name not in ("position", "time")}
                for one in lines(cluster.run("read", stream, "--json"))]

    def test_streams_and_transactions_come_back(self):
        run = self.old.run
        run("append", "plain", input=b"".join(b"%d\n" % n for n in range(3000)))
        run("append", "bytes", input=b"\xff\xfe binary \x01\n\n")
        run("append", "ids", "--json", "--expect", "none", input=(
            b'{"id":"0123456789abcdef0123456789abcdef","type":"t","data":{"n":1.10},"meta":{"m":1},"tags":["a"]}\n'))
        run("append", "ids", "--expect", "7", input=b"never\n", check=False)
        run("txn", input=b'{"if":[{"key":"k","absent":true}],"then":[{"put":{"key":"k","value":"v","ttl":"1h"}},'
                         b'{"put":{"key_base64":"/w==","value_base64":"/w=="}},{"add":{"key":"n","delta":3}}],"else":[]}')
        run("txn", input=b'{"if":[{"key":"k","absent":true}],"then":[{"delete":{"key":"n"}}],'
                         b'"else":[{"append":{"stream":"ids","events":[{"text":"else"}]}}]}', check=False)
        run("stream", "set", "plain", "--max-count", "5", "--max-age", "7d")
        before = dump(self.old)
        done = self.new.run("load", input=as_lines(before))
        self.assertIn(b"commands", done.stdout)
        for stream in ("plain", "bytes", "ids"):
            self.assertEqual(self.read(self.new, stream), self.read(self.old, stream))
        self.assertEqual(len(self.read(self.new, "plain")), 5)
        self.assertEqual(state(self.new), state(self.old))
        wrong = [one for one in before if one["kind"] == "txn"][0]
        wrong["txn"]["then"][0]["append"]["evnts"] = []
        done = self.new.run("load", input=as_lines([wrong]), check=False)
        self.assertEqual(done.returncode, 4)
        self.assertIn(b"then[0].append.evnts is not known; did you mean events?", done.stderr)


unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
