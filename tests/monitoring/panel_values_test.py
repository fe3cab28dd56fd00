#!/usr/bin/env python3
"""Each panel shows the number that its title promises, of the cluster in made_up_cluster.py, in the unit that its
expression has. promtool evaluates all expressions in one run; panel_values.py has the numbers."""
import json
import math
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "deploy/monitoring")]
import made_up_cluster as made_up  # noqa: E402
import panel_values  # noqa: E402
import rules  # noqa: E402
import units  # noqa: E402
from asking import filled_in  # noqa: E402

DASHBOARDS = ROOT / "deploy/monitoring/grafana/dashboards"
OF_HOURS = ("[6h]", ":tailrace_filesystem_until_full:")
# Panels whose unit is not the one that follows from the expression, and why.
UNITS = {
    "How much processor does each node use?": ("suffix: cores", "a processor second a second is a core"),
}


def panels():
    """(dashboard, panel) of all that ask."""
    for file in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            if panel.get("targets"):
                yield file.stem, panel


def filled(template, labels):
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), template)


def column(panel, target):
    """What Grafana calls the column of a target's value; None where it is hidden."""
    organize = panel["transformations"][1]["options"]
    name = "Value" if len(panel["targets"]) == 1 else f"Value #{target['refId']}"
    return None if name in organize["excludeByName"] else organize["renameByName"].get(name, name)


def name_of(panel, target, labels):
    """What the panel calls a series."""
    if panel["type"] != "table":
        return filled(target["legendFormat"], labels)
    names = panel["transformations"][1]["options"]["renameByName"]
    text = ", ".join(f"{name} {labels[label]}" for label, name in names.items() if label in labels)
    value = column(panel, target)
    return f"{value}: {text}" if value else text


def look(panel, value):
    """A number, or the text and the color that the panel has for it."""
    for mapping in panel["fieldConfig"]["defaults"]["mappings"]:
        option = mapping["options"].get(f"{value:g}")
        if option:
            return f"{option['text']}, {option['color']}"
    return value


def expected(rows):
    """{series: value}"""
    made = {}
    for template, _, value in rows:
        if isinstance(value, tuple):
            found = {filled(template, {"node": node}): one for node, one in zip("123", value) if one is not None}
        else:
            found = value if isinstance(value, dict) else {template: value}
        assert not set(found) & set(made), (template, found)
        made.update(found)
    return made


def ask_promtool(expressions):
    """{expression: [(labels, value)], or why it has none}. promtool prints what it got where it expected something
    else; so each case expects what nothing is."""
    def case(text, seconds):
        whole = filled_in(text, made_up.SCRAPE_SECONDS, made_up.SECONDS, "c")
        return {"expr": whole, "eval_time": f"{seconds}s",
                "exp_samples": [{"labels": "nothing_has_this_name", "value": 0}]}

    groups, order = [], []
    for series, step, seconds, of_hours in (
            (made_up.minutes(), made_up.SCRAPE_SECONDS, made_up.SECONDS, False),
            (made_up.hours(), made_up.HOUR_STEP_SECONDS, made_up.HOURS_SECONDS, True)):
        asked = [text for text in expressions if any(one in text for one in OF_HOURS) == of_hours]
        order += asked
        groups.append({"interval": f"{step}s", "input_series": series,
                       "promql_expr_test": [case(text, seconds) for text in asked]})
    with tempfile.TemporaryDirectory(prefix="tailrace-test-") as directory:
        file = pathlib.Path(directory) / "panels.yml"
        file.write_text(json.dumps({"rule_files": [str(rules.DIRECTORY / "recording.rules.yml")],
                                    "evaluation_interval": "5m", "tests": groups}))
        done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, timeout=60)
    told = re.findall(r'expr: ("(?:[^"\\]|\\.)*"), time: \w+,(?:\s+exp: .*)?\s+(got|err): *(.*)',
                      done.stdout + done.stderr)
    if len(told) != len(order):
        raise AssertionError(f"{len(told)} answers to {len(order)} questions:\n{done.stdout}{done.stderr}")
    made = {}
    for text, (whole, kind, got) in zip(order, told):
        if json.loads(whole) != filled_in(text, made_up.SCRAPE_SECONDS, made_up.SECONDS, "c"):
            raise AssertionError(f"{whole} is the answer to {text}")
        # Labels in braces and a number, behind one comma after the other; nil: nothing.
        made[text] = got if kind == "err" else [
            (dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)), float(value))
            for labels, value in re.findall(r'\{((?:"(?:[^"\\]|\\.)*"|[^"}])*)\} (\S+?)(?:, |$)', got)]
    return made


