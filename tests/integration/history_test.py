"""What clients are told while a node is killed has an order that explains it, by the judge's word, which
also tells when it has not.

Usage: history_test.py TAILRACE JUDGE_HISTORY [unittest arguments]
"""
import json
import random
import subprocess
import sys
import time
import unittest

from cluster import Cluster, end_with_parent, explained, wait_until

TAILRACE, JUDGE = sys.argv[1:3]
PATIENCE = 120  # seconds; for a machine that is busy with other things
SETTINGS = """
log: {page_bytes: 1 MiB, buffer_pages: 8, segment_bytes: 64 MiB}
store: {memory_bytes: 96 MiB, page_bytes: 1 MiB, index_buckets: 4096}
state_machine: {checkpoint_log_bytes: 256 KiB, retention_bytes: 1 GiB}
"""
MEMBERS = {"put": {"value"}, "get": {"result"}, "add": {"value", "result"}, "delete": {"result"},
           "cas": {"value", "expected", "result"}, "insert": {"value", "result"}}
OUTCOMES = {"ok", "fail", "unknown"}


def read(path):
    """All operations; fails at a line that is not whole."""
    text = path.read_text()
    assert not text or text.endswith("\n"), text[-200:]
    return [json.loads(line) for line in text.splitlines()]


def judge(path):
    """(exit code, what it says)"""
    done = subprocess.run([JUDGE, str(path)], capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stdout + done.stderr


def stale(operations):
    """[(number of a read, a value)]: the value had been acknowledged, and replaced by an acknowledged
    put, before the read began."""
    found = []
    puts = {}  # key: those acknowledged, in the order of their returns
    for number, operation in enumerate(operations):
        if operation["outcome"] != "ok":
            continue
        before = puts.setdefault(operation["key"], [])
        if operation["op"] == "put":
            before.append(operation)
        elif operation["op"] == "get" and "counter" not in operation["key"]:
            known = [put for put in before[-20:] if put["return_ns"] < operation["invoke_ns"]]
            if known:
                replaced = [put["value"] for put in known
                            if put["return_ns"] < known[-1]["invoke_ns"]]
                if replaced:
                    found.append((number, replaced[-1]))
    return found


class History(unittest.TestCase):
    def start_load(self, cluster, path, *arguments):
        load = subprocess.Popen(
            [TAILRACE, "bench", "service", "--server", cluster.servers, "--history", str(path),
             "--json", *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, preexec_fn=end_with_parent)
        self.addCleanup(lambda: (load.kill(), load.communicate()))
        return load

    def run_killed(self, cluster, path):
        """A load, and kill -9 in the middle of it, for longer than a request waits; its report."""
        node = cluster.leader
        load = self.start_load(cluster, path, "--seconds", 6, "--timeout", 1)
        wait_until("the load runs", lambda: path.exists() and path.stat().st_size > 20_000, PATIENCE)
        time.sleep(0.7)
        node.kill()
        time.sleep(1.3)
        node.start().wait_ready(PATIENCE)
        self.restarted_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        output, errors = load.communicate(timeout=PATIENCE)
        self.assertEqual(load.returncode, 0, errors)
        return json.loads(output)

    def test_killed(self):
        with Cluster(TAILRACE, 1, SETTINGS, server="max_value_bytes: 64 KiB, ") as cluster:
            path = cluster.directory / "history.jsonl"
            with explained(cluster.describe):
                report = self.run_killed(cluster, path)
            operations = read(path)
            self.check_lines(operations, report)
            code, said = judge(path)
            self.assertEqual(code, 0, said)
            counted = sum(operation["outcome"] != "fail" for operation in operations)
            unknown = sum(operation["outcome"] == "unknown" for operation in operations)
            self.assertTrue(said.startswith(f"{counted} operations on 6 keys, {unknown} of unknown"),
                            said)
            print(said, flush=True)
            self.check_tampered(operations, cluster.directory)

    def check_lines(self, operations, report):
        returns = [operation["return_ns"] for operation in operations]
        self.assertEqual(returns, sorted(returns), "in the order of completion")
        for operation in operations:
            self.assertIn(operation["outcome"], OUTCOMES, operation)
            self.assertLessEqual(operation["invoke_ns"], operation["return_ns"])
            members = MEMBERS[operation["op"]]
            if operation["outcome"] != "ok":
                members = members - {"result"}
            self.assertEqual(set(operation) - {"present", "error"},
                             members | {"client", "op", "key", "invoke_ns", "return_ns", "outcome"})
            self.assertFalse(operation["op"] == "get" and operation["outcome"] == "unknown")
        written = [operation["value"] for operation in operations
                   if operation["op"] in ("put", "cas", "insert")]
        self.assertEqual(len(written), len(set(written)), "each value is written once")
        self.assertEqual({operation["client"] for operation in operations}, {0, 1, 2, 3})
        answered = sum(operation["outcome"] == "ok" for operation in operations)
        self.assertEqual(report["ops"], answered)
        self.assertEqual(report["errors"], len(operations) - answered)
        self.assertGreater(report["errors"], 0, "what was in flight at the kill had no answer")
        done = {(operation["op"], operation["result"]) for operation in operations
                if operation["op"] in ("cas", "insert", "delete") and operation["outcome"] == "ok"}
        self.assertEqual(done, {(op, result) for op in ("cas", "insert", "delete")
                                for result in (True, False)})
        after = sum(operation["invoke_ns"] > self.restarted_ns for operation in operations)
        self.assertGreater(after, 100, "it went on after the kill")

    def check_tampered(self, operations, directory):
        tampered = directory / "tampered.jsonl"
        reads = stale(operations)
        self.assertGreater(len(reads), 100)
        for number, value in random.Random(len(operations)).sample(reads, 5):
            changed = list(operations)
            changed[number] = dict(operations[number], result=value)
            tampered.write_text("".join(json.dumps(one) + "\n" for one in changed))
            code, said = judge(tampered)
            self.assertEqual(code, 1, f"{changed[number]}\n{said}")
            self.assertIn(f'key "{changed[number]["key"]}": no order explains', said)
            self.assertIn(f'client {changed[number]["client"]} read, saw "{value}" '
                          f'[{changed[number]["invoke_ns"]}, ', said)
        text = (directory / "history.jsonl").read_text()
        tampered.write_text(text[:-20])
        code, said = judge(tampered)
        self.assertEqual(code, 2, said)
        self.assertIn(f"line {len(operations)}, the last, has no end", said)

    def test_a_file_that_takes_no_more_ends_it(self):
        with Cluster(TAILRACE, 1, SETTINGS, server="max_value_bytes: 64 KiB, ") as cluster:
            began = time.monotonic()
            load = self.start_load(cluster, "/dev/full", "--seconds", 600)
            output, errors = load.communicate(timeout=PATIENCE)
            self.assertEqual((load.returncode, output), (4, ""), errors)
            self.assertIn("/dev/full", errors)
            self.assertLess(time.monotonic() - began, PATIENCE)
            nowhere = cluster.directory / "absent" / "history.jsonl"
            load = self.start_load(cluster, nowhere, "--seconds", 600)
            output, errors = load.communicate(timeout=PATIENCE)
            self.assertEqual((load.returncode, output), (2, ""), errors)
            self.assertIn(str(nowhere), errors)


unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
