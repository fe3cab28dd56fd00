"""`tailrace log inspect` on logs made by the example program: sound, absent, and damaged.

Usage: log_inspect_test.py TAILRACE APPEND_AND_SCAN
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

TAILRACE, APPEND_AND_SCAN = sys.argv[1:3]


def inspect(directory, *flags):
    return subprocess.run([TAILRACE, "log", "inspect", str(directory), *flags],
                          capture_output=True, text=True, timeout=60)


class LogInspect(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="tailrace-test-")
        self.addCleanup(self.temporary.cleanup)
        self.log = pathlib.Path(self.temporary.name) / "log"

    def append(self, lines):
        text = "".join(line + "\n" for line in lines)
        return subprocess.run([APPEND_AND_SCAN, str(self.log)], input=text, check=True,
                              capture_output=True, text=True, timeout=60).stdout

    def test_counts_what_was_appended_over_two_runs_and_changes_nothing(self):
        self.append(["one", "two"])
        self.assertTrue(self.append(["three"]).startswith("3 records"))
        before = {path.name: path.read_bytes() for path in self.log.iterdir()}
        done = inspect(self.log, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(report["records"], 3)
        self.assertEqual(report["owner"], "example")
        self.assertFalse(report["damaged"])
        self.assertLessEqual(report["begin"], report["proven"])
        self.assertLessEqual(report["proven"], report["durable"])
        self.assertEqual(before, {path.name: path.read_bytes() for path in self.log.iterdir()})

    def test_a_flipped_byte_is_found_and_named_and_the_log_is_not_opened(self):
        self.append(["record %d" % number for number in range(100)])
        segment = sorted(self.log.glob("*.seg"))[0]
        damaged = bytearray(segment.read_bytes())
        place = damaged.find(b"record 50")
        self.assertGreater(place, 0)
        damaged[place] ^= 1
        segment.write_bytes(damaged)
        done = inspect(self.log)
        self.assertEqual(done.returncode, 1)
        self.assertIn(segment.name, done.stderr)
        opened = subprocess.run([APPEND_AND_SCAN, str(self.log)], input="more\n",
                                capture_output=True, text=True, timeout=60)
        self.assertEqual(opened.returncode, 1)
        self.assertIn(segment.name, opened.stderr)
        self.assertEqual(segment.read_bytes(), bytes(damaged), "a refused log is left as it is")

    def test_an_absent_log_is_an_error_that_names_it(self):
        done = inspect(self.log)
        self.assertEqual(done.returncode, 2)
        self.assertIn(str(self.log), done.stderr)

    def test_a_wrong_command_line_is_a_usage_error(self):
        for arguments in ([], ["nonsense"], ["log"], ["log", "inspect"]):
            done = subprocess.run([TAILRACE, *arguments], capture_output=True, text=True)
            self.assertEqual(done.returncode, 2, arguments)


unittest.main(argv=[sys.argv[0]])
