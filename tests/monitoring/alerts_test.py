#!/usr/bin/env python3
"""Prometheus' configuration, rules and alerts are valid; each alert does what its cases say, and has a runbook.

promtool runs the cases of deploy/monitoring/prometheus/tests. The rest are joins: rules, cases, runbooks and
docs/reference/metrics.md name the same things.
"""
import collections
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import rules  # noqa: E402

MONITORING = rules.ROOT / "deploy/monitoring"
RUNBOOKS = rules.ROOT / "docs/operating/runbooks"
CASES = sorted((rules.DIRECTORY / "tests").glob("*.yml"))
METRICS = rules.ROOT / "docs/reference/metrics.md"
DASHBOARDS = MONITORING / "grafana/dashboards"
HEADINGS = ["Meaning", "Impact", "Look", "Do", "Why it may be wrong"]
# What Prometheus itself tells.
OF_PROMETHEUS = {"up"}
SUFFIXES = ("_bucket", "_sum", "_count")


def promtool(*arguments):
    # The rules take much memory for moments: collecting it less often saves a fifth of the time.
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "GOGC": "400"})


def documented():
    """(names, old names) of docs/reference/metrics.md. A row of an old name has the new one beside it."""
    text = METRICS.read_text()
    return (set(re.findall(r"^\| `(\w+)` \| (?:counter|gauge|histogram) \|", text, re.MULTILINE)),
            set(re.findall(r"^\| `(\w+)` \| `", text, re.MULTILINE)))


def is_documented(name, names):
    return name in names or any(name.endswith(suffix) and name.removesuffix(suffix) in names
                                for suffix in SUFFIXES)


def cases():
    """{alert: [(fires, title, what is expected)]} of the cases' titles."""
    found = collections.defaultdict(list)
    for file in CASES:
        for text in file.read_text().split("\n  - name: ")[1:]:
            title, _, body = text.partition("\n")
            told = re.match(r'"([A-Z]\w+) (fires|is silent) .*"$', title)
            if told:
                found[told[1]].append((told[2] == "fires", title, body))
    return found


class Rules(unittest.TestCase):
    def setUp(self):
        if shutil.which("promtool") is None:
            self.skipTest("NOT TESTED: there is no promtool on this machine")

    def expect_success(self, done):
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def test_promtool_takes_the_configuration_and_the_rules(self):
        done = self.expect_success(promtool("check", "config", rules.DIRECTORY / "prometheus.yml"))
        self.assertIn(f"{len(rules.FILES)} rule files found", done.stdout)
        done = self.expect_success(promtool("check", "rules", *rules.FILES))
        told = sum(map(int, re.findall(r"(\d+) rules found", done.stdout)))
        self.assertEqual(told, len(rules.alerts()) + len(rules.records()), "rules.py reads all of them")
        self.assertEqual(told, len(list(rules.expressions())))

    def test_each_case_comes_out_as_it_says(self):
        self.expect_success(promtool("test", "rules", *CASES))

    def test_rules_whose_time_is_scaled_are_rules(self):
        for file in rules.FILES:
            text = rules.scaled(file.read_text(), 60)
            self.assertNotEqual(text, file.read_text())
            self.expect_success(subprocess.run(["promtool", "check", "rules", "/dev/stdin"], input=text,
                                               capture_output=True, text=True, timeout=60))

    def test_amtool_takes_the_sample_for_alertmanager(self):
        if shutil.which("amtool") is None:
            self.skipTest("NOT TESTED: there is no amtool on this machine")
        done = subprocess.run(["amtool", "check-config", str(MONITORING / "alertmanager/alertmanager.yml")],
                              capture_output=True, text=True, timeout=60)
        self.expect_success(done)


