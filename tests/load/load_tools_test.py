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

    def refused(self, *arguments, code=2, inside=()):
        """Without output; what is said."""
        done = subprocess.run([*inside, TAILRACE, "bench", "service", "--seconds", "0.5", "--server",
                               self.cluster.servers, *arguments], capture_output=True, timeout=120)
        self.assertEqual((done.returncode, done.stdout), (code, b""), done.stderr)
        return done.stderr.decode()

    # What a schedule has after the end is counted without one step for each, so that takes no time of
    # its own: half a thousand million steps would be more than two seconds of the processor.
    def test_a_schedule_far_beyond_what_is_possible_is_counted_whole(self):
        for threads, clients in ((1, 1), (2, 3)):
            bench = self.bench("--rate", "1e9", "--clients", str(clients), "--in-flight", "1",
                               "--threads", str(threads))
            self.assertEqual(bench["ops"] + bench["not_started"], 500_000_000, bench)

    # Threads without clients would have shares of the schedule that nobody carries out.
    def test_no_more_threads_than_clients(self):
        bench = self.bench("--rate", "200", "--threads", "4", "--clients", "2")
        self.assertEqual(bench["threads"], 2)
        self.assertEqual(bench["ops"] + bench["not_started"], 100, bench)
        self.assertEqual(self.bench("--threads", "4", "--clients", "2")["threads"], 2)

    # A load that no memory has room for is refused before it begins, and what is wrong is named.
    def test_a_load_beyond_bounds_is_refused(self):
        said = self.refused("--op", "append", "--batch", "10000", "--value-bytes", "67108864",
                            "--clients", "1", "--in-flight", "1")
        self.assertIn("1 requests at once of 671088800000 bytes each", said)
        self.assertIn("--batch, --value-bytes", said)
        said = self.refused("--clients", "65536", "--in-flight", "4096")
        self.assertIn("268435456 requests at once, and at most 1048576 are made", said)
        said = self.refused("--value-bytes", "67108864", "--in-flight", "17", "--clients", "1")
        self.assertIn("lower --value-bytes", said)

    # One that has too little memory nevertheless ends with an error, and its clients with it.
    def test_too_little_memory_is_an_error(self):
        # More than a frame of the node, so that nothing is sent.
        for more in (("--clients", "1", "--in-flight", "48"),
                     ("--clients", "1", "--in-flight", "48", "--rate", "1e6"),
                     ("--clients", "2", "--in-flight", "24", "--threads", "2")):
            said = self.refused("--value-bytes", str(17 << 20), *more, code=4,
                                inside=("sh", "-c", 'ulimit -v 600000; exec "$@"', "sh"))
            self.assertIn("there is not enough memory for this", said)

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
