"""Every verb of the program against real nodes: exit codes, what goes to standard output and what
does not, JSON shapes, how the leader is found, and lines that travel through pipes.

Usage: command_line_test.py TAILRACE
"""
import base64
import json
import os
import pathlib
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from cluster import SMALL_LOG, Cluster, free_ports, wait_until  # noqa: E402
from sockets import Recorder  # noqa: E402

TAILRACE = sys.argv[1]
DONE, NEGATIVE, USAGE, UNREACHABLE, REFUSED = range(5)
SERVER_VERBS = [["put", "k", "v"], ["get", "k"], ["delete", "k"], ["add", "k", "1"],
                ["cas", "k", "a", "b"], ["expire", "k", "--never"], ["scan", "k"], ["append"], ["tail"], ["status"], ["checkpoint"],
                ["verify"], ["top", "--iterations", "1"], ["bench", "service"], ["bench", "events"]]

# Nothing is truncated but where a test asks for it, however long the tests take.
SETTINGS = SMALL_LOG + "state_machine: {checkpoint_interval: 0 s}\n"

single = three = None


def setUpModule():
    global single, three
    single = Cluster(TAILRACE, nodes=1, settings=SETTINGS)
    unittest.addModuleCleanup(single.__exit__)
    single.__enter__().wait_version()
    three = Cluster(TAILRACE, nodes=3, settings=SETTINGS)
    unittest.addModuleCleanup(three.__exit__)
    three.__enter__().wait_version()


def run(*arguments, cluster=None, server=None, input=None, environment=None):
    environment = dict(os.environ if environment is None else environment)
    environment.pop("TAILRACE_SERVER", None)
    if cluster is not None or server is not None:
        environment["TAILRACE_SERVER"] = server or cluster.servers
    return subprocess.run([TAILRACE, *arguments], env=environment, input=input, timeout=120,
                          stdin=subprocess.DEVNULL if input is None else None,
                          capture_output=True)


def time_now():
    return time.monotonic()


def dead_address():
    return f"127.0.0.1:{free_ports(1)[0]}"


def wait_until_quiet(cluster):
    """Nothing is written to the log for a while."""
    before, since = None, time.monotonic()
    while before is None or time.monotonic() - since < 0.5:
        tail = json.loads(run("status", "--json", cluster=cluster).stdout)[0]["tail"]
        if tail != before:
            before, since = tail, time.monotonic()
        time.sleep(0.05)


