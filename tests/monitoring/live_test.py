#!/usr/bin/env python3
"""A loaded cluster, whose leader is lost and comes back, and a real Prometheus: each question of each panel is
answered with numbers, and each rule can be evaluated.

Usage: live_test.py TAILRACE
"""
import json
import pathlib
import shutil
import signal
import sys
import time
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from live import INSTALLED, ROOT, loaded, lose_the_leader, wait_until  # noqa: E402

from asking import filled_in  # noqa: E402
from names import OF_PROMETHEUS, names_in  # noqa: E402

TAILRACE = sys.argv[1]
SCRAPE_SECONDS = 1
# The queries of these panels may have no answer, and why.
MAY_BE_EMPTY = {
    "When is the first disk full?": "the disk may just not fill",
    "When is each disk full?": "the disk may just not fill",
    "How much disk is free in a day?": "only samples of three hours say that",
}
OF_ETCD = "tailrace_coordinator_"


def questions():
    """(where it stands, the panel's title or nothing, the expression)"""
    for file in sorted((ROOT / "deploy/monitoring/grafana/dashboards").glob("*.json")):
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield f"{file.stem}: {panel['title']}", panel["title"], target["expr"]
        for one in board["annotations"]["list"]:
            yield f"{file.stem}: {one['name']}", None, one["target"]["expr"]


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if shutil.which("prometheus") is None:
            raise unittest.SkipTest("NOT TESTED: there is no prometheus on this machine (scripts/setup installs it)")
        began = time.monotonic()
        running = loaded(TAILRACE, SCRAPE_SECONDS)
        cls.cluster, server, _ = running.__enter__()
        cls.addClassCleanup(running.__exit__, None, None, None)
        cls.asked, cls.start = server.asked, time.time()
        time.sleep(8)
        lose_the_leader(cls.cluster, away_seconds=3)
        wait_until("a digest was compared", lambda: cls.asked.now(
            "max(tailrace_replication_last_compared_address_bytes) > 0"), 30, 0.5)
        wait_until("a rule was evaluated", lambda: all(
            rule["health"] != "unknown" for rule in cls.rules()), 30, 0.5)
        time.sleep(4 * SCRAPE_SECONDS)
        cls.end = time.time()
        print(f"live_test: loaded for {cls.end - cls.start:.0f} s, {time.monotonic() - began:.0f} s in all",
              file=sys.stderr)

    @classmethod
    def rules(cls):
        return [rule for group in cls.asked.ask("rules")["groups"] for rule in group["rules"]]

    def answer(self, expression):
        text = filled_in(expression, SCRAPE_SECONDS, self.end - self.start, cluster="test")
        return [points for _, points in self.asked.over(text, self.start, self.end, SCRAPE_SECONDS) if points]

    def test_each_question_of_each_panel_is_answered(self):
        count = 0
        for where, title, expression in questions():
            with self.subTest(where=where, expression=expression):
                answered = self.answer(expression)
                count += 1
                if title not in MAY_BE_EMPTY and (INSTALLED or OF_ETCD not in expression):
                    self.assertTrue(answered, "no value in the whole time")
        self.assertGreater(count, 100)

    def test_the_list_of_panels_that_may_be_empty_is_up_to_date(self):
        self.assertLessEqual(set(MAY_BE_EMPTY), {title for _, title, _ in questions()})

    def test_each_rule_is_evaluated_and_asks_for_what_nodes_tell(self):
        told = set(self.asked.ask("label/__name__/values"))
        recorded = {rule["name"] for rule in self.rules() if rule["type"] == "recording"}
        self.assertTrue(self.rules())
        for rule in self.rules():
            with self.subTest(rule=rule["name"]):
                self.assertEqual((rule["health"], rule.get("lastError", "")), ("ok", ""))
                self.answer(rule["query"])
                for name in names_in(rule["query"]) - OF_PROMETHEUS - recorded:
                    if INSTALLED or not name.startswith(OF_ETCD):
                        self.assertIn(name, told)


# A test that is told to stop goes through its cleanups.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