class Values(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        if shutil.which("promtool") is None:
            raise unittest.SkipTest("NOT TESTED: there is no promtool on this machine (scripts/setup installs it)")
        asked = [target["expr"] for _, panel in panels() for target in panel["targets"]]
        cls.answers = ask_promtool(list(dict.fromkeys([*asked, *panel_values.RULES])))

    def compare(self, shown, wanted):
        self.assertEqual(set(shown), set(wanted))
        for name, value in wanted.items():
            both = f"{name}: {shown[name]} instead of {value}"
            if isinstance(value, str) or isinstance(shown[name], str):
                self.assertEqual(shown[name], value, both)
            else:
                self.assertTrue(math.isclose(shown[name], value, rel_tol=1e-6, abs_tol=1e-9), both)

    def test_each_panel_shows_what_its_title_promises(self):
        for board, panel in panels():
            rows = panel_values.PANELS.get(board, {}).get(panel["title"])
            if rows is None:
                continue
            with self.subTest(dashboard=board, panel=panel["title"]):
                shown = {}
                for target in panel["targets"]:
                    self.assertIsInstance(self.answers[target["expr"]], list, target["expr"])
                    for labels, value in self.answers[target["expr"]]:
                        name = name_of(panel, target, labels)
                        self.assertNotIn(name, shown, "two series have one name")
                        shown[name] = look(panel, value)
                self.compare(shown, expected(rows))
                named = set(shown) | {column(panel, one) for one in panel["targets"] if panel["type"] == "table"}
                for one in panel["fieldConfig"]["overrides"]:
                    if one["matcher"]["id"] == "byName":
                        self.assertIn(one["matcher"]["options"], named, "an override of nothing")

    def test_a_number_that_stands_for_a_name_is_shown_as_that_name(self):
        """Three nodes cannot have six roles at a time."""
        count = 0
        for board, panel in panels():
            for target in panel["targets"]:
                for number, name in re.findall(r'(\d+) \* \(\w+\{[^}]*="(\w+)"\} == 1\)', target["expr"]):
                    with self.subTest(dashboard=board, panel=panel["title"], name=name):
                        self.assertEqual(look(panel, float(number)).partition(",")[0], name)
                        count += 1
        self.assertGreater(count, 15)

    def test_each_recording_rule_has_the_value_that_its_name_promises(self):
        for rule, row in panel_values.RULES.items():
            with self.subTest(rule=rule):
                self.compare({filled(row[0], labels): value for labels, value in self.answers[rule]},
                             expected([row]))


class Rows(unittest.TestCase):
    def test_each_panel_has_a_row_or_a_reason(self):
        titles = {(board, panel["title"]) for board, panel in panels()}
        rows = {(board, title) for board, of_board in panel_values.PANELS.items() for title in of_board}
        self.assertEqual(rows | set(panel_values.WITHOUT), titles)
        self.assertFalse(rows & set(panel_values.WITHOUT))

    def test_each_recording_rule_has_a_row_or_a_reason(self):
        self.assertEqual(set(panel_values.RULES) | set(panel_values.RULES_WITHOUT), rules.records())
        self.assertFalse(set(panel_values.RULES) & set(panel_values.RULES_WITHOUT))

    def test_no_two_lines_of_the_scenario_have_the_same_numbers(self):
        self.assertEqual(list(made_up.lines_alike()), [])


class Units(unittest.TestCase):
    def test_the_unit_of_each_panel_is_the_one_of_its_expression(self):
        for board, panel in panels():
            for target in panel["targets"]:
                with self.subTest(dashboard=board, panel=panel["title"], expression=target["expr"]):
                    self.check(panel, target)

    def check(self, panel, target):
        defaults = panel["fieldConfig"]
        # In a table a unit belongs to a column, elsewhere to the series of a legend.
        name = column(panel, target) if panel["type"] == "table" else filled(target["legendFormat"], {"node": "1"})
        if name is None:
            return
        unit = defaults["defaults"]["unit"]
        for one in defaults["overrides"]:
            fits = (re.fullmatch(one["matcher"]["options"], name) if one["matcher"]["id"] == "byRegexp"
                    else one["matcher"]["options"] == name)
            for change in one["properties"] if fits else ():
                unit = change["value"] if change["id"] == "unit" else unit
        if panel["title"] in UNITS:
            self.assertEqual(unit, UNITS[panel["title"]][0])
            self.assertNotIn(unit, units.axes(target["expr"]), "no exception any more")
        else:
            self.assertIn(unit, units.axes(target["expr"]))

    def test_panels_with_another_unit_exist(self):
        self.assertLessEqual(set(UNITS), {panel["title"] for _, panel in panels()})

    def test_what_unit_an_expression_has(self):
        for text, known in (
                ("max by (node) (a_bytes)", {"bytes"}), ("sum(rate(a_bytes_total[5m]))", {"binBps"}),
                ("a_bytes / b_bytes", {"percentunit"}), ("1 - a_bytes / (b_bytes > 0)", {"percentunit"}),
                ("a_bytes / (-deriv(a_bytes[6h]) > 0) and b offset 3h", {"s"}),
                ("time() - a_timestamp_seconds", {"s"}), ("rate(a_seconds_total[5m])", {"percentunit"}),
                ("histogram_quantile(0.9, sum by (le) (rate(a_bytes_bucket[5m])))", {"bytes"}),
                ("rate(a_seconds_sum[5m]) / rate(a_seconds_count[5m])", {"s"}),
                ("a_connections", {"none", "short"}), ("sum(increase(a_total[5m]))", {"none", "short"}),
                ("sum(rate(a_total[5m]))", {"ops", "cps"}),
                ("sum by (kind) (rate(tailrace_rpc_requests_total[5m]))", {"reqps"})):
            self.assertEqual(units.axes(text), known, text)
        for text in ("a_bytes + b_seconds", "a_timestamp_seconds", "1 - a_bytes", "a_bytes or b_seconds", "2",
                     "a_seconds * b_seconds", "a_bytes == b_total"):
            with self.assertRaises(units.NoUnit, msg=text):
                units.axes(text)


if __name__ == "__main__":
    unittest.main()
