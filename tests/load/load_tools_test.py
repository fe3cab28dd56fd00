"""Both tools that make load on a node, `tailrace bench service` and bare_load: each counts what the node has
done for it, neither more nor less. Nothing here is about speed.

Usage: load_tools_test.py TAILRACE BARE_LOAD
"""
import json
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from cluster import Cluster  # noqa: E402

TAILRACE, BARE_LOAD = sys.argv[1:3]


class LoadTools(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(TAILRACE, nodes=1)
        cls.cluster.__enter__()
        cls.cluster.run("put", "bench/0", "0")

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def counted(self, operation):
        return self.cluster.leader.metric("tailrace_rpc_requests_total", kind=operation) or 0

    def bench(self, *arguments):
        return json.loads(self.cluster.run("bench", "service", "--json", "--seconds", "0.5",
                                           "--value-bytes", "64", *arguments).stdout)

    def test_each_tool_counts_what_the_node_has_done(self):
        for operation in ("put", "get"):
            before = self.counted(operation)
            done = subprocess.run([BARE_LOAD, "--json", "--server", self.cluster.servers, "--op",
                                   operation, "--connections", "16", "--seconds", "0.5"],
                                  capture_output=True, check=True)
            bare = json.loads(done.stdout)
            self.assertEqual(bare["errors"], 0, done.stderr)
            self.assertGreater(bare["ops"], 16)
            self.assertEqual(self.counted(operation) - before, bare["ops"])

            before = self.counted(operation)
            bench = self.bench("--op", operation, "--clients", "16", "--in-flight", "1")
            self.assertEqual(bench["errors"], 0, bench)
            self.assertGreater(bench["ops"], 16)
            # Each client has read once to connect.
            first = 16 if operation == "get" else 0
            self.assertEqual(self.counted(operation) - before, bench["ops"] + first)

    def test_bare_load_says_why_it_cannot(self):
        done = subprocess.run([BARE_LOAD, "--server", "127.0.0.1:1"], capture_output=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"127.0.0.1:1", done.stderr)

    # The percentiles are those of the histogram, and all operations are in it.
    def test_the_histogram_is_of_all_operations(self):
        for threads in (1, 3):
            bench = self.bench("--clients", "7", "--in-flight", "3", "--threads", str(threads))
            counts = [count for _, count in bench["histogram_us"]]
            values = [value for value, _ in bench["histogram_us"]]
            self.assertEqual(sum(counts), bench["ops"])
            self.assertEqual(values, sorted(set(values)))
            self.assertEqual(values[-1], bench["max_us"])
            shares = [bench[key] for key in ("p50_us", "p90_us", "p99_us", "p999_us", "p9999_us",
                                             "max_us")]
            self.assertEqual(shares, sorted(shares))
            seen, half = 0, None
            for value, count in bench["histogram_us"]:
                seen += count
                if half is None and 2 * seen >= bench["ops"]:
                    half = value
            self.assertEqual(bench["p50_us"], half)

    # A schedule that a node keeps up with is carried out whole: the operations of its time, no more.
    def test_a_rate_is_a_schedule(self):
        for threads in (1, 2):
            bench = self.bench("--rate", "200", "--clients", "8", "--in-flight", "4", "--threads",
                               str(threads))
            self.assertEqual(bench["ops"] + bench["not_started"], 100, bench)
            self.assertEqual(bench["errors"], 0, bench)
            self.assertEqual(bench["rate"], 200)

    # What cannot keep up is late by the time that its operations wait for a client, and says what
    # was never started.
    def test_latency_counts_from_the_schedule(self):
        bench = self.bench("--rate", "1000000", "--clients", "1", "--in-flight", "1")
        self.assertGreater(bench["not_started"], 0)
        self.assertEqual(bench["ops"] + bench["not_started"], 500_000, bench)
        # The last one begins near the end, and was due near the beginning.
        self.assertGreater(bench["max_us"], 250_000)

    def test_clients_share_connections(self):
        bench = self.bench("--clients", "40", "--in-flight", "2", "--threads", "2",
                           "--share-connections")
        self.assertEqual(bench["errors"], 0, bench)
        self.assertTrue(bench["share_connections"])
        self.assertEqual(sum(count for _, count in bench["histogram_us"]), bench["ops"])

    def test_clients_far_beyond_threads(self):
        bench = self.bench("--clients", "300", "--in-flight", "1")
        self.assertEqual(bench["errors"], 0, bench)
        self.assertGreaterEqual(bench["ops"], 300)
        self.assertEqual(bench["threads"], 1)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
