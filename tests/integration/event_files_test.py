"""Events outlive the truncation of the log, on three real nodes: what was appended is read from event
files, the same on every node; a node with a new disk gets the files of the others, and so does one whose
file was damaged or deleted; a kill at any moment loses nothing.

Usage: event_files_test.py TAILRACE"""
import json
import pathlib
import shutil
import sys
import unittest

from cluster import SMALL_LOG, Cluster, explained_tests, wait_until

TAILRACE = sys.argv[1]
DONE, NEGATIVE = range(2)
PATIENCE = 60
SETTINGS = SMALL_LOG + "state_machine:\n  checkpoint_log_bytes: 1 MiB\n  checkpoint_interval: 1s\n"
EVENTS = 200  # of each batch, of 1 KiB
BATCHES = 40


def text_of(number):
    return f"{number:06d}" + "x" * 1000


@explained_tests
class HistoryTest(unittest.TestCase):
    def start(self, settings=SETTINGS):
        self.nodes = Cluster(TAILRACE, nodes=3, settings=settings)
        self.nodes.__enter__().wait_version()
        self.addCleanup(self.nodes.__exit__)
        self.appended = 0

    def describe(self):
        return self.nodes.describe()

    def append(self, batches=BATCHES):
        for _ in range(batches):
            lines = "".join(text_of(self.appended + i) + "\n" for i in range(EVENTS))
            self.nodes.run("append", "orders-1", input=lines.encode())
            self.appended += EVENTS

    def read(self, node, *words):
        done = self.nodes.run("read", "orders-1", "--read", "any", *words, server=node.server, check=False)
        return done.returncode, done.stdout.decode().splitlines(), done.stderr.decode()

    def check_all_events(self, node):
        code, lines, told = self.read(node)
        self.assertEqual(code, DONE, told)
        self.assertEqual(len(lines), self.appended)
        self.assertEqual(lines, [text_of(number) for number in range(self.appended)])
        code, backwards, told = self.read(node, "--backward")
        self.assertEqual((code, backwards), (DONE, lines[::-1]), told)
        for number in (0, 1, EVENTS - 1, self.appended // 2, self.appended - 1):
            code, lines, told = self.read(node, "--from", str(number), "--limit", "1")
            self.assertEqual((code, lines), (DONE, [text_of(number)]), told)

    def is_whole(self, node):
        """Whether the node has every event; if not, it must say that it gets them from the others."""
        code, lines, told = self.read(node)
        self.assertEqual(lines, [text_of(number) for number in range(len(lines))])
        fetches = "looked for on the others" in told or "fetched from another" in told
        self.assertTrue(code == DONE or fetches, told)
        return code == DONE

    def wait_whole(self, node):
        wait_until("the node has all events", lambda: self.is_whole(node), PATIENCE, pause=0.5)

    def status(self):
        return {one["server"]: one for one in json.loads(self.nodes.run("history", "status", "--json").stdout)["nodes"]}

    def truncated(self, node, at_least=4 << 20):
        """The log begins behind the first events."""
        self.nodes.run("put", "k", "v")  # else nothing is due
        done = self.nodes.run("status", "--json", "--only-named", server=node.server, check=False)
        return done.returncode == DONE and json.loads(done.stdout)[0]["begin"] >= at_least

    def wait_truncated(self, nodes=None):
        for node in nodes or self.nodes.nodes:
            wait_until(f"node {node.number} truncates its log", lambda node=node: self.truncated(node), PATIENCE)

    def wait_same(self, but_for=None):
        """`but_for` may say that it has no event files yet for what stands in the others' logs only."""
        def same():
            done = self.nodes.run("verify", "--history", "--json", check=False)
            if done.returncode not in (DONE, NEGATIVE):
                return False
            told = json.loads(done.stdout)
            self.assertEqual(told["histories_agree"], done.returncode == DONE, told)
            differences = [each["what"] for each in told["differences"]]
            return all(but_for and each.startswith(f"{but_for.server} has no event files for") for each in differences)
        wait_until("all nodes have the same event files", same, PATIENCE)

    def test_events_outlive_the_log_on_every_node(self):
        self.start()
        self.append()
        self.wait_truncated()
        for node in self.nodes.nodes:
            self.check_all_events(node)
        self.wait_same()
        for status in self.status().values():
            self.assertTrue(status["kept"])
            self.assertGreater(status["files"], 0)
            self.assertEqual(status["missing_bytes"], 0)
        # All the same after each was started again, from whatever it has on disk.
        for node in self.nodes.nodes:
            node.kill()
            node.start()
        self.nodes.serving()
        self.append(5)
        self.nodes.wait_equal()
        for node in self.nodes.nodes:
            self.check_all_events(node)
        self.wait_same()

    def test_what_was_deleted_before_is_in_no_file(self):
        self.start(SETTINGS + "history:\n  compression: none\n")
        self.nodes.run("append", "gone-1", input=b"secret-marker\n")
        self.nodes.run("stream", "tombstone", "gone-1")
        self.append()
        self.wait_truncated()
        self.nodes.run("history", "status")
        for node in self.nodes.nodes:
            files = list((pathlib.Path(node.data) / "history").glob("*.events"))
            self.assertTrue(files)
            for file in files:
                text = file.read_bytes()
                self.assertIn(text_of(0).encode()[-500:], text, "what is there is found like this")
                self.assertNotIn(b"secret-marker", text)

    def test_a_new_disk_and_damage_are_mended_from_the_others(self):
        self.start()
        self.append()
        self.wait_truncated()
        self.wait_same()
        victim = next(node for node in self.nodes.nodes if node is not self.nodes.serving())
        folder = pathlib.Path(victim.data) / "history"
        files = sorted(folder.glob("*.events"))
        # One is deleted, and one is damaged in the middle.
        victim.kill()
        files[0].unlink()
        if len(files) > 1:
            damaged = bytearray(files[1].read_bytes())
            damaged[len(damaged) // 3] ^= 0x55
            files[1].write_bytes(damaged)
        victim.start()
        victim.wait_ready(PATIENCE)
        # A read finds the damage, and is answered by another node meanwhile; never with what is wrong.
        everyone = ",".join([victim.server] + [node.server for node in self.nodes.nodes if node is not victim])
        done = self.nodes.run("read", "orders-1", "--read", "any", "--timeout", "30", server=everyone)
        self.assertEqual(done.stdout.decode().splitlines(), [text_of(number) for number in range(self.appended)])
        # That one may have been answered by the others alone: alone, the node says what it lacks until it has it.
        self.wait_whole(victim)
        self.wait_same()
        self.check_all_events(victim)
        # A new disk: ready first, its files come then.
        victim.kill()
        shutil.rmtree(victim.data)
        self.append(5)
        victim.start()
        victim.wait_ready(PATIENCE)
        self.wait_same(but_for=victim)
        # What stands between the last file and its log the others have in theirs: it says so until they have
        # written it, too.
        self.is_whole(victim)
        self.append(10)
        self.nodes.wait_equal()
        self.wait_whole(victim)
        self.check_all_events(victim)
        self.assertEqual(self.status()[victim.server]["missing_bytes"], 0)
        self.wait_same()

    def test_kills_at_any_moment_lose_nothing(self):
        self.start()
        for victim in self.nodes.nodes * 2:
            self.append(8)
            victim.kill()
            victim.start()
            self.nodes.serving()
        self.wait_truncated()
        self.nodes.wait_equal()
        for node in self.nodes.nodes:
            self.check_all_events(node)
        self.wait_same()

    def erased(self, stream="gone-1"):
        done = self.nodes.run("history", "erased", stream, "--json", check=False)
        told = json.loads(done.stdout)
        self.assertEqual(done.returncode == DONE, told["erased"], told)
        self.assertEqual(len(told["nodes"]), 3, told)
        return told

    def files_with(self, node, marker):
        return [str(file) for file in pathlib.Path(node.data).rglob("*")
                if file.is_file() and marker in file.read_bytes()]

    def test_what_is_scavenged_is_on_no_disk(self):
        self.start(SETTINGS + "history:\n  compression: none\n")
        marker = b"secret-marker"
        self.nodes.run("append", "gone-1", input=marker + b"\n")
        self.append()
        self.wait_truncated()
        self.wait_same()
        for node in self.nodes.nodes:
            self.assertTrue([file for file in self.files_with(node, marker) if file.endswith(".events")])
        self.nodes.run("stream", "tombstone", "gone-1")
        told = self.erased()
        self.assertFalse(told["erased"])
        for node in told["nodes"]:
            self.assertTrue(any("event file" in each["what"] for each in node["remains"]), told)
        # One node sleeps through the command, and does it when it is there again.
        victim = next(node for node in self.nodes.nodes if node is not self.nodes.serving())
        victim.kill()
        self.nodes.run("history", "scavenge")
        victim.start()
        self.nodes.run("history", "scavenge", "--wait", timeout=PATIENCE)
        for status in self.status().values():
            self.assertEqual(status["scavenged_to"], status["scavenge_to"], status)
            self.assertGreater(status["scavenged_to"], 0)
        self.wait_same()
        for node in self.nodes.nodes:
            self.assertFalse([file for file in self.files_with(node, marker) if file.endswith(".events")])
        # The log goes on over what its files still have.
        def gone():
            self.append(8)
            return self.erased()["erased"]
        wait_until("nothing is left of the stream", gone, PATIENCE, pause=0.2)
        for node in self.nodes.nodes:
            self.assertEqual(self.files_with(node, marker), [])
        self.nodes.wait_equal()
        for node in self.nodes.nodes:
            self.check_all_events(node)


class NothingIsKeptTest(unittest.TestCase):
    def test_without_history_events_end_with_the_log(self):
        with Cluster(TAILRACE, nodes=1, settings=SETTINGS + "history:\n  keep: none\n") as single:
            single.wait_version()
            lines = "".join(text_of(i) + "\n" for i in range(EVENTS))
            for _ in range(BATCHES):
                single.run("append", "orders-1", input=lines.encode())
            def gone():
                single.run("put", "k", "v")
                return single.run("read", "orders-1", check=False).returncode not in (DONE,)
            wait_until("the first events are truncated", gone, PATIENCE)
            refused = single.run("read", "orders-1", check=False)
            self.assertIn(b"history.keep: events keeps what the log truncates", refused.stderr)
            self.assertFalse(json.loads(single.run("history", "status", "--json").stdout)["nodes"][0]["kept"])


unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