class Started:
    """A process whose lines of output are waited for; killed at the end, whatever happens."""

    def __init__(self, test, *arguments, cluster, stdin=subprocess.DEVNULL):
        environment = dict(os.environ, TAILRACE_SERVER=cluster.servers)
        self.process = subprocess.Popen([TAILRACE, *arguments], env=environment, stdin=stdin,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        test.addCleanup(self.end)
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def line(self):
        """The next line; fails after a generous time, None at the end."""
        try:
            return self.lines.get(timeout=60)
        except queue.Empty:
            raise AssertionError("no further line of output came")

    def end(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None and not stream.closed:
                stream.close()


class VerbTest(unittest.TestCase):
    def expect(self, code, *arguments, out=None, says=None, **keywords):
        """Runs; the code, standard output (bytes) and a part of standard error are as given."""
        keywords.setdefault("cluster", single)
        done = run(*arguments, **keywords)
        told = f"{arguments[:4]}: {done.stdout[-300:]} {done.stderr[-300:]}"
        self.assertEqual(done.returncode, code, told)
        if out is not None:
            self.assertEqual(done.stdout, out, told)
        if says is not None:
            self.assertIn(says, done.stderr.decode(errors="replace"), told)
        if code in (USAGE, UNREACHABLE):
            self.assertNotEqual(done.stderr, b"", told)
        return done


class Keys(VerbTest):
    def test_put_get_delete(self):
        for cluster in (single, three):
            self.expect(DONE, "put", "k", "some value", cluster=cluster, out=b"")
            self.expect(DONE, "get", "k", cluster=cluster, out=b"some value")
            self.expect(DONE, "put", "k", "another", cluster=cluster)
            self.expect(DONE, "get", "k", cluster=cluster, out=b"another")
            self.expect(DONE, "delete", "k", cluster=cluster, out=b"")
            self.expect(NEGATIVE, "delete", "k", cluster=cluster, out=b"", says="no key 'k'")
            self.expect(NEGATIVE, "get", "k", cluster=cluster, out=b"", says="no key 'k'")

    def test_get_says_as_json_where_its_state_stands_and_how_old_it_may_be(self):
        self.expect(DONE, "put", "k", "v", cluster=three)
        for level in ("linearizable", "bounded=60000ms", "bounded=60000", "bounded=60s", "bounded=60 s",
                      "bounded=1m"):
            told = json.loads(self.expect(DONE, "get", "--json", "--read", level, "k", cluster=three).stdout)
            self.assertEqual((told["key"], told["found"], told["value"]), ("k", True, "v"))
            self.assertGreater(told["epoch"], 0)
            self.assertGreater(told["applied"], 64)
            self.assertLess(told["staleness_bound_ms"], 60000)
        absent = json.loads(self.expect(NEGATIVE, "get", "--json", "none", cluster=three).stdout)
        self.assertEqual((absent["found"], "value" in absent), (False, False))

    def test_a_value_may_be_empty_and_is_not_the_same_as_no_value(self):
        self.expect(DONE, "put", "empty", "")
        self.expect(DONE, "get", "empty", out=b"")
        self.expect(DONE, "cas", "empty", "", "full")
        self.expect(DONE, "delete", "empty")
        self.expect(NEGATIVE, "get", "empty", out=b"")
        self.expect(NEGATIVE, "cas", "empty", "", "full", says="no key")

    def test_an_empty_key_is_refused(self):
        for verb in (["put", "", "v"], ["get", ""], ["delete", ""], ["add", "", "1"],
                     ["cas", "", "a", "b"]):
            self.expect(REFUSED, *verb, out=b"", says="the key is empty")

    def test_a_key_lives_as_long_as_it_is_told(self):
        for cluster in (single, three):
            self.expect(DONE, "put", "ttl/short", "v", "--ttl", "1500ms", cluster=cluster, out=b"")
            self.expect(DONE, "put", "ttl/long", "v", "--ttl", "1h", cluster=cluster)
            self.expect(DONE, "put", "ttl/changed", "v", "--ttl", "1 h", cluster=cluster)
            self.expect(DONE, "expire", "ttl/changed", "--ttl", "1s", cluster=cluster, out=b"")
            # Nobody writes meanwhile.
            wait_until("the keys expire",
                       lambda: all(run("get", "ttl/" + key, cluster=cluster).returncode == NEGATIVE
                                   for key in ("short", "changed")))
            self.expect(DONE, "get", "ttl/long", cluster=cluster, out=b"v")
            self.expect(DONE, "expire", "ttl/long", "--never", cluster=cluster)
            self.expect(NEGATIVE, "expire", "ttl/short", "--never", cluster=cluster, says="no key")
            self.expect(NEGATIVE, "delete", "ttl/short", cluster=cluster, says="no key")
            scan = self.expect(DONE, "scan", "ttl/", cluster=cluster, out=b"ttl/long\tv\n")
            self.assertIn(b"1 pairs at address", scan.stderr)
            self.expect(DONE, "verify", cluster=cluster)
        for wrong in (["30"], ["0s"], ["0 s"], ["-1s"], ["1  s"], ["soon"]):
            self.expect(USAGE, "put", "k", "v", "--ttl", *wrong)
        self.expect(USAGE, "expire", "k")
        self.expect(USAGE, "expire", "k", "--never", "--ttl", "1s")

    def test_a_scan_shows_the_pairs_with_a_prefix_of_one_address(self):
        for cluster in (single, three):
            expected = {f"scan/{i}": str(i) for i in range(40)}
            for key, value in expected.items():
                self.expect(DONE, "put", key, value, cluster=cluster)
            self.expect(DONE, "put", "scam", "v", cluster=cluster)
            lines = self.expect(DONE, "scan", "scan/", cluster=cluster).stdout.decode().splitlines()
            self.assertEqual(dict(line.split("\t") for line in lines), expected)
            self.assertEqual(lines, sorted(lines))
            keys = self.expect(DONE, "scan", "scan/", "--keys-only", cluster=cluster).stdout.decode()
            self.assertEqual(keys.splitlines(), sorted(expected))
            self.expect(DONE, "scan", "scan/", "--count", cluster=cluster, out=b"40\n")
            objects = [json.loads(line) for line in self.expect(
                DONE, "scan", "scan/", "--json", cluster=cluster).stdout.splitlines()]
            end = objects.pop()
            self.assertEqual({one["key"]: one["value"] for one in objects}, expected)
            self.assertEqual((end["pairs"], end["complete"], end["sorted"]), (40, True, True))
            at_least = f"at-least={end['epoch']}:{end['address']}"
            for server in cluster.servers.split(","):
                lines = self.expect(DONE, "scan", "scan/", "--read", at_least,
                                    server=server).stdout.splitlines()
                self.assertEqual(len(lines), 40)
            some = self.expect(DONE, "scan", "scan/", "-n", "7", "--json", cluster=cluster)
            objects = [json.loads(line) for line in some.stdout.splitlines()]
            self.assertEqual((objects[-1]["pairs"], objects[-1]["complete"]), (7, False))
            self.expect(NEGATIVE, "scan", "nobody/", cluster=cluster, out=b"", says="0 pairs")

    def test_add_counts_from_zero_in_both_directions(self):
        for cluster in (single, three):
            self.expect(DONE, "add", "counter", "5", cluster=cluster, out=b"5\n")
            self.expect(DONE, "add", "counter", "-12", cluster=cluster, out=b"-7\n")
            self.expect(DONE, "add", "counter", "+7", cluster=cluster, out=b"0\n")
            self.expect(DONE, "get", "counter", cluster=cluster, out=b"0")
        least, greatest = str(-2**63), str(2**63 - 1)
        self.expect(DONE, "add", "edge", least, out=least.encode() + b"\n")
        self.expect(REFUSED, "add", "edge", "-1", out=b"", says="nothing changed")
        self.expect(DONE, "get", "edge", out=least.encode())
        self.expect(DONE, "add", "edge", greatest, out=b"-1\n")
        self.expect(DONE, "add", "octal", "010", out=b"10\n")

    def test_add_to_what_is_no_integer_is_refused(self):
        self.expect(DONE, "put", "word", "abc")
        self.expect(REFUSED, "add", "word", "1", out=b"", says="nothing changed")
        self.expect(DONE, "get", "word", out=b"abc")

    def test_a_delta_that_is_no_integer_is_a_usage_error(self):
        for delta in ("", "x", "1x", "1.5", "0x10", "+-1", str(2**63), str(-2**63 - 1), " 1"):
            self.expect(USAGE, "add", "never", delta, says="from -9223372036854775808 (-2^63) to 9223372036854775807")
        self.expect(NEGATIVE, "get", "never")

    def test_cas_swaps_once_and_tells_the_loser_the_present_value(self):
        for cluster in (single, three):
            self.expect(DONE, "put", "lock", "free", cluster=cluster)
            self.expect(DONE, "cas", "lock", "free", "mine", cluster=cluster, out=b"")
            self.expect(NEGATIVE, "cas", "lock", "free", "yours", cluster=cluster, out=b"mine")
            self.expect(DONE, "get", "lock", cluster=cluster, out=b"mine")
        self.expect(NEGATIVE, "cas", "nothing here", "a", "b", out=b"", says="no key")

    def test_cas_against_absent_creates_a_key_once_and_tells_the_loser_the_present_value(self):
        for cluster in (single, three):
            wait_until("all members know it", lambda: json.loads(
                run("status", "--json", cluster=cluster).stdout)[0]["cluster_version"] >= 4)
            self.expect(DONE, "cas", "absent/lock", "--absent", "mine", cluster=cluster, out=b"")
            self.expect(NEGATIVE, "cas", "--absent", "absent/lock", "yours", cluster=cluster, out=b"mine",
                        says="there is a key 'absent/lock' already")
            self.expect(DONE, "get", "absent/lock", cluster=cluster, out=b"mine")
            self.expect(DONE, "delete", "absent/lock", cluster=cluster)
            self.expect(DONE, "cas", "absent/lock", "--absent", "", cluster=cluster, out=b"")
            self.expect(NEGATIVE, "cas", "absent/lock", "yours", "--absent", cluster=cluster, out=b"")
            self.expect(DONE, "get", "absent/lock", cluster=cluster, out=b"")
            self.expect(DONE, "put", "absent/ttl", "v", "--ttl", "200ms", cluster=cluster)
            wait_until("the key expires", lambda: run("cas", "absent/ttl", "--absent", "w",
                                                      cluster=cluster).returncode == DONE)
            self.expect(DONE, "get", "absent/ttl", cluster=cluster, out=b"w")
            # A lock that ends with its holder.
            self.expect(DONE, "cas", "absent/held", "--absent", "mine", "--ttl", "200ms", cluster=cluster)
            wait_until("the lock ends", lambda: run("cas", "absent/held", "--absent", "yours",
                                                    cluster=cluster).returncode == DONE)
        self.expect(DONE, "cas", "--absent", "--", "-absent", "-v", out=b"")
        self.expect(DONE, "get", "--", "-absent", out=b"-v")
        self.expect(USAGE, "cas", "absent/ttl", "w", "x", "--ttl", "1s", says="--absent")
        self.expect(USAGE, "cas", "absent/k", "--absent", says="NEW")
        self.expect(USAGE, "cas", "absent/k", "a", says="NEW")
        self.expect(USAGE, "cas", "absent/k", says="EXPECTED")
        self.expect(USAGE, "cas", "absent/k", "a", "b", "--absent", says="--absent")
        self.expect(NEGATIVE, "get", "absent/k")

    def test_keys_and_values_that_begin_with_a_dash(self):
        self.expect(DONE, "put", "--", "-k", "-v")
        self.expect(DONE, "get", "--", "-k", out=b"-v")
        self.expect(DONE, "cas", "--", "-k", "-v", "--server")
        self.expect(DONE, "get", "--", "-k", out=b"--server")
        self.expect(DONE, "add", "--", "-n", "-3", out=b"-3\n")
        self.expect(DONE, "delete", "--", "-k")
        self.expect(USAGE, "put", "-k", "v", says="goes after --")
        self.expect(USAGE, "put", "k", "-v", says="goes after --")

    def test_binary_keys_and_values(self):
        key, value = b"\xff\xfe\x01 key\n", bytes(range(1, 256))
        self.expect(DONE, "put", key, value)
        self.expect(DONE, "get", key, out=value)
        self.expect(NEGATIVE, "get", key + b"\x80")
        records = [json.loads(line) for line in run("tail", "--json", cluster=single)
                   .stdout.splitlines()]
        mine = [one for one in records if one.get("key_encoding") == "base64"]
        self.assertEqual(base64.b64decode(mine[-1]["key"]), key)
        self.assertEqual(mine[-1]["payload_encoding"], "base64")
        self.assertEqual(base64.b64decode(mine[-1]["payload"]), value)


class Reads(VerbTest):
    def test_all_read_levels(self):
        done = self.expect(DONE, "append", cluster=three, input=b"line\n")
        point = done.stdout.split()[-1].decode()
        self.expect(DONE, "put", "read", "1", cluster=three)
        status = json.loads(run("status", "--json", cluster=three).stdout)
        newest = f"{status[0]['epoch']}:{status[0]['committed']}"
        self.expect(DONE, "get", "read", "--read", "linearizable", cluster=three, out=b"1")
        for node in three.nodes:
            for level in (f"at-least={point}", f"at-least={newest}"):
                done = run("get", "read", "--read", level, server=node.server)
                self.assertIn(done.returncode, (DONE, NEGATIVE), done.stderr)
                if level.endswith(newest):
                    self.assertEqual(done.stdout, b"1")
            self.expect(DONE, "get", "read", "--read", "any", server=node.server, out=b"1")

    def test_a_state_that_does_not_come_in_time_is_3(self):
        for level in ("at-least=99:999999999", "at-least=99:64"):
            self.expect(UNREACHABLE, "get", "k", "--read", level, "--timeout", "0.3", out=b"",
                        says="it has applied ")

    def test_a_state_that_cannot_come_is_refused_at_once(self):
        self.expect(REFUSED, "get", "k", "--read", "at-least=1:999999999", "--timeout", "30", out=b"",
                    says="which leads, ends at ")

    def test_a_level_that_is_none_is_a_usage_error(self):
        for level in ("", "all", "at-least", "at-least=", "at-least=1", "at-least=1:x",
                      "at-least=-1:2", "at-least=1:2:3", "bounded", "bounded=", "bounded=x", "bounded=s",
                      "bounded=-1s", "bounded=1.5s", "bounded=1  s", "bounded= 1s", "bounded=1s ",
                      "bounded=367d", "bounded=99999999999999999999ms"):
            self.expect(USAGE, "get", "k", "--read", level, says="--read")
        for level in ("bounded=0", "bounded=0s"):
            self.expect(USAGE, "get", "k", "--read", level, says="use linearizable")


class FindingTheServer(VerbTest):
    def test_the_leader_is_found_from_any_follower(self):
        for number, follower in enumerate(three.nodes[1:]):
            self.expect(DONE, "put", "found", str(number), server=follower.server)
            self.expect(DONE, "get", "found", server=follower.server, out=str(number).encode())
            self.expect(DONE, "append", input=b"x\n", server=follower.server)
            self.expect(DONE, "bench", "service", "--seconds", "0.1", "--clients", "1",
                        server=follower.server)

    def test_all_members_are_found_from_one_of_them(self):
        last = three.nodes[2].server
        self.assertEqual([one["node"] for one in json.loads(
            self.expect(DONE, "status", "--json", server=last).stdout)], [3, 1, 2])
        self.assertEqual([one["node"] for one in json.loads(
            self.expect(DONE, "status", "--json", "--only-named", server=last).stdout)], [3])
        self.expect(DONE, "verify", server=last, says="3 nodes agree")
        self.expect(DONE, "verify", "--only-named", server=last, says="nothing to compare it with")
        told = json.loads(self.expect(DONE, "member", "list", "--json", server=last).stdout)
        self.assertEqual(told["leader"], told["told_by"])
        self.assertEqual([one.get("connected") for one in told["members"]],
                         [None if one["node"] == told["leader"] else True for one in told["members"]])

    def test_a_transfer_to_a_node_that_was_not_named_is_a_success(self):
        one = three.leader.server
        for node in (2, 1):
            self.expect(DONE, "transfer", "--to", str(node), server=one,
                        says=f"node {node} at {three.nodes[node - 1].server} leads")

    def test_a_list_with_dead_servers_is_tried_through(self):
        self.expect(DONE, "put", "list", "v", server=f"{dead_address()},{three.nodes[2].server}")
        self.expect(DONE, "get", "list", "--read", "any", out=b"v",
                    server=f"{dead_address()},{three.leader.server}")

    def test_the_option_goes_before_the_environment_before_the_default(self):
        dead = dead_address()
        self.expect(DONE, "put", "--server", single.servers, "where", "v", server=dead)
        self.expect(UNREACHABLE, "get", "where", "--server", dead, "--timeout", "0.2", says=dead)
        self.expect(UNREACHABLE, "get", "where", "--timeout", "0.2", server=dead, says=dead)
        for verb in SERVER_VERBS:
            shown = run(*verb[:2] if verb[0] == "bench" else verb[:1], "--help").stdout
            self.assertIn(b"127.0.0.1:7100", shown, verb)
            self.assertIn(b"TAILRACE_SERVER", shown, verb)
            self.assertIn(b"--timeout", shown, verb)

    def test_nobody_there_is_3_for_every_verb(self):
        dead = dead_address()
        for verb in SERVER_VERBS:
            done = self.expect(UNREACHABLE, *verb, "--timeout", "0.2", server=dead, says=dead,
                               input=b"line\n")
            if verb[0] not in ("status", "top"):  # they show that nobody answers
                self.assertEqual(done.stdout, b"", verb)

    def test_what_is_no_address_or_no_time_is_a_usage_error(self):
        for server in ("nonsense", ":7100", "host:", "host:99999999", ","):
            self.expect(USAGE, "get", "k", "--server", server)
        for timeout in ("0", "-1", "x", "1e300"):
            self.expect(USAGE, "get", "k", "--timeout", timeout, says="--timeout")

    def test_a_write_that_no_majority_confirms_is_3_and_says_what_is_known(self):
        followers = three.nodes[1:]
        try:
            for node in followers:
                node.process.send_signal(signal.SIGSTOP)
            self.expect(UNREACHABLE, "put", "held", "v", "--timeout", "0.5", cluster=three,
                        says="no answer in time")
            done = self.expect(UNREACHABLE, "append", "--timeout", "0.5", cluster=three,
                               input=b"held\n", says="the first 0 lines are in the log")
            self.assertIn(b"may or may not", done.stderr)
        finally:
            for node in followers:
                node.process.send_signal(signal.SIGCONT)
        wait_until("the cluster serves again", lambda: run(
            "put", "held", "w", "--timeout", "5", cluster=three).returncode == DONE)
        self.expect(DONE, "get", "held", cluster=three, out=b"w")


class Lines(VerbTest):
    def tailed(self, stream, cluster=None):
        """Its events, each with what its record says."""
        records = run("tail", "--json", cluster=cluster or single).stdout.splitlines()
        appends = [(one, effect["append"]) for one in map(json.loads, records) if one["kind"] == "txn"
                   for effect in one["txn"]["then"] if "append" in effect]
        return [dict(one, payload=event.get("text", event.get("data_base64")))
                for one, append in appends if append["stream"] == stream for event in append["events"]]

    def test_append_prints_where_the_lines_are(self):
        for cluster in (single, three):
            done = self.expect(DONE, "append", "--stream", "where", "-", input=b"a\nbb\nccc\n",
                               cluster=cluster)
            words = done.stdout.decode().split()
            self.assertEqual(words[::2], ["first", "last", "records", "end"])
            records = self.tailed("where", cluster)
            self.assertEqual([one["payload"] for one in records], ["a", "bb", "ccc"])
            epoch, _, end = words[7].partition(":")
            self.assertEqual([int(words[1]), int(words[3]), int(words[5]), int(end), int(epoch)],
                             [records[0]["address"], records[-1]["address"], 3,
                              records[-1]["end"], records[0]["epoch"]])

    def test_every_line_counts_blank_ones_and_one_without_newline(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"\nfirst\n\n\nlast line has no end")
            file.flush()
            done = self.expect(DONE, "append", "--stream", "file", file.name)
        self.assertIn(b"records 5 ", done.stdout)
        self.assertEqual([one["payload"] for one in self.tailed("file")],
                         ["", "first", "", "", "last line has no end"])

    def test_no_lines_are_nothing(self):
        self.expect(DONE, "append", input=b"", out=b"", says="holds no line")
        self.expect(DONE, "append", "/dev/null", out=b"", says="holds no line")

    def test_many_lines_stay_in_order(self):
        text = b"".join(b"line %d\n" % number for number in range(20000))
        self.expect(DONE, "append", "--stream", "many", input=text, cluster=three)
        self.assertEqual([one["payload"] for one in self.tailed("many", three)],
                         text.decode().splitlines())

    def test_a_file_that_cannot_be_read_is_named(self):
        self.expect(USAGE, "append", "/nowhere/lines", out=b"", says="/nowhere/lines")
        self.expect(REFUSED, "append", "/", out=b"", says="directory")

    def test_a_line_beyond_the_limit_stops_and_says_how_far_it_came(self):
        before = len(self.tailed("long"))
        long = b"x" * (2 << 20)
        done = self.expect(REFUSED, "append", "--stream", "long", input=b"a\nb\n" + long + b"\nc\n")
        kept = len(self.tailed("long")) - before
        self.assertIn(f"the first {kept} lines are in the log; none after it", done.stderr.decode())
        self.assertIn("line 3 is the longest, 2097152 bytes", done.stderr.decode())
        self.assertIn("1048576 are allowed (server.max_value_bytes in", done.stderr.decode())

    def test_a_value_comes_from_standard_input_exactly(self):
        for value in (b"", b"line\n", bytes(range(256)) * 1000):
            self.expect(DONE, "put", "stdin", "-", input=value)
            self.expect(DONE, "get", "stdin", out=value)
        self.expect(REFUSED, "put", "stdin", "-", input=b"x" * (2 << 20), says="the limit is 1048576 bytes (server.max_value_bytes in")
        self.expect(REFUSED, "put", "stdin", "-", input=b"x" * (20 << 20), says="server.max_value_bytes in the nodes")

    def test_a_line_longer_than_any_event_is_refused_at_once_and_its_number_told(self):
        # What follows is never read: the pipe ends, and the writer is told.
        def refused(*arguments, start=b""):
            process = subprocess.Popen([TAILRACE, *arguments], stdin=subprocess.PIPE,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                       env=dict(os.environ, TAILRACE_SERVER=single.servers))
            sent, piece = 0, b"x" * (1 << 20)
            try:
                process.stdin.write(start)
                while sent < 1 << 30:
                    sent += process.stdin.write(piece)
            except BrokenPipeError:
                pass
            _, told = process.communicate(timeout=60)
            self.assertLess(sent, 80 << 20, arguments)
            return process.returncode, told.decode()

        code, told = refused("append", "--stream", "huge", start=b"a\nb\n")
        self.assertEqual(code, REFUSED)
        self.assertIn("line 3 is longer than 67108864 bytes", told)
        self.assertEqual(len(self.tailed("huge")), 2)
        code, told = refused("put", "huge", "-")
        self.assertEqual(code, USAGE)
        self.assertIn("more than 67108864 bytes", told)

    def test_a_line_through_a_live_pipe_shows_up_at_once(self):
        writer = Started(self, "append", "--stream", "live", cluster=three, stdin=subprocess.PIPE)
        reader = Started(self, "tail", "--from", "end", "--follow", cluster=three)
        # The reader's subscription begins when it is there: what comes before it may be missed.
        for number in range(1000):
            writer.process.stdin.write(b"is anybody there? %d\n" % number)
            writer.process.stdin.flush()
            try:
                reader.lines.get(timeout=0.1)
                break
            except queue.Empty:
                pass
        writer.process.stdin.write(b"the end\n")
        writer.process.stdin.flush()
        while reader.line() != b"the end\n":
            pass
        for line in (b"one\n", b"\n", b"two\n"):
            writer.process.stdin.write(line)
            writer.process.stdin.flush()
            self.assertEqual(reader.line(), line)
        writer.process.stdin.close()
        self.assertTrue(writer.line().startswith(b"first "))
        self.assertEqual(writer.process.wait(timeout=60), DONE)
        # A follower that is told to stop just stops.
        reader.process.send_signal(signal.SIGINT)
        self.assertEqual(reader.process.wait(timeout=60), -signal.SIGINT)


class Tail(VerbTest):
    @classmethod
    def setUpClass(cls):
        # Each is a record of its own.
        for n in range(10):
            run("append", "--stream", "tail", input=b"%d\n" % n, cluster=single)
        everything = run("tail", "--json", "--stream", "tail", cluster=single).stdout.splitlines()
        cls.records = [json.loads(line) for line in everything]

    def only_text(self, line):
        """Of a record with one event."""
        [effect] = json.loads(line)["txn"]["then"]
        [event] = effect["append"]["events"]
        return event["text"]

    def texts(self, *arguments):
        return self.expect(DONE, "tail", *arguments).stdout.decode().split("\n")[:-1]

    def test_ranges(self):
        at = [str(one["address"]) for one in self.records]
        ends = [str(one["end"]) for one in self.records]
        self.assertEqual(self.texts("--from", at[0], "--to", ends[-1]), [str(n) for n in range(10)])
        self.assertEqual(self.texts("--from", at[3], "--to", ends[5]), ["3", "4", "5"])
        self.assertEqual(self.texts("--from", at[3], "--to", at[3]), [])
        self.assertEqual(self.texts("--from", at[0])[:10], [str(n) for n in range(10)])
        self.assertEqual(self.texts("--from", "end"), [])
        self.assertEqual(self.texts("--from", "begin", "--to", ends[-1])[-1], "9")
        self.assertEqual(self.texts("--from", "begin", "--to", "end"), self.texts())

    def test_count_and_stream_choose_what_is_shown(self):
        run("append", "--stream", "other", input=b"another\n", cluster=single)
        first = str(self.records[0]["address"])
        numbers = [str(n) for n in range(10)]
        for short in (["-n", "3"], ["--count", "3"], ["-f", "-n", "3"]):
            self.assertEqual(self.texts("--from", first, *short), numbers[:3])
        self.assertEqual(self.texts("--from", first, "--stream", "tail"), numbers)
        self.assertEqual(self.texts("--from", first, "--stream", "other"), ["another"])
        self.assertEqual(self.texts("--from", first, "--stream", "nobody"), [])
        shown = self.expect(DONE, "tail", "--json", "--stream", "other", "-n", "1").stdout
        self.assertEqual(self.only_text(shown), "another")

    def test_follow_ends_at_an_address(self):
        first, last = str(self.records[0]["address"]), str(self.records[-1]["end"])
        self.assertEqual(self.texts("--follow", "--from", first, "--to", last),
                         [str(n) for n in range(10)])

    def test_what_has_come_is_shown_while_more_is_waited_for(self):
        first, last = self.records[0]["address"], self.records[-1]["end"]
        for flags in ([], ["--follow"], ["--json"], ["--json", "--follow"]):
            waits = Started(self, "tail", "--from", str(first), "--to", str(last + 2**40), "--stream", "tail",
                            "--timeout", "300", *flags, cluster=single)
            for number in range(10):
                line = waits.line().decode()
                text = self.only_text(line) if "--json" in flags else line.rstrip("\n")
                self.assertEqual(text, str(number), flags)
            self.assertIsNone(waits.process.poll(), flags)

    def test_a_follower_whose_reader_is_gone_ends_with_the_next_record(self):
        end = str(self.records[-1]["address"])
        for flags in ([], ["--json"]):
            tail = subprocess.Popen([TAILRACE, "tail", "--follow", "--from", end, *flags], stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, restore_signals=False,
                                    env=dict(os.environ, TAILRACE_SERVER=single.servers))
            self.addCleanup(tail.kill)
            tail.stdout.readline()
            tail.stdout.close()
            run("append", "--stream", "gone", input=b"one\n", cluster=single)
            self.assertIn(b"standard output", tail.stderr.read())
            tail.stderr.close()
            self.assertEqual(tail.wait(timeout=60), REFUSED)

    def test_an_address_within_a_record_is_refused(self):
        first = self.records[0]["address"]
        for within in (first + 8, first + 1):
            done = self.expect(REFUSED, "tail", "--from", str(within), out=b"",
                               says=f"no record begins at address {within}; the nearest where one begins or ends are {first} and ")
            self.assertIn(str(self.records[0]["end"]), done.stderr.decode())
            self.assertNotIn("/", done.stderr.decode())  # no file of the server's

    def test_an_address_beyond_the_end_is_refused(self):
        end = json.loads(run("status", "--json", cluster=single).stdout)[0]["committed"]
        done = self.expect(REFUSED, "tail", "--from", str(end + 10**6), out=b"", says="beyond the end")
        self.assertGreaterEqual(int(re.search(r"which is (\d+)", done.stderr.decode())[1]), end)

    def test_what_is_no_address_is_a_usage_error(self):
        for option in ("--from", "--to"):
            for text in ("x", "-1", "0", "1x", "", " 64", "0x40", str(2**63), str(2**64 - 1), str(2**64)):
                self.expect(USAGE, "tail", f"{option}={text}", says=option)
                self.expect(USAGE, "log", "dump", str(single.leader.data / "log"), f"{option}={text}", says=option)
        for text in ("1", "7", str(2**62)):
            self.assertIn(run("tail", "--from", text, "--timeout", "1", cluster=single).returncode,
                          (DONE, REFUSED, UNREACHABLE), text)
            self.assertEqual(run("log", "dump", str(single.leader.data / "log"), "--from", text).returncode, DONE)
        self.expect(USAGE, "tail", "--to", "begin")

    def test_json_has_every_record_and_each_says_what_it_is(self):
        for verb in (["put", "t", "v"], ["add", "n", "-4"], ["cas", "t", "v", "w"],
                     ["delete", "t"], ["cas", "t", "--absent", "new"], ["verify"]):
            run(*verb, cluster=single)
        run("append", cluster=single, input=b"line\n")
        records = [json.loads(line) for line in self.expect(DONE, "tail", "--json")
                   .stdout.splitlines()]
        kinds = {one["kind"]: one for one in records}
        self.assertLessEqual({"epoch_start", "txn", "put", "add", "cas", "insert", "delete", "digest"},
                             set(kinds))
        self.assertEqual((kinds["put"]["key"], kinds["put"]["payload"]), ("t", "v"))
        self.assertEqual(kinds["add"]["delta"], -4)
        self.assertEqual((kinds["cas"]["expected"], kinds["cas"]["payload"]), ("v", "w"))
        self.assertEqual((kinds["insert"]["key"], kinds["insert"]["payload"]), ("t", "new"))
        self.assertNotIn("expected", kinds["insert"])
        for one, after in zip(records, records[1:]):
            self.assertLess(one["address"], one["end"])
            self.assertLessEqual(one["end"], after["address"])
            self.assertLessEqual(one["epoch"], after["epoch"])

    def test_every_node_shows_the_same(self):
        run("append", input=b"same\n", cluster=three)
        three.wait_equal()
        # Each node may have truncated its log elsewhere.
        begin = max(node["begin"] for node in three.status())
        first, *others = [run("tail", "--json", "--from", str(begin), server=node.server)
                          for node in three.nodes]
        self.assertEqual(first.returncode, DONE)
        self.assertIn(b"same", first.stdout)
        for other in others:
            self.assertEqual(other.stdout, first.stdout)

    def test_a_reader_that_has_seen_enough_ends_it_quietly(self):
        first = run("append", input=b"filler\n" * 100000, cluster=three).stdout.split()[1].decode()
        for arguments in (["tail"], ["tail", "--json"], ["tail", "--follow"]):
            tail = subprocess.Popen([TAILRACE, *arguments, "--from", first], stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                    env=dict(os.environ, TAILRACE_SERVER=three.servers))
            try:
                tail.stdout.readline()
                tail.stdout.close()
                self.assertEqual(tail.wait(timeout=60), -signal.SIGPIPE)
                self.assertEqual(tail.stderr.read(), b"")
            finally:
                tail.kill()
                tail.wait()
                tail.stderr.close()

    def test_output_that_takes_no_more_is_an_error(self):
        run("put", "full", "v", cluster=single)
        environment = dict(os.environ, TAILRACE_SERVER=single.servers)
        for verb in (["get", "full"], ["tail"], ["tail", "--json"], ["scan", ""], ["scan", "", "--json"],
                     ["status"], ["status", "--json"], ["top", "-n", "1"], ["member", "list"], ["verify"],
                     ["put", "--help"],
                     ["--version"], ["log", "dump", str(single.leader.data / "log")],
                     ["log", "inspect", "--json", str(single.leader.data / "log")]):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([TAILRACE, *verb], stdout=full, stderr=subprocess.PIPE,
                                      env=environment, timeout=60)
            self.assertEqual(done.returncode, REFUSED, verb)
            self.assertIn(b"standard output", done.stderr)
            closed = subprocess.run(["/bin/sh", "-c", 'exec "$@" >&-', "sh", TAILRACE, *verb],
                                    stderr=subprocess.PIPE, env=environment, timeout=60)
            self.assertEqual(closed.returncode, REFUSED, verb)
            self.assertIn(b"standard output", closed.stderr)

    def test_much_output_is_written_in_large_pieces(self):
        # Of its own: a line longer than a piece is written as it is.
        with Cluster(TAILRACE, nodes=1, settings=SETTINGS) as cluster:
            cluster.run("append", input=b"filler\n" * 20000)
            log = str(cluster.leader.data / "log")
            for verb in (["tail", "--json"], ["log", "dump", log]):
                # Each receives the bytes of one write. A tail also writes what it has before it waits.
                ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with ours, subprocess.Popen([TAILRACE, *verb], stdout=its, stdin=subprocess.DEVNULL,
                                            env=dict(os.environ, TAILRACE_SERVER=cluster.servers)) as process:
                    its.close()
                    sizes = list(iter(lambda: len(ours.recv(1 << 20)), 0))
                self.assertEqual(process.returncode, DONE, verb)
                self.assertEqual(max(sizes), 64 << 10, verb)

    def test_messages_that_can_not_be_written_change_no_exit_code(self):
        for code, verb in ((DONE, ["scan", ""]), (DONE, ["verify"]), (NEGATIVE, ["get", "nobody"]),
                           (USAGE, ["bogus"]), (USAGE, ["append", "/nowhere/lines"]), (REFUSED, ["put", "", "v"])):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([TAILRACE, *verb], stdout=subprocess.DEVNULL, stderr=full, timeout=60,
                                      env=dict(os.environ, TAILRACE_SERVER=single.servers))
            self.assertEqual(done.returncode, code, verb)

    def test_a_pipe_that_is_closed_is_an_error_where_its_signal_is_ignored(self):
        run("append", input=b"filler\n" * 20000, cluster=single)
        for verb in (["tail"], ["tail", "--json"]):
            tail = subprocess.Popen([TAILRACE, *verb], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    stdin=subprocess.DEVNULL, restore_signals=False,
                                    env=dict(os.environ, TAILRACE_SERVER=single.servers))
            tail.stdout.readline()
            tail.stdout.close()
            self.assertIn(b"standard output", tail.stderr.read())
            tail.stderr.close()
            self.assertEqual(tail.wait(timeout=60), REFUSED, verb)

    def test_bytes_that_are_not_text_stand_in_no_json_as_they_are(self):
        run("put", b"\xff\xfe", b"\xfd", cluster=single)
        for verb in (["get", "--json", b"\xff\xfe"], ["scan", "--json", b"\xff"]):
            one = json.loads(self.expect(DONE, *verb).stdout.splitlines()[0])
            self.assertEqual((one["key_encoding"], one["value_encoding"]), ("base64", "base64"))
        # An address is refused, and shown without harm.
        done = self.expect(USAGE, "status", "--json", "--timeout", "0.3", server=b"\xff\xfe:1")
        self.assertIn(b"'??:1' is not HOST:PORT", done.stderr)


class AnotherLog(VerbTest):
    def test_a_tail_does_not_go_on_in_a_log_that_was_begun_anew(self):
        """Addresses of the one say nothing in the other, which may be a longer one by then."""
        with Cluster(TAILRACE, nodes=1, settings=SETTINGS) as cluster:
            node = cluster.leader
            wait_until("the log has an identity", lambda: cluster.status()[0]["cluster_identity"])
            cluster.run("append", input=b"".join(b"old %d\n" % n for n in range(20)))
            tail = Started(self, "tail", "--follow", cluster=cluster)
            self.assertEqual([tail.line() for _ in range(20)], [b"old %d\n" % n for n in range(20)])
            # Through a restart it does.
            node.stop()
            node.start().wait_ready()
            cluster.run("append", input=b"old 20\n")
            self.assertEqual(tail.line(), b"old 20\n")
            node.kill()
            shutil.rmtree(node.data)
            node.start().wait_ready()
            cluster.run("append", input=b"".join(b"new %d\n" % n for n in range(3000)))
            self.assertIsNone(tail.line())
            self.assertEqual(tail.process.wait(60), REFUSED)
            told = tail.process.stderr.read().decode()
            self.assertRegex(told, f"{node.server} is of another cluster, or its log was begun anew: "
                             "its identity is [0-9a-f]{32}, and that of")


class Administration(VerbTest):
    MARKS = ("begin", "checkpointed", "applied", "committed", "durable", "tail")

    def test_status_json(self):
        run("put", "s", "v", cluster=three)
        three.wait_equal()
        nodes = json.loads(self.expect(DONE, "status", "--json", cluster=three).stdout)
        self.assertEqual([one["node"] for one in nodes], [1, 2, 3])
        self.assertEqual([one["role"] for one in nodes], ["leader", "follower", "follower"])
        for one in nodes:
            self.assertGreaterEqual(one["epoch"], 1)
            marks = [one[name] for name in self.MARKS]
            self.assertTrue(all(isinstance(mark, int) for mark in marks), one)
            self.assertLessEqual(64, one["begin"])
            self.assertLessEqual(one["begin"], one["checkpointed"])
            self.assertLessEqual(one["checkpointed"], one["applied"])
            self.assertLessEqual(one["applied"], min(one["committed"], one["durable"]))
            self.assertLessEqual(one["durable"], one["tail"])
        self.assertNotIn("followers", nodes[1])
        self.assertEqual([one["node"] for one in nodes[0]["followers"]], [2, 3])
        for one in nodes[0]["followers"]:
            self.assertTrue(one["connected"])
            self.assertIsInstance(one["durable"], int)
            self.assertGreaterEqual(one["lag_bytes"], 0)
            self.assertGreaterEqual(one["lag_seconds"], 0)
        alone = json.loads(self.expect(DONE, "status", "--json", cluster=single).stdout)
        self.assertEqual((len(alone), alone[0]["role"], alone[0]["followers"]), (1, "leader", []))

    def test_a_server_that_says_nothing_is_named_once(self):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            server = "127.0.0.1:%d" % silent.getsockname()[1]
            for verb in (["status"], ["checkpoint"]):
                told = self.expect(UNREACHABLE, *verb, "--timeout", "5s", server=server).stderr.decode()
                self.assertEqual(told.count(server), 1, told)

    def test_status_in_words(self):
        done = self.expect(DONE, "status", cluster=three)
        self.assertIn(b"node 1 at " + three.leader.server.encode() + b": leader", done.stdout)
        self.assertIn(b"follower 3: connected", done.stdout)

    def test_status_reaches_a_server_whose_queue_of_connections_is_full(self):
        """Its first attempts come to nothing, as beside thousands of others that connect."""
        slow = Recorder(self, single.leader.client_port, asleep=4)
        for _ in range(2):
            with socket.socket() as one:
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", int(slow.address.rpartition(":")[2])))
                time.sleep(0.1)
        began = time.monotonic()
        self.expect(DONE, "status", "--only-named", "--timeout", "30", server=slow.address)
        self.assertGreater(time.monotonic() - began, 1, "it was there from the beginning")

    def test_status_reaches_a_server_that_is_slow_to_say_hello(self):
        """Whoever begins anew after the same short time never hears it."""
        slow = Recorder(self, single.leader.client_port, late=3)
        self.expect(DONE, "status", "--only-named", "--timeout", "10", server=slow.address)

    def test_status_ends_when_its_time_is_over(self):
        slow = Recorder(self, single.leader.client_port, late=10)
        began = time.monotonic()
        self.expect(UNREACHABLE, "status", "--only-named", "--timeout", "3", server=slow.address)
        self.assertLess(time.monotonic() - began, 5)

    def test_status_shows_who_answers_and_who_does_not(self):
        dead = dead_address()
        done = self.expect(UNREACHABLE, "status", "--json", server=f"{dead},{single.servers}",
                           says=dead)
        gone, here = json.loads(done.stdout)
        self.assertEqual((gone["server"], gone["error"]), (dead, "unavailable"))
        self.assertEqual(here["role"], "leader")

    def test_the_only_voter_is_not_removed(self):
        began = time.monotonic()
        done = self.expect(REFUSED, "member", "remove", "--id", "1", "--timeout", "60", out=b"",
                           says="node 1 is the only voter")
        self.assertNotIn(b"hands over", done.stderr)
        self.assertLess(time.monotonic() - began, 30, "nothing is tried again that cannot be")
        self.expect(DONE, "put", "k", "v")

    def test_checkpoint_on_every_named_node(self):
        run("put", "c", "v", cluster=three)
        three.wait_equal()
        done = self.expect(DONE, "checkpoint", cluster=three, out=b"")
        self.assertEqual(done.stderr.count(b": checkpoint at address "), 3)
        for one in json.loads(run("status", "--json", cluster=three).stdout):
            self.assertGreater(one["checkpointed"], 64)
        self.expect(UNREACHABLE, "checkpoint", "--timeout", "1", says=": checkpoint at address ",
                    server=f"{three.leader.server},{dead_address()}")

    def test_checkpoint_as_json(self):
        dead = dead_address()
        # The server pauses for a second after one that another test took.
        done = self.expect(UNREACHABLE, "checkpoint", "--json", "--timeout", "3",
                           server=f"{three.leader.server},{dead}")
        taken, missed = json.loads(done.stdout)
        self.assertEqual(taken["server"], three.leader.server)
        self.assertGreater(taken["address"], 64)
        self.assertEqual((missed["server"], missed["error"]), (dead, "unavailable"))

    def test_sizes_are_told_in_units_to_people_and_in_bytes_to_programs(self):
        self.assertRegex(self.expect(DONE, "status").stdout.decode(),
                         r"log \d+\.\d MiB on disk, store .* of \d+\.\d [GT]iB, \d+ pairs")
        one, = json.loads(self.expect(DONE, "status", "--json").stdout)
        self.assertGreater(one["log_disk_bytes"], 1 << 20)

    def test_what_is_truncated_is_told(self):
        # With history the log keeps its last stretch until that is a file.
        with Cluster(TAILRACE, nodes=3, settings=SMALL_LOG + "history: {keep: none}\n") as all_goes:
            def nothing_left():
                run("checkpoint", cluster=all_goes)
                return "nothing was left to compare" in self.expect(
                    DONE, "verify", cluster=all_goes).stderr.decode()

            run("append", input=b"gone\n", cluster=all_goes)
            wait_until("the log has let go of all", nothing_left)
            begin = json.loads(run("status", "--json", cluster=all_goes).stdout)[0]["begin"]
            self.assertEqual(all_goes.leader.metric("tailrace_log_truncated_bytes"), begin - 64)
            truncated = "events before it were truncated"
            for _ in range(10):
                self.expect(DONE, "tail", cluster=all_goes, says=truncated)
            self.expect(DONE, "append", cluster=all_goes, input=b"new\n", says=truncated)
            self.assertIn(b"were truncated", run("status", cluster=all_goes).stdout)
        self.assertNotIn(truncated, run("append", cluster=single, input=b"kept\n").stderr.decode())

    def test_verify_compares_all_nodes(self):
        run("put", "v", "v", cluster=three)
        done = self.expect(DONE, "verify", "--json", cluster=three)
        answer = json.loads(done.stdout)
        self.assertTrue(answer["logs_agree"] and answer["states_agree"], answer)
        self.assertEqual([one["server"] for one in answer["nodes"]],
                         [node.server for node in three.nodes])
        self.assertEqual(len({(one["state"], one["log"]) for one in answer["nodes"]}), 1)
        self.expect(DONE, "verify", cluster=three, says="3 nodes agree")
        self.expect(DONE, "verify", cluster=single, says="nothing to compare it with")
        self.expect(UNREACHABLE, "verify", "--timeout", "1", out=b"",
                    server=f"{single.servers},{dead_address()}")

    def test_history_tells_of_those_that_answer(self):
        dead = dead_address()
        server = f"{single.servers},{dead}"
        for form in ([], ["--json"]):
            done = self.expect(UNREACHABLE, "history", "status", "--only-named", "--timeout", "1", *form,
                               server=server, says=dead)
            self.assertIn(single.servers.encode(), done.stdout)
        self.expect(UNREACHABLE, "verify", "--history", "--timeout", "1", server=server, out=b"", says="--only-named")

    def test_a_write_without_a_leader_says_what_the_node_says(self):
        with Cluster(TAILRACE, nodes=3, settings=SETTINGS) as alone:
            for node in alone.nodes:
                node.kill()
            alone.nodes[0].start()
            # Others that cannot be reached are no reason to hide what this one knows.
            self.expect(UNREACHABLE, "put", "k", "v", "--timeout", "2", server=alone.nodes[0].server,
                        says="node 1 does not lead, and knows of no leader")

    def test_a_wrong_port_is_named(self):
        for port, code, says in ((single.leader.metrics_port, UNREACHABLE, "clients use the address of server.listen"),
                                 (single.leader.peer_port, REFUSED, "this port is for the other nodes")):
            self.expect(code, "get", "k", "--timeout", "1", server=f"127.0.0.1:{port}", says=says)

    def test_verify_finds_states_that_differ(self):
        for _ in range(5):
            done = self.verify_two_clusters()
            # A leader writes records of its own, each in its own time: the addresses may not be the same.
            if done.returncode == NEGATIVE: break
        self.assertEqual(done.returncode, NEGATIVE, done)
        self.assertIn(b"states differ", done.stderr)
        answer = json.loads(done.stdout)
        self.assertFalse(answer["states_agree"] or answer["logs_agree"], answer)
        self.assertIn(b"logs differ", done.stderr)

    def verify_two_clusters(self):
        # Of one node each: the same addresses, another value, so another state and log.
        with Cluster(TAILRACE, nodes=1) as one, Cluster(TAILRACE, nodes=1) as other:
            for cluster, value in ((one, "1"), (other, "2")):
                wait_until_quiet(cluster)  # a leader writes the rules of the state first
                run("put", "k", value, cluster=cluster)
            run("verify", cluster=other)  # its digest stands where the next one of `one` will
            return run("verify", "--json", server=f"{one.servers},{other.servers}")

    def test_bench_json(self):
        for operation, *more in (["put"], ["append"], ["get"], ["mixed"], ["own"],
                                 ["get", "--read", "any"], ["mixed", "--read", "bounded=10000ms"]):
            done = self.expect(DONE, "bench", "service", "--json", "--seconds", "0.3",
                               "--clients", "2", "--in-flight", "4", "--batch", "10",
                               "--value-bytes", "64", "--op", operation, *more, cluster=three)
            answer = json.loads(done.stdout)
            self.assertGreater(answer["ops_per_s"], 0)
            self.assertLessEqual(0, answer["p50_us"])
            self.assertLessEqual(answer["p50_us"], answer["p99_us"])
            self.assertLessEqual(answer["p99_us"], answer["p999_us"])
            self.assertEqual(sum(count for _, count in answer["histogram_us"]), answer["ops"])
            self.assertGreater(answer["cpu_us_per_op"], 0)
            self.assertEqual(answer["errors"], 0)
            self.assertEqual(answer.get("read"), more[1] if more else
                             "linearizable" if operation in ("get", "mixed") else None)

    def bench_events(self, *words):
        # Not where the log is shown as text.
        done = self.expect(DONE, "bench", "events", "--json", "--seconds", "0.3", "--size", "64", *words,
                           cluster=three)
        answer = json.loads(done.stdout)
        self.assertEqual(answer["errors"], 0, answer)
        self.assertEqual(sum(count for _, count in answer["histogram_us"]), answer["ops"])
        return answer, round(answer["records_per_s"] * answer["seconds"])

    # What it counts is in the streams, neither more nor less.
    def test_bench_events_appends_what_it_says(self):
        def events():
            listed = run("streams", "bench/", "--json", cluster=three).stdout  # none is an error
            return sum(json.loads(line)["next"] for line in listed.splitlines())

        for operation, each, in_streams, *more in (("append", 1, 1), ("batch", 10, 10, "--batch", "10"),
                                                   ("txn", 1, 2), ("append", 1, 1, "--compare")):
            before = events()
            answer, records = self.bench_events("--op", operation, "--clients", "2", "--in-flight", "3",
                                                "--streams", "20", *more)
            self.assertGreater(answer["ops"], 20, "each stream has a second append")
            self.assertEqual(records, answer["ops"] * each)
            self.assertEqual(events() - before, answer["ops"] * in_streams)
        self.assertEqual(answer["puts"]["errors"], 0, answer)
        self.assertGreater(answer["puts"]["ops"], 0)
        self.assertGreater(answer["ratio"], 0)

    # A read of several pages, and reads of short streams: each has all of its events.
    def test_bench_events_reads_whole_streams(self):
        for operation, length, *more in (("read", 2500, "--streams", "2"),
                                         ("read-many", 3, "--streams", "20", "--read", "any")):
            answer, records = self.bench_events("--op", operation, "--length", str(length), *more)
            self.assertGreater(answer["ops"], 0)
            self.assertEqual(records, answer["ops"] * length)

    def test_bench_events_says_what_makes_no_sense(self):
        for arguments in (["--op", "nothing"], ["--streams", "0"], ["--batch", "4096"], ["--length", "x"],
                          ["--size", "-1"], ["--in-flight", "0"]):
            self.expect(USAGE, "bench", "events", *arguments, says=arguments[0])
        self.expect(USAGE, "bench", "events", "--streams", "5", "--in-flight", "6", cluster=three,
                    says="--streams is 5, and there are 6 requests at once")
        self.expect(REFUSED, "bench", "events", "--seconds", "0.1", "--size", "2000000", "--in-flight", "1",
                    cluster=three, says="1048576")

    def test_bench_reads_of_any_server_go_to_all_of_them(self):
        def answered():
            return [node.metric("tailrace_rpc_requests_total", kind="get") or 0
                    for node in three.nodes]

        before = answered()
        self.expect(DONE, "bench", "service", "--seconds", "0.3", "--clients", "3", "--op", "get",
                    "--read", "any", cluster=three)
        for node, (old, new) in enumerate(zip(before, answered())):
            self.assertGreater(new, old + 10, f"node {node + 1}")

    def test_bench_says_what_is_refused_and_what_makes_no_sense(self):
        self.expect(REFUSED, "bench", "service", "--seconds", "0.1", "--value-bytes", "2000000",
                    says="the limit is 1048576 bytes")
        for arguments in (["--op", "nothing"], ["--clients", "0"], ["--seconds", "x"],
                          ["--in-flight", "-1"], ["--batch", "0"], ["--read", "stale"],
                          ["--threads", "0"], ["--threads", "257"], ["--rate", "0"],
                          ["--rate", "many"]):
            self.expect(USAGE, "bench", "service", *arguments, says=arguments[0])
        self.expect(USAGE, "bench", "service", "--rate", "many",
                    says="'many' is not a number of operations a second from 0.001 to 1000000000")


class Usage(VerbTest):
    def test_help_and_version(self):
        self.assertRegex(self.expect(DONE, "--version").stdout, rb"^tailrace \d+\.\d+\.\d+\n$")
        shown = self.expect(DONE, "--help").stdout
        for verb in ("serve", "put", "get", "delete", "add", "cas", "append", "tail", "status", "top",
                     "checkpoint", "verify", "log", "bench"):
            self.assertRegex(shown, rf"  {verb}[ ,]".encode())
            help = self.expect(DONE, verb, "--help").stdout
            self.assertIn(b"Usage: tailrace", help)
            self.assertEqual(self.expect(DONE, "help", verb).stdout, help)
        self.assertEqual(self.expect(DONE, "help").stdout, shown)
        self.assertEqual(self.expect(DONE, "version").stdout, self.expect(DONE, "--version").stdout)
        self.assertEqual(self.expect(DONE, "help", "log", "dump").stdout,
                         self.expect(DONE, "log", "dump", "--help").stdout)

    def test_every_argument_and_option_of_every_verb_has_a_help_text(self):
        def verbs(*path):
            shown = self.expect(DONE, *path, "--help").stdout.decode()
            below = shown.split("Subcommands:\n")[1] if "Subcommands:" in shown else ""
            names = [line.split()[0].split(",")[0] for line in below.splitlines()
                     if line.startswith("  ") and line[2] != " "]
            return [path, *(one for name in names for one in verbs(*path, name))]

        for path in verbs():
            lines = self.expect(DONE, *path, "--help").stdout.decode().splitlines()
            for line, after in zip(lines, [*lines[1:], ""]):
                if line.startswith("  ") and line[2] != " " and not line.endswith("Options:"):
                    told = line[30:].strip() if len(line) > 30 else after[:30].isspace() and after.strip()
                    self.assertTrue(told, f"{path}: {line!r}")

    def test_what_every_verb_takes_may_stand_before_it(self):
        for before in (["--server", single.servers], [f"--server={single.servers}"],
                       ["-s", single.servers, "--timeout", "60"]):
            self.expect(DONE, *before, "put", "before", "v", server=dead_address())
            self.expect(DONE, "get", *before, "before", server=dead_address(), out=b"v")
            self.expect(DONE, *before, "member", "list", server=dead_address())
            self.expect(DONE, "member", *before, "list", server=dead_address())
        self.expect(DONE, "del", "before", out=b"")
        self.expect(NEGATIVE, "get", "before")

    def test_numbers_and_times_are_taken_in_full_and_their_limits_told(self):
        for time, says in (("0s", "from 1ms to 36500d"), ("-1s", "from 1ms"), ("5", "it needs a unit"),
                           ("36501d", "from 1ms"), (f"{2**64}ms", "from 1ms"), ("1e3s", "from 1ms")):
            self.expect(USAGE, "put", "k", "v", f"--ttl={time}", says=says)
        for number in ("-1", "0x7", " 7", "7 ", "1.5", str(2**64)):
            self.expect(USAGE, "scan", "x", f"--limit={number}", says="from 0 to 18446744073709551615")
            self.expect(USAGE, "transfer", f"--to={number}", says="from 1 to 4294967295")
        for size in (str(2**64), "-1", "1e30", "0x10", "99999999GiB", "5XB", ""):
            self.expect(USAGE, "bench", "kv", "--memory-bytes", size, says="--memory-bytes")
        for text in ("nan", "inf", "0", "-1", "86401", "25h", "0s", "5x", "s"):
            self.expect(USAGE, "get", "k", f"--timeout={text}", says="from 0.001 to 86400")
        for text in ("2", "0.5", "2s", "2500ms", "1m"):
            self.expect(DONE, "status", "--json", f"--timeout={text}")
        before = time_now()
        self.expect(UNREACHABLE, "get", "k", "--timeout", "300ms", server=dead_address())
        self.assertLess(time_now() - before, 20)

    def test_what_is_no_command_line(self):
        self.expect(USAGE)
        self.expect(USAGE, "putt", "k", "v", says="'putt' is not a verb")
        self.expect(USAGE, "log", "dumb", says="'dumb' is not a verb of log")
        self.expect(USAGE, "--nothing")
        for option in ("-v", "--versoin"):
            self.expect(USAGE, option, says=f"unknown option '{option}'")
            self.expect(USAGE, "member", option, says=f"unknown option '{option}'")
        self.expect(USAGE, "member", says="needs a verb: list, add, remove")
        self.expect(USAGE, "-s", "127.0.0.1:1", says="needs a verb: serve, put")
        for word, verb in (("set", "put"), ("incr", "add"), ("keys", "scan"), ("ls", "scan")):
            self.expect(USAGE, word, "k", says=f"'{word}' is not a verb (that is `tailrace {verb}")
        for server in ("127.0.0.1", "[::1]", "127.0.0.1:"):
            self.expect(USAGE, "-s", server, "get", "k", says=f"--server {server}: the port is missing")
        for verb in (["tail"], ["log", "dump", str(single.leader.data / "log")]):
            self.expect(USAGE, *verb, "--from", "104", "--to", "64", says="--from 104 is beyond --to 64")
        for verb in (["put"], ["put", "k"], ["put", "k", "v", "more"], ["get"], ["get", "a", "b"],
                     ["delete"], ["add", "k"], ["cas", "k", "a"], ["append", "a", "b"],
                     ["tail", "x"], ["status", "x"], ["verify", "--nothing"], ["checkpoint", "x"],
                     ["bench"], ["bench", "disk"], ["log"], ["serve"]):
            self.expect(USAGE, *verb, out=b"")

    def test_serve_needs_a_file_or_a_directory_and_not_a_mixture(self):
        self.expect(USAGE, "serve", says="--data-dir DIR")
        self.expect(USAGE, "serve", "--config", "x", "--listen", "127.0.0.1:0")
        self.expect(USAGE, "serve", "--config", str(single.leader.config), "--data-dir", "", says="--data-dir")
        self.expect(USAGE, "serve", "--check", "--data-dir", "x", "--listen", "h:1", "--metrics", "h:1", says="h:1")
        self.expect(USAGE, "serve", "--config", "x", "--advertise", "host:1")
        for nobody in ("0.0.0.0:7100", "[::]:7100", "host:0"):
            self.expect(USAGE, "serve", "--data-dir", "x", "--advertise", nobody, says=nobody)
        self.expect(USAGE, "serve", "--config", "/nowhere/node.yaml", says="/nowhere/node.yaml")

    def test_serve_check_starts_nothing(self):
        node = single.leader
        said = self.expect(DONE, "serve", "--check", "--config", str(node.config), out=b"ok\n",
                           says=f"clients: listens on {node.server}, advertised as {node.server}")
        self.assertIn(f"nodes: listens on {node.host}:{node.peer_port}, advertised", said.stderr.decode())
        self.expect(DONE, "serve", "--check", "--data-dir", "/nowhere", "--listen", "[::]:7100", out=b"ok\n",
                    says="clients: listens on [::]:7100, not advertised\n")
        with tempfile.TemporaryDirectory(prefix="tailrace-test-") as directory:
            data = pathlib.Path(directory, "data")
            self.expect(DONE, "serve", "--check", "--data-dir", str(data), out=b"ok\n")
            self.assertFalse(data.exists())
            wrong = pathlib.Path(directory, "node.yaml")
            wrong.write_text(node.config.read_text() + "nonsense: 1\n")
            self.expect(USAGE, "serve", "--check", "--config", str(wrong), out=b"", says="nonsense")
            etcd = "kind: etcd, endpoints: ['https://127.0.0.1:1'], tls: {ca: /nowhere/ca.pem}"
            wrong.write_text(node.config.read_text().replace("kind: static, leader: 1", etcd))
            self.expect(USAGE, "serve", "--check", "--config", str(wrong), out=b"", says="/nowhere/ca.pem")
            # Page sizes are fixed when a log is created; and another node's directory.
            wrong.write_text(node.config.read_text().replace("page_bytes: 2 MiB", "page_bytes: 1 MiB"))
            self.expect(USAGE, "serve", "--check", "--config", str(wrong), out=b"", says="page_bytes")
            wrong.write_text(node.config.read_text().replace("segment_bytes: 2 MiB", "segment_bytes: 64 MiB"))
            self.expect(REFUSED, "serve", "--check", "--config", str(wrong), out=b"", says="are fixed")
            wrong.write_text(node.config.read_text().replace("cluster: ", "cluster: other-"))
            self.expect(REFUSED, "serve", "--check", "--config", str(wrong), out=b"", says="PROMISE")
        self.expect(USAGE, "serve", "--check", "--data-dir", "x", "--listen", "nowhere", says="HOST:PORT")

    def test_a_single_node_without_a_file(self):
        with tempfile.TemporaryDirectory(prefix="tailrace-test-") as directory:
            client, metrics = (f"127.0.0.1:{port}" for port in free_ports(2))
            node = subprocess.Popen(
                [TAILRACE, "serve", "--data-dir", f"{directory}/data", "--listen", client,
                 "--advertise", "published.example:7100", "--metrics", metrics, "--retention", "1GiB"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE)
            try:
                self.expect(DONE, "put", "k", "v", "--timeout", "60", server=client)
                self.expect(DONE, "get", "k", server=client, out=b"v")
                # What a checkpoint holds stays in the log.
                self.expect(DONE, "checkpoint", server=client)
                status, = json.loads(run("status", "--json", server=client).stdout)
                self.assertGreater(status["checkpointed"], status["begin"])
                members = json.loads(run("member", "list", "--json", server=client).stdout)["members"]
                self.assertEqual([member["client"] for member in members], ["published.example:7100"])
                node.send_signal(signal.SIGTERM)
                output, log = node.communicate(timeout=60)
                self.assertEqual((node.returncode, output), (DONE, b""), log)
                self.assertIn(f"serves clients at {client} (advertised as published.example:7100), "
                              f"metrics at {metrics}".encode(), log)
                roles = [line.split(b"role ", 1)[1] for line in log.splitlines() if b"role " in line]
                self.assertTrue(roles)
                self.assertNotIn(b"leader 0", log)
                for one, after in zip(roles, roles[1:]):
                    self.assertNotEqual(one, after)
            finally:
                node.kill()
                node.communicate()

    def test_data_dir_goes_before_the_file(self):
        with tempfile.TemporaryDirectory(prefix="tailrace-test-") as directory:
            cluster = Cluster(TAILRACE, nodes=1, directory=directory)
            node = cluster.leader
            other = f"{directory}/elsewhere"
            process = subprocess.Popen(
                [TAILRACE, "serve", "--config", str(node.config), "--data-dir", other],
                stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                self.expect(DONE, "put", "k", "v", "--timeout", "60", cluster=cluster)
                self.assertTrue(pathlib.Path(other, "PROMISE").exists())
                self.assertFalse(node.data.exists())
            finally:
                process.kill()
                process.wait()


# A test that is told to stop goes through its cleanups.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
