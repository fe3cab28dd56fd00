"""`tailrace top` on a real cluster: its screen in a real terminal (tmux), and --batch and --json for scripts.

Usage: top_test.py TAILRACE
"""
import fcntl
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from cluster import SMALL_LOG, UNREACHABLE, Cluster, explained_tests, wait_until  # noqa: E402

TAILRACE = sys.argv[1]
cluster = None


def setUpModule():
    global cluster
    cluster = Cluster(TAILRACE, nodes=3, settings=SMALL_LOG)
    unittest.addModuleCleanup(cluster.__exit__)
    cluster.__enter__()


class stopped:
    """Within the block the node's process stands still."""

    def __init__(self, node):
        self.node = node

    def __enter__(self):
        self.node.process.send_signal(signal.SIGSTOP)

    def __exit__(self, *_):
        self.node.process.send_signal(signal.SIGCONT)


def writing():
    """A client that writes for as long as the tests take."""
    return subprocess.Popen([TAILRACE, "bench", "service", "--op", "mixed", "--clients", "1", "--in-flight", "4",
                             "--seconds", "600", "--server", cluster.servers],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Writing(unittest.TestCase):
    """The cluster is written to meanwhile."""

    @classmethod
    def setUpClass(cls):
        writer = writing()
        cls.addClassCleanup(writer.wait)
        cls.addClassCleanup(writer.kill)
        wait_until("writes are answered", lambda: cls.top()["per_second"]["writes"])

    @staticmethod
    def top(*options, **more):
        """One object of --json, to be waited for: a busy machine may let a node take longer than an interval."""
        done = cluster.run("top", "--json", "-n", 1, "--interval", "0.3", *options, **{"check": False, **more})
        return json.loads(done.stdout)

    @staticmethod
    def screens(*options, **more):
        """The objects of one call of --json in which every node has answered each time: a busy machine may let one of
        them take longer than an interval."""
        def asked():
            done = cluster.run("top", "--json", *options, check=False, **more)
            found = [json.loads(line) for line in done.stdout.splitlines()]
            answered = all(node["answered"] for one in found for node in one["nodes"])
            return found if answered and done.returncode == 0 else None

        return wait_until("every node answers in time, each time", asked)


class Batch(Writing):
    def test_json_is_an_object_a_line(self):
        screens = self.screens("--iterations", 3, "--interval", "0.3")
        self.assertEqual(len(screens), 3)
        self.assertEqual(sorted(one["time_ms"] for one in screens), [one["time_ms"] for one in screens])
        for one in screens:
            self.assertEqual((one["leader"], one["problems"]), (1, []))
            self.assertRegex(one["cluster_identity"], "^[0-9a-f]{32}$")
            self.assertEqual([node["node"] for node in one["nodes"]], [1, 2, 3])
            self.assertEqual([node["health"] for node in one["nodes"]], ["ok"] * 3)

    def test_every_figure_of_a_node_is_known(self):
        # Rates are of two polls that were answered, and there is none of writes while none is done.
        def writes():
            one = self.screens("-n", 2, "--interval", "0.3")[-1]
            return one if one["nodes"][0]["per_second"]["applied_bytes"] and one["nodes"][0]["cpu_share"] else None

        one = wait_until("the leader works", writes)
        for name in ("writes", "reads", "events", "errors", "record_bytes"):
            self.assertIsNotNone(one["per_second"][name], name)
        leader, follower = one["nodes"][:2]
        # The leader is behind nobody.
        self.assertEqual([name for name in leader if leader[name] is None], ["lag_bytes", "lag_seconds"])
        self.assertEqual([name for name in follower if follower[name] is None], [])
        self.assertGreater(leader["per_second"]["applied_bytes"], 0)
        self.assertGreater(leader["connections"], 0)
        self.assertGreater(leader["cpu_share"], 0)
        self.assertGreater(leader["disk_free_bytes"], 0)
        self.assertEqual([stage["stage"] for stage in one["stages"]],
                         ["held", "enqueue", "flush", "commit", "apply", "answer"])

    def test_the_stages_of_writes_have_times(self):
        def measured():
            stages = self.top()["stages"]
            return stages if all(stage["measured_per_second"] for stage in stages) else None

        for stage in wait_until("writes are measured", measured):
            self.assertGreater(stage["p50_seconds"], 0, stage)
            self.assertGreaterEqual(stage["p99_seconds"], stage["p50_seconds"], stage)

    def test_events_are_the_records_of_appends(self):
        appending = subprocess.Popen([TAILRACE, "bench", "service", "--op", "append", "--batch", "10", "--clients", "1",
                                      "--in-flight", "1", "--seconds", "600", "--server", cluster.servers],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until("events come", lambda: self.top()["per_second"]["events"])
        finally:
            appending.kill()
            appending.wait()

    def test_text_is_plain(self):
        def well():
            text = cluster.run("top", "-n", 2, "--interval", "0.3").stdout.decode("ascii")
            self.assertEqual(text.count("tailrace top  cluster "), 2)
            self.assertNotIn("\x1b", text)
            for word in ("WATERMARKS", "STAGES", "TRUNCATION", "STORE"):
                self.assertIn(word, text)
            return "No problems." in text

        wait_until("there are no problems", well)

    def test_a_node_that_stands_still_is_shown_and_delays_nothing(self):
        with stopped(cluster.nodes[2]):
            def shown():
                began = time.monotonic()
                done = cluster.run("top", "--json", "-n", 3, "--interval", "0.5", server=cluster.nodes[1].server,
                                   check=False)
                self.assertLess(time.monotonic() - began, 4 * 0.5 + 2)
                last = json.loads(done.stdout.splitlines()[-1])
                answered = [node["answered"] for node in last["nodes"]] == [True, True, False]
                return last if answered and done.returncode == 0 else None

            last = wait_until("two nodes answer, and the one that stands still does not", shown)
        self.assertEqual(last["nodes"][2]["node"], 3)
        self.assertTrue(any(problem.startswith("node 3: no answer") for problem in last["problems"]), last)
        self.assertIsNotNone(last["per_second"]["writes"])

    def test_a_leader_without_a_majority_is_not_shown_as_well(self):
        told = "no majority of the voters is connected: no write is answered"

        def seen():
            one = self.top(server=cluster.nodes[0].server)
            return one if one["nodes"][0]["health"] == "no majority" else None

        with stopped(cluster.nodes[1]), stopped(cluster.nodes[2]):
            one = wait_until("the leader misses its voters", seen)
            self.assertEqual(one["problems"][0], told)
            status = cluster.run("status", "--only-named", server=cluster.nodes[0].server).stdout.decode()
            self.assertIn("  problem: " + told, status)
        wait_until("writes are answered again", lambda: self.top()["per_second"]["writes"])

    def test_an_output_that_is_full_and_does_not_block_is_waited_for(self):
        reads, writes = os.pipe()
        os.set_blocking(writes, False)
        room = fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4096)
        screens = 1 + room // 500
        top = subprocess.Popen([TAILRACE, "top", "--batch", "-n", str(screens), "--interval", "0.1", "--server",
                                cluster.servers], stdout=writes, stderr=subprocess.PIPE)
        os.close(writes)
        self.addCleanup(top.wait)
        self.addCleanup(top.kill)
        self.addCleanup(top.stderr.close)

        def waiting():
            return struct.unpack("i", fcntl.ioctl(reads, termios.FIONREAD, bytes(4)))[0]

        def stands_still():
            before = waiting()
            time.sleep(1)  # many intervals
            return top.poll() is not None or before == waiting() > 0

        wait_until("nothing more fits", stands_still)
        with os.fdopen(reads, "rb") as pipe:
            text = pipe.read().decode("ascii")
        error = top.stderr.read()
        self.assertNotIn(b"standard output", error)
        self.assertGreater(len(text), 2 * room)
        self.assertEqual(text.count("tailrace top  cluster "), screens)
        self.assertIn(top.wait(timeout=60), (0, UNREACHABLE), error)  # a node may be slow at the end

    def test_a_server_that_was_named_and_is_silent_makes_it_3(self):
        with stopped(cluster.nodes[2]):
            done = cluster.run("top", "-n", 1, "--interval", "0.3", check=False)
        self.assertEqual(done.returncode, UNREACHABLE)
        self.assertIn(cluster.nodes[2].server.encode(), done.stderr)
        self.assertIn(b"no answer", done.stdout)


class Terminal:
    """A shell in a terminal of its own."""
    numbers = itertools.count()

    def __init__(self, width, height, environment=()):
        self.socket = f"tailrace-top-{os.getpid()}-{next(self.numbers)}"
        cleared = {name: value for name, value in os.environ.items()
                   if name not in ("TMUX", "NO_COLOR", "TAILRACE_SERVER")}
        self.environment = dict(cleared, PS1="ready> ", TAILRACE_SERVER=cluster.servers, **dict(environment))
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", width, "-y", height, "sh", "-i")
        wait_until("the shell is there", lambda: "ready>" in self.text())

    def tmux(self, *arguments):
        done = subprocess.run(["tmux", "-L", self.socket, *map(str, arguments)], env=self.environment,
                              capture_output=True, timeout=30)
        if done.returncode != 0:
            raise AssertionError(f"tmux {arguments}: {done.stderr.decode()}")
        return done.stdout.decode()

    def close(self):
        self.tmux("kill-server")

    def type(self, *keys):
        self.tmux("send-keys", *keys)

    def text(self, *options):
        return self.tmux("capture-pane", "-p", *options)

    def format(self, name):
        return self.tmux("display-message", "-p", "#{" + name + "}").strip()

    def resize(self, width, height):
        self.tmux("resize-window", "-x", width, "-y", height)

    def wait_for(self, *words, seconds=30, options=()):
        """The text of a screen that has all of them."""
        def look():
            text = self.text(*options)
            return text if all(word in text for word in words) else None

        return wait_until(f"{words} are on the screen", look, seconds)


@unittest.skipUnless(shutil.which("tmux"), "NOT TESTED: tmux is not installed")
@explained_tests
class Screen(Writing):
    def setUp(self):
        self.terminal = Terminal(100, 30)
        self.checked = 0
        self.addCleanup(self.terminal.close)

    def describe(self):
        return self.terminal.text()

    def start(self, *options):
        self.terminal.type(" ".join([TAILRACE, "top", "--interval", "0.3", *options]), "Enter")
        self.terminal.wait_for("WATERMARKS")

    def expect_restored(self):
        self.terminal.wait_for("ready>")
        wait_until("the shell's screen is back", lambda: self.terminal.format("alternate_on") == "0")
        self.assertEqual(self.terminal.format("cursor_flag"), "1")
        self.checked += 1
        self.terminal.type(f"stty -a | grep -o '.icanon\\|.echo '; echo check {self.checked}: $?", "Enter")
        text = self.terminal.wait_for(f"check {self.checked}: 0")
        self.assertNotIn("-icanon", text)
        self.assertNotIn("-echo ", text)
        # What was on the shell's screen before is there again: in a small window behind its upper edge,
        # and in more lines than one.
        self.assertIn("top --interval", self.terminal.text("-J", "-S", "-"))

    def test_it_fills_the_window_and_follows_its_size(self):
        self.start()
        self.assertEqual(self.terminal.format("alternate_on"), "1")
        self.assertEqual(self.terminal.format("cursor_flag"), "0")
        words = ["leader 1", "NODE ROLE", "STAGES", "TRUNCATION", "STORE"]

        # One screen has all of it: a picture may be taken while a screen is half drawn.
        def drawn():
            lines = self.terminal.text().rstrip("\n").split("\n")
            missing = [word for word in words if not any(word in line for line in lines)]
            return (len(lines) == 30 and re.search(r" \d\d:\d\d:\d\d$", lines[0]) and lines[-1].startswith("q quit")
                    and not missing)

        wait_until("a screen of 30 lines is drawn, with the time, all sections and the keys", drawn)
        for width, height in ((80, 24), (140, 45), (60, 12)):
            self.terminal.resize(width, height)

            def fits():
                lines = self.terminal.text().rstrip("\n").split("\n")
                return len(lines) == height and lines[-1].startswith("q quit") and "leader 1" in lines[0]

            wait_until(f"the screen is of {width} times {height}", fits)
        self.terminal.type("q")
        self.expect_restored()

    def test_p_pauses_and_h_explains(self):
        self.start()
        self.terminal.wait_for("writes/s")
        self.terminal.type("p")
        # The keys are the last line: all above it is drawn.
        before = self.terminal.wait_for("paused", "p go on")
        time.sleep(1)
        self.assertEqual(self.terminal.text(), before)
        self.terminal.type("p")
        wait_until("it goes on", lambda: "paused" not in self.terminal.text())
        self.terminal.type("h")
        self.terminal.wait_for("HEALTH  ok, or")
        self.terminal.type("h")
        self.terminal.wait_for("WATERMARKS  #")
        self.terminal.type("q")
        self.expect_restored()

    def test_signals_end_it_and_the_terminal_is_as_before(self):
        self.start()
        self.terminal.type("C-c")
        self.expect_restored()
        self.start()
        program = subprocess.run(["pgrep", "-P", self.terminal.format("pane_pid")], capture_output=True,
                                 timeout=30).stdout.split()
        self.assertEqual(len(program), 1)
        os.kill(int(program[0]), signal.SIGTERM)
        self.expect_restored()

    def test_it_stops_and_goes_on(self):
        self.start()
        self.terminal.type("C-z")
        self.terminal.wait_for("Stopped")
        self.assertEqual(self.terminal.format("alternate_on"), "0")
        self.terminal.type("fg", "Enter")
        self.terminal.wait_for("WATERMARKS")
        self.assertEqual(self.terminal.format("alternate_on"), "1")
        self.terminal.type("q")
        self.expect_restored()

    def test_a_node_that_stands_still_does_not_hold_the_screen(self):
        with stopped(cluster.nodes[2]):
            self.start()
            self.terminal.wait_for("node 3: no answer")
            self.terminal.type("h")
            self.terminal.wait_for("HEALTH  ok, or", seconds=5)
            self.terminal.type("q")
            self.expect_restored()

    def test_colours_are_for_those_who_want_them(self):
        self.start()
        self.terminal.wait_for("No problems.", "\x1b[32m", options=["-e"])
        self.terminal.type("q")
        self.expect_restored()
        self.terminal.type("export NO_COLOR=1", "Enter")
        self.start()
        shown = self.terminal.wait_for("No problems.", "help", "\x1b[1m", options=["-e"])
        self.assertNotRegex(shown, "\x1b\\[3[0-7]m")
        self.assertIn("\x1b[1m", shown)  # bold is not a colour
        self.terminal.type("q")
        self.expect_restored()

    def test_a_terminal_that_cannot_be_drawn_on_has_plain_text(self):
        self.terminal.type(f"TERM=dumb {TAILRACE} top -n 1 --interval 0.3; echo code $?", "Enter")
        self.terminal.wait_for("code 0")
        self.assertEqual(self.terminal.format("alternate_on"), "0")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
