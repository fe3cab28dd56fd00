"""A node whose log fails ends, and its next lives say when and why: in their log, their metrics and `tailrace status`.

Usage: last_failure_test.py TAILRACE
"""
import json
import math
import os
import pathlib
import re
import resource
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from cluster import Cluster  # noqa: E402

TAILRACE = sys.argv[1]
REFUSED = 4
METRIC = "tailrace_last_failure_timestamp_seconds"
REASONS = ("disk", "damage", "invariant", "store", "other")
# A write beyond it fails. The log goes there, and no other file does that must not fail.
MOST_FILE_BYTES = 48 << 10


class LastFailure(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(TAILRACE, nodes=1)
        self.node, = self.cluster.nodes
        # The kernel would end a process that writes beyond the limit.
        self.node.inside = ["sh", "-c", 'trap "" XFSZ; exec "$@"', "sh"]
        self.addCleanup(self.cluster.__exit__)
        self.cluster.__enter__()

    def told(self):
        """{reason: time} of what the metric tells."""
        values = {reason: self.node.metric(METRIC, reason=reason) for reason in REASONS}
        self.assertNotIn(None, values.values())
        return {reason: value for reason, value in values.items() if not math.isnan(value)}

    def status(self):
        return self.cluster.status()[0]["last_failure"]

    def fail_log(self):
        """Its log can no longer be written."""
        for i in range(4):
            self.cluster.run("put", f"key{i}", "v" * 30000)
        _, most = resource.prlimit(self.node.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.node.process.pid, resource.RLIMIT_FSIZE, (MOST_FILE_BYTES, most))
        self.cluster.run("put", "key", "v" * 30000, "--timeout", 2, check=False)
        self.assertEqual(self.node.process.wait(timeout=60), REFUSED, self.node.errors())

    def test_the_next_lives_say_when_and_why(self):
        self.assertEqual((self.told(), self.status()), ({}, None))
        self.assertFalse((self.node.data / "LAST-FAILURE").exists())
        began = time.time()
        self.fail_log()
        ended = time.time()
        self.assertNotIn("last failed", self.node.errors())
        self.node.start().wait_ready()
        line = re.search(r"warning this node last failed at (\S+ \S+) UTC \(disk\): (.*)", self.node.errors())
        self.assertIsNotNone(line, self.node.errors())
        self.assertIn("data/log", line[2])
        self.assertEqual(list(self.told()), ["disk"])
        self.assertTrue(began <= self.told()["disk"] <= ended, (began, self.told(), ended))
        failure = self.status()
        self.assertEqual(failure["reason"], "disk")
        self.assertAlmostEqual(failure["unix_time_ns"] * 1e-9, self.told()["disk"], places=3)
        # As all that clients are told: without the folders.
        self.assertNotIn(str(self.node.data), failure["message"])
        text = self.cluster.run("status").stdout.decode()
        self.assertIn(f"  last failure at {line[1]} UTC (disk): {failure['message']}\n", text)
        # A clean end leaves it in place.
        self.node.stop()
        self.node.start().wait_ready()
        self.assertEqual(self.status(), failure)

    def test_what_does_not_check_is_no_reason_not_to_start(self):
        self.node.stop()
        (self.node.data / "LAST-FAILURE").write_bytes(b"garbage" * 1000)
        self.node.start().wait_ready()
        self.assertIn("it is not known whether this node has failed before", self.node.errors())
        self.assertEqual((self.told(), self.status()), ({}, None))
        self.fail_log()
        self.node.start().wait_ready()
        self.assertEqual(list(self.told()), ["disk"])

    def test_a_pipe_in_its_place_is_no_reason_not_to_start(self):
        """Nobody writes to it: to open it as a file would never end."""
        self.node.stop()
        os.mkfifo(self.node.data / "LAST-FAILURE")
        self.node.start().wait_ready()
        self.assertRegex(self.node.errors(), "it is not known whether this node has failed before: .*is a pipe")
        self.assertEqual((self.told(), self.status()), ({}, None))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