class Joins(unittest.TestCase):
    def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent(self):
        found = cases()
        self.assertEqual(set(found), set(rules.alerts()))
        for name, of_alert in found.items():
            firing = [case for case in of_alert if case[0]]
            silent = [case for case in of_alert if not case[0]]
            self.assertTrue(firing and silent, name)
            for _, title, body in firing:
                self.assertIn(f'labels: \'ALERTS{{alertname="Tailrace{name}",alertstate="firing"', body, title)
            for _, title, body in silent:
                self.assertIn(f'alertname="Tailrace{name}",alertstate="firing"', body, title)
                self.assertNotIn("exp_samples", body, title)

    def test_each_alert_has_a_runbook_and_each_runbook_an_alert(self):
        alerts = rules.alerts()
        self.assertEqual({file.name for file in RUNBOOKS.glob("*.md")},
                         {alert.page for alert in alerts.values()} | {"README.md"})
        for name, alert in alerts.items():
            page = RUNBOOKS / alert.page
            self.assertEqual(alert.runbook, str(page.relative_to(rules.ROOT)))
            text = page.read_text()
            self.assertEqual(text.splitlines()[0], f"# Tailrace{name}")
            parts = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
            self.assertEqual([part.split("\n")[0] for part in parts], HEADINGS, page.name)
            for part in parts:
                self.assertTrue(part.partition("\n")[2].strip(), f"{page.name}: {part} is empty")

    def test_the_table_of_runbooks_agrees_with_the_rules(self):
        rows = re.findall(r"^\| \[Tailrace(\w+)\]\((\S+)\) \| (\w+) \| [A-Z].*\. \|$",
                          (RUNBOOKS / "README.md").read_text(), re.MULTILINE)
        self.assertEqual(rows, [(alert.name, alert.page, alert.severity) for alert in rules.alerts().values()])

    def test_links_of_runbooks_lead_somewhere(self):
        for page in RUNBOOKS.glob("*.md"):
            for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
                self.assertTrue((page.parent / link).exists(), f"{page.name}: {link}")

    def test_panels_that_runbooks_name_exist(self):
        if not DASHBOARDS.exists():
            self.skipTest("NOT TESTED: there are no dashboards in this tree")
        titles = collections.defaultdict(set)
        for file in DASHBOARDS.glob("*.json"):
            def collect(panels, stem=file.stem):
                for panel in panels:
                    titles[stem].add(panel.get("title"))
                    collect(panel.get("panels", []))
            collect(json.loads(file.read_text())["panels"])
        for page in RUNBOOKS.glob("*.md"):
            text = " ".join(page.read_text().split())
            for named, board in re.findall(r'[Pp]anels? ((?:"[^"]+\?"(?:,? and )?)+) of (\w+)', text):
                for title in re.findall(r'"([^"]+)"', named):
                    self.assertIn(title, titles[board.lower()], f"{page.name}, {board}")

    def test_rules_ask_only_for_metrics_that_nodes_tell(self):
        names, old = documented()
        self.assertGreater(len(names), 100)
        for expression in rules.expressions():
            asked = rules.metrics_in(expression) - OF_PROMETHEUS - rules.records()
            for name in asked:
                self.assertTrue(is_documented(name, names), f"{name} in {expression}")
                self.assertFalse(is_documented(name, old), f"{name} in {expression}")
        for page in RUNBOOKS.glob("*.md"):
            for name in re.findall(r"`((?:tailrace|process)_\w+)`", page.read_text()):
                self.assertTrue(is_documented(name, names), f"{name} in {page.name}")

    def test_texts_name_the_cluster_and_only_labels_that_the_alert_has(self):
        for alert in rules.alerts().values():
            self.assertIn("$labels.cluster", alert.summary, alert.name)
            self.assertRegex(alert.description, r"\$labels\.cluster|\$labels\.node", alert.name)
            self.assertTrue(alert.description.endswith("."), alert.name)
            # What an aggregation leaves; nothing: all labels.
            kept = re.match(r"(?:max|min|count|sum) by \(([^)]*)\)", alert.expression)
            if kept:
                labels = set(re.split(r",\s*", kept[1]))
                used = set(re.findall(r"\$labels\.(\w+)", alert.summary + alert.description))
                self.assertLessEqual(used, labels, alert.name)

    def test_names_of_alerts_elsewhere_exist(self):
        names = {f"Tailrace{name}" for name in rules.alerts()}
        text = (MONITORING / "alertmanager/alertmanager.yml").read_text()
        for single, group in re.findall(r'alertname =~? "(Tailrace\w*)(?:\(([\w|]+)\))?"', text):
            for one in (group.split("|") if group else [""]):
                self.assertIn(single + one, names)

    def test_the_targets_are_those_of_the_example(self):
        told = set()
        for file in (rules.ROOT / "config/examples/three-node").glob("*.yaml"):
            text = file.read_text()
            told.add((re.search(r"^metrics:\n  listen: (\S+)", text, re.MULTILINE)[1],
                      re.search(r"^cluster: (\S+)", text, re.MULTILINE)[1],
                      re.search(r"^node: (\S+)", text, re.MULTILINE)[1]))
        targets = (rules.DIRECTORY / "targets/tailrace.yml").read_text()
        self.assertEqual(told, set(re.findall(
            r'^- targets: \["(\S+)"\]\n  labels: \{cluster: (\S+), node: "(\d+)"\}', targets, re.MULTILINE)))


class Scaling(unittest.TestCase):
    def test_times_are_shorter_and_nothing_else(self):
        text = ("        expr: a:b:rate5m > 30 and increase(c[1h]) > 1 and d offset 15m and rate(e[10s])\n"
                "        for: 15m\n"
                "        expr: predict_linear(f[6h], 24 * 3600) < 0\n"
                "        for: 10s\n")
        self.assertEqual(
            rules.scaled(text, 60),
            "        expr: a:b:rate5m > 30 and increase(c[60000ms]) > 1 and d offset 15000ms and rate(e[2000ms])\n"
            "        for: 15000ms\n"
            "        expr: predict_linear(f[360000ms], 1440.0) < 0\n"
            "        for: 1000ms\n")

    def test_metrics_are_told_from_functions_and_labels(self):
        self.assertEqual(
            rules.metrics_in('sum by (tailrace_x) (rate(tailrace_a_total{tailrace_b="up"}[5m])) > n:tailrace_c:p99 * up'),
            {"tailrace_a_total", "n:tailrace_c:p99", "up"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
