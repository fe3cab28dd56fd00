"""The verbs of `tailrace log` on logs made by the example program: sound, absent, damaged, in use.

Usage: log_inspect_test.py TAILRACE APPEND_AND_SCAN
"""
import base64
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest

TAILRACE, APPEND_AND_SCAN = sys.argv[1:3]


def log_verb(verb, directory, *flags):
    return subprocess.run([TAILRACE, "log", verb, str(directory), *flags],
                          capture_output=True, text=True, timeout=60)


def inspect(directory, *flags):
    return log_verb("inspect", directory, *flags)


def content(directory):
    return {str(path.relative_to(directory)): path.read_bytes()
            for path in directory.rglob("*") if path.is_file()}


def crc32c(data):
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = (remainder >> 1) ^ (0x82F63B78 if remainder & 1 else 0)
    return remainder ^ 0xFFFFFFFF


class LogVerbs(unittest.TestCase):
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
        for arguments in ([], ["nonsense"], ["log"], ["log", "inspect"], ["log", "check"],
                          ["log", "dump"], ["log", "repair"],
                          ["log", "dump", str(self.log), "--from", "nowhere"]):
            done = subprocess.run([TAILRACE, *arguments], capture_output=True, text=True)
            self.assertEqual(done.returncode, 2, arguments)

    def damage(self, needle):
        """Flips a bit of the first place that holds `needle`; returns the file and the offset."""
        for segment in sorted(self.log.glob("*.seg")):
            damaged = bytearray(segment.read_bytes())
            place = damaged.find(needle)
            if place > 0:
                damaged[place] ^= 1
                segment.write_bytes(damaged)
                return segment, place
        self.fail("no segment holds %r" % needle)

    def dump(self, *flags):
        done = log_verb("dump", self.log, "--json", *flags)
        return done, [json.loads(line) for line in done.stdout.splitlines()]

    def assert_opens_with(self, count):
        self.assertTrue(self.append([]).startswith("%d records" % count))

    def test_check_finds_a_sound_log_sound_and_changes_nothing(self):
        self.append(["one", "two"])
        before = content(self.log)
        done = log_verb("check", self.log, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "", "progress is for terminals")
        report = json.loads(done.stdout)
        self.assertEqual(report["records"], 2)
        self.assertFalse(report["damaged"])
        self.assertEqual(report["findings"], [])
        self.assertEqual(log_verb("check", self.log).returncode, 0)
        self.assertEqual(before, content(self.log))

    def test_dump_writes_each_payload_as_python_writes_json(self):
        """Text with all that JSON escapes, text of all planes, and bytes that are no text."""
        seed = int(os.environ.get("TAILRACE_SEED", random.randrange(2**32)))
        choose = random.Random(seed)
        texts = ["", "\"", "\\", "\x00", "".join(map(chr, range(10))) + "".join(map(chr, range(11, 256))),
                 "\u2028\u2029\ufeff\ufffd\U0001f600\U0010ffff", "x" * 100000, "\x1f" * 20000, "\u00e9" * 9999]
        payloads = [text.encode() for text in texts]
        payloads += [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf4\x90\x80\x80",
                     b"text\xe2\x80", b"\x00\xff\x00", bytes(set(range(256)) - {10}) * 30]
        for _ in range(300):
            length = choose.randrange(80)
            payloads.append(choose.choice((
                choose.randbytes(length),
                bytes(choose.randrange(128) for _ in range(length)),
                "".join(choose.choice("ab\"\\\t\u00e9\u2028\U0001f600") for _ in range(length)).encode(),
            )).replace(b"\n", b""))
        subprocess.run([APPEND_AND_SCAN, str(self.log)], input=b"".join(one + b"\n" for one in payloads),
                       check=True, capture_output=True, timeout=60)
        done = subprocess.run([TAILRACE, "log", "dump", "--json", str(self.log)], capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.split(b"\n")
        self.assertEqual(lines.pop(), b"")
        self.assertEqual(len(lines), len(payloads))
        for line, payload in zip(lines, payloads):
            shown = json.loads(line.decode())
            try:
                self.assertEqual(shown["payload"], payload.decode(), f"seed {seed}")
                self.assertNotIn("payload_encoding", shown)
            except UnicodeDecodeError:
                self.assertEqual(shown["payload_encoding"], "base64", f"seed {seed}")
                self.assertEqual(base64.b64decode(shown["payload"], validate=True), payload)
            again = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
            self.assertEqual(line, again.encode(), f"seed {seed}")

    def test_dump_prints_text_as_it_is_and_other_bytes_in_base64(self):
        self.append(["one", "two words", "tab\there"])
        done, records = self.dump()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([record["payload"] for record in records],
                         ["one", "two words", "tab\there"])
        self.assertEqual(records[0]["address"], 64)
        self.assertEqual(records[0]["kind"], "data")
        lines = log_verb("dump", self.log).stdout.splitlines()
        self.assertEqual(lines[1].split("\t")[4], "two words")
        self.assertEqual(lines[2].split("\t")[4],
                         "base64:" + base64.b64encode(b"tab\there").decode())
        done, some = self.dump("--from", str(records[1]["address"]),
                               "--to", str(records[2]["address"]))
        self.assertEqual([record["payload"] for record in some], ["two words"])

    def test_damage_is_listed_skipped_and_repaired(self):
        for number in range(5):
            self.append(["record %d of run %d" % (each, number) for each in range(20)])
        segment, place = self.damage(b"record 7 of run 2")
        before = content(self.log)

        done = log_verb("check", self.log, "--json")
        self.assertEqual(done.returncode, 1)
        report = json.loads(done.stdout)
        self.assertTrue(report["damaged"])
        finding, = report["findings"]
        self.assertEqual(finding["where"], "below_proven")
        self.assertEqual(finding["file"], str(segment))
        self.assertLessEqual(finding["offset"], place)
        self.assertGreater(finding["end"], place)
        self.assertGreater(report["batches_behind_damage"], 0)
        done = log_verb("check", self.log)
        self.assertEqual(done.returncode, 1)
        self.assertIn(segment.name, done.stdout)
        self.assertIn("repair", done.stderr)

        done, records = self.dump()
        self.assertEqual(done.returncode, 1)
        self.assertIn(segment.name, done.stderr)
        kept = len(records)
        done, records = self.dump("--skip-damage")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(records), 99)
        self.assertIn("skipped addresses", done.stderr)

        done = log_verb("repair", self.log)
        self.assertEqual(done.returncode, 1)
        self.assertIn("nothing was changed", done.stderr)
        self.assertEqual(before, content(self.log))
        self.assertEqual(list(self.log.parent.iterdir()), [self.log])
        done = log_verb("repair", self.log, "--yes", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        plan = json.loads(done.stdout)
        self.assertEqual(plan["kept_records"], kept)
        self.assertEqual(plan["kept_records"] + plan["lost_records"], 99)
        copies = pathlib.Path(plan["copies"])
        self.assertEqual(copies, self.log.parent / "log.repair-1")
        self.assertEqual((copies / segment.name).read_bytes(), before[segment.name])
        self.assertEqual(json.loads((copies / "report.json").read_text())["steps"], plan["steps"])
        self.assertEqual(log_verb("check", self.log).returncode, 0)
        self.assert_opens_with(kept)
        self.assertIn("nothing to repair", log_verb("repair", self.log, "--yes").stdout)

    def test_without_meta_the_segments_speak_and_meta_is_made_anew(self):
        # Long enough for its page size to be told, wherever its batches end.
        self.append(["line %d " % number + "x" * 2000 for number in range(1500)])
        (self.log / "META").unlink()
        done = inspect(self.log, "--json")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(json.loads(done.stdout)["records"], 1500)
        self.assertIn("META", done.stderr)
        done = log_verb("check", self.log, "--json")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(json.loads(done.stdout)["findings"][0]["where"], "file")
        self.assertEqual(len(self.dump()[1]), 1500)
        before = content(self.log)
        self.assertEqual(log_verb("repair", self.log, "--yes").returncode, 4)
        self.assertEqual(log_verb("repair", self.log, "--yes", "--rebuild-meta").returncode, 2)
        self.assertEqual(before, content(self.log) | {"LOCK": before["LOCK"]})
        done = log_verb("repair", self.log, "--yes", "--rebuild-meta", "--owner", "example")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_opens_with(1500)

    def test_what_only_meta_says_is_unknown_without_it_however_it_was_lost(self):
        self.append(["one", "two"])
        meta = self.log / "META"
        sound = meta.read_bytes()
        page_bytes = str(json.loads(inspect(self.log, "--json").stdout)["page_bytes"])
        for lost in (None, b"", sound[:40] + b"?" + sound[41:]):
            if lost is None:
                meta.unlink()
            else:
                meta.write_bytes(lost)
            done = inspect(self.log, "--json")
            self.assertEqual(done.returncode, 1, lost)
            report = json.loads(done.stdout)
            for field in ("proven", "owner", "closed_in_order"):
                self.assertIsNone(report[field], field)
            self.assertEqual(report["records"], 2)
            done = inspect(self.log)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stdout, r"proven +\(lost with META\)")
            self.assertIn("--rebuild-meta", done.stderr)
            done = log_verb("check", self.log)
            self.assertEqual(done.returncode, 1)
            self.assertIn("damaged (META)", done.stderr)
            self.assertNotIn("0 bytes", done.stderr)
            line, = [each for each in done.stdout.splitlines() if each.startswith("damage")]
            self.assertEqual(line.count(str(meta)), 1, line)
            done = log_verb("repair", self.log, "--rebuild-meta", "--owner", "example",
                            "--page-bytes", page_bytes)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn("2 records stay", done.stdout)
            self.assertNotIn("first damage", done.stdout)
        meta.write_bytes(sound)
        self.assert_opens_with(2)

    def test_the_owner_of_a_nodes_log_has_a_number(self):
        self.append(["one"])
        with tempfile.TemporaryDirectory() as data:
            log = pathlib.Path(data, "log")
            shutil.copytree(self.log, log)
            (log / "META").write_bytes(b"")
            done = log_verb("repair", log, "--rebuild-meta", "--owner", "single")
            self.assertNotIn("CLUSTER/NODE", done.stderr)  # a library's log may be anybody's
            pathlib.Path(data, "store").mkdir()
            for owner in ("single", "single/", "single/0", "/1", "single/x"):
                for path in (log, f"{log}/"):
                    done = log_verb("repair", path, "--rebuild-meta", "--owner", owner)
                    self.assertEqual(done.returncode, 2, done.stderr)
                    self.assertIn("CLUSTER/NODE", done.stderr)
            done = log_verb("repair", log, "--rebuild-meta", "--owner", "single/1")
            self.assertNotIn("CLUSTER/NODE", done.stderr)

    def test_inspect_tells_what_the_log_holds_and_where_it_ends(self):
        self.append(["one", "four"])
        report = json.loads(inspect(self.log, "--json").stdout)
        self.assertEqual(report["kinds"], {"data": {"records": 2, "payload_bytes": 7}})
        self.assertTrue(report["closed_in_order"])
        self.assertEqual(report["end"]["reason"], "the log ends here")
        self.assertEqual(report["end"]["address"], report["durable"])
        self.assertEqual(report["consumers"], [])
        for segment in report["segments"]:
            self.assertEqual(segment["file_bytes"], (self.log / segment["name"]).stat().st_size)
        spare = self.log / "00000000ffff0000.spare"
        spare.write_bytes(b"old" * 100)
        report = json.loads(inspect(self.log, "--json").stdout)
        self.assertEqual(report["spares"], [{"name": spare.name, "file_bytes": 300}])
        name = b"reader"
        content = (struct.pack("<IIQQII", 1, 0, 64, 0, len(name), 0) + name)
        head = struct.pack("<4sIQQ", b"FCON", 1, len(content), 0)
        (self.log / "CONSUMERS").write_bytes(
            b"TRAF" + struct.pack("<I", crc32c(head + content)) + head + content)
        done = inspect(self.log, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["consumers"],
                         [{"name": "reader", "position": 64, "most_pinned_bytes": 0,
                           "pins": True}])
        text = inspect(self.log).stdout
        for part in ("closed     in order", "data: 2 records, 7 bytes", spare.name,
                     "consumer   reader at 64", "the log ends here"):
            self.assertIn(part, text)
        (self.log / "CONSUMERS").write_bytes(b"nonsense")
        done = inspect(self.log)
        self.assertEqual(done.returncode, 1)
        self.assertIn("CONSUMERS", done.stderr)

    def test_a_short_segment_is_called_short(self):
        self.append(["line %d " % number + "x" * 2000 for number in range(50)])
        segment = sorted(self.log.glob("*.seg"))[0]
        os.truncate(segment, 50000)
        done = log_verb("check", self.log)
        self.assertEqual(done.returncode, 1)
        self.assertIn("short: it ends at byte 50000", done.stdout)

    def test_the_directory_around_the_log_is_no_log_and_the_log_is_named(self):
        self.append(["one"])
        for verb in ("inspect", "check", "dump", "repair"):
            done = log_verb(verb, self.log.parent)
            self.assertEqual(done.returncode, 2, verb)
            self.assertIn(str(self.log), done.stderr.replace(str(self.log.parent) + ":", ""), verb)

    def test_a_log_in_use_is_looked_at_untouched_and_not_repaired(self):
        self.append(["before"])
        with subprocess.Popen([APPEND_AND_SCAN, str(self.log)], stdin=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, text=True) as holder:
            for _ in range(1000):
                done = log_verb("repair", self.log)
                # The lock is held a moment before the holder's id stands in it.
                if done.returncode == 4 and str(holder.pid) in done.stderr:
                    break
            self.assertEqual(done.returncode, 4)
            self.assertIn(str(holder.pid), done.stderr)
            self.assertEqual(log_verb("repair", self.log, "--yes").returncode, 4)
            # It still makes segments ahead and then rests.
            before = None
            while before != content(self.log):
                before = content(self.log)
                time.sleep(0.1)
            for verb in ("inspect", "check", "dump"):
                self.assertEqual(log_verb(verb, self.log).returncode, 0, verb)
            self.assertEqual(before, content(self.log))
            holder.stdin.close()
            self.assertEqual(holder.wait(timeout=60), 0)

    def test_what_can_not_be_read_is_refused(self):
        self.assertEqual(log_verb("check", self.log).returncode, 2)
        self.assertEqual(log_verb("dump", self.log).returncode, 2)
        self.assertEqual(log_verb("repair", self.log, "--yes").returncode, 2)
        self.assertFalse(self.log.exists())
        self.append(["one"])
        meta = self.log / "META"
        # Too new: byte 12 is the version, and the checksum has to fit.
        newer = bytearray(meta.read_bytes())
        newer[12] = 99
        newer[4:8] = crc32c(bytes(newer[8:])).to_bytes(4, "little")
        meta.write_bytes(newer)
        for verb in ("inspect", "check", "dump", "repair"):
            done = log_verb(verb, self.log)
            self.assertEqual(done.returncode, 4, verb)
            self.assertIn("version", done.stderr)


unittest.main(argv=[sys.argv[0]])
