#!/usr/bin/env python3
"""The dashboards are what their script writes, are whole, and ask for metrics that exist. Each metric is in a
panel or a rule, or stands in deploy/monitoring/unused.json with the reason why not."""
import json
import pathlib
import re
import sys
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
MONITORING = HERE.parents[1] / "deploy/monitoring"
sys.path[:0] = [str(HERE), str(MONITORING)]
import dashboards  # noqa: E402
from panels import parts  # noqa: E402
from names import (OF_PROMETHEUS, documented, matched_values, metric_of, metric_recorded, names_in,  # noqa: E402
                   old_names, values_of_labels)

DIRECTORY = MONITORING / "grafana/dashboards"
RULES = MONITORING / "prometheus"
UNITS = {"none", "short", "bytes", "binBps", "s", "percentunit", "reqps", "ops", "wps", "rps", "cps",
         "suffix: cores"}
COLUMNS = 24
# Requests that work on data, and those of operators. A new one belongs to one of them; digests are operators' records.
READS = {"get", "mget", "scan", "read_stream", "list_streams", "tail"}
SHORT_READS = {"get", "mget", "read_stream"}  # however much is stored
OF_OPERATORS = {"status", "checkpoint", "digest", "transfer", "promote", "change_member", "history"}
REQUESTS, RECORDS = "tailrace_rpc_requests_total", "tailrace_rpc_records_total"


def boards():
    return {file.stem: json.loads(file.read_text()) for file in sorted(DIRECTORY.glob("*.json"))}


def panels(board):
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def expressions():
    """(where it stands, the expression) of all panels and annotations."""
    for name, board in boards().items():
        for panel in panels(board):
            for target in panel["targets"]:
                yield f"{name}: {panel['title']}", target["expr"]
        for one in board["annotations"]["list"]:
            yield f"{name}: {one['name']}", one["target"]["expr"]


def rule_expressions():
    """The text of each `expr:` of the rule files; a block goes on as long as its lines are indented deeper."""
    for file in sorted(RULES.glob("*.rules.yml")):
        lines = file.read_text().splitlines()
        for index, line in enumerate(lines):
            found = re.match(r"^(\s*)(?:- )?expr:\s*(.*)$", line)
            if not found:
                continue
            text = [] if re.fullmatch(r"[|>][+-]?", found[2]) else [found[2]]
            deeper = line.index("expr")
            for more in lines[index + 1:]:
                if more.strip() and len(more) - len(more.lstrip()) <= deeper:
                    break
                text.append(more)
            yield f"{file.name}:{index + 1}", "\n".join(text)


class Dashboards(unittest.TestCase):
    def each_panel(self):
        for name, board in boards().items():
            for panel in panels(board):
                with self.subTest(dashboard=name, panel=panel["title"]):
                    yield panel

    def test_the_files_are_what_the_script_writes(self):
        written = dashboards.files()
        self.assertEqual({file.name for file in DIRECTORY.glob("*.json")}, set(written))
        for name, text in written.items():
            self.assertEqual((DIRECTORY / name).read_text(), text,
                             f"{name}: run deploy/monitoring/dashboards.py")

    def test_numbers_and_titles_are_unique(self):
        every = boards()
        self.assertEqual(len({board["uid"] for board in every.values()}), len(every))
        for name, board in every.items():
            self.assertEqual(board["uid"], f"tailrace-{name}")
            numbers = [panel["id"] for panel in board["panels"]]
            self.assertEqual(len(set(numbers)), len(numbers), name)
            titles = [panel["title"] for panel in board["panels"]]
            self.assertEqual(len(set(titles)), len(titles), name)

    def test_no_panel_covers_another(self):
        for name, board in boards().items():
            taken = {}
            for panel in board["panels"]:
                place = panel["gridPos"]
                self.assertLessEqual(place["x"] + place["w"], COLUMNS, panel["title"])
                for x in range(place["x"], place["x"] + place["w"]):
                    for y in range(place["y"], place["y"] + place["h"]):
                        self.assertNotIn((x, y), taken, f"{name}: {panel['title']} and {taken.get((x, y))}")
                        taken[x, y] = panel["title"]

    def test_each_panel_asks_and_explains(self):
        for panel in self.each_panel():
            self.assertTrue(panel["title"].endswith("?"))
            self.assertIn(panel["fieldConfig"]["defaults"]["unit"], UNITS)
            for part in (r"^\S.{15,}\n", r"\*\*Normal:\*\* \S.*\n", r"\*\*If not:\*\* \S.{10,}$"):
                self.assertRegex(panel["description"], part)
            self.assertTrue(panel["targets"])
            for target in panel["targets"]:
                self.assertTrue(target["legendFormat"] or panel["type"] == "table", target["expr"])
                self.assertEqual(target["datasource"]["uid"], "${datasource}")

    def test_each_expression_keeps_to_the_chosen_cluster_and_nodes(self):
        for where, text in expressions():
            with self.subTest(where=where, expression=text):
                series = re.findall(r"\b(?:tailrace_|process_|up\b)\w*(\{.*?\})?", text)
                self.assertTrue(series)
                for selector in series:
                    self.assertIn('{job="tailrace",cluster="$cluster",node=~"$node"', selector)
                for name in re.findall(r"rate\(.*?\[(.*?)\]", text):
                    self.assertEqual(name, "$__rate_interval")

    def test_panels_of_followers_ask_the_leader_with_the_highest_epoch(self):
        asked = [text for _, text in expressions() if "tailrace_replication_follower_" in text]
        self.assertGreater(len(asked), 5)
        for text in asked:
            leader = re.search(r"and on \(cluster, node\) topk by \(cluster\) \(1, (.*?)\{.*? "
                               r"and on \(cluster, node\) (.*?)\{.*?\} == 1\)", text)
            self.assertIsNotNone(leader, text)
            self.assertEqual(leader.groups(), ("tailrace_replication_epoch", "tailrace_replication_serving"))

    def test_panels_and_rules_mean_the_same_by_a_failed_request(self):
        """Codes and kinds stand in parts.py and in recording.rules.yml. TailraceRequestErrors asks the latter."""
        shares = [(where, text) for where, text in expressions() if parts.FAILED in text]
        self.assertEqual({where for where, _ in shares}, {"overview: What share of requests fails?",
                                                          "requests: Which kinds of requests fail?"})
        for where, text in shares:
            self.assertIn('result!~"not_leader|elsewhere"', text.split(" / ")[1], where)
        self.assertNotIn('result=~"failed|unknown_outcome"', "".join(text for _, text in expressions()))
        ruled = [text for _, text in rule_expressions() if 'result!="elsewhere"' in text]
        self.assertGreater(len(ruled), 3)
        for text in ruled:
            self.assertIn(f"{parts.DATA},{parts.FAILED}", text)
        self.assertEqual([text.count(parts.DATA) for where, text in shares if "overview" in where], [2])

    def test_lines_that_belong_together_are_of_one_node(self):
        chosen = {"How full is the store?", "Where are the store's records?", "What is the memory used for?"}
        for panel in self.each_panel():
            if panel["title"] in chosen:
                chosen.remove(panel["title"])
                choices = [target["expr"].partition(" and on (node) topk(1, ")[2] for target in panel["targets"]]
                self.assertEqual(len(set(choices)), 1)
                self.assertTrue(choices[0])
        self.assertEqual(chosen, set())

    def test_links_variables_and_the_frame(self):
        for name, board in boards().items():
            with self.subTest(dashboard=name):
                self.assertEqual((board["schemaVersion"], board["refresh"]), (39, "10s"))
                self.assertIn("tailrace", board["tags"])
                self.assertEqual([one["name"] for one in board["templating"]["list"]],
                                 ["datasource", "cluster", "node"])
                self.assertEqual([one["tags"] for one in board["links"]], [["tailrace"]])

    def test_each_panel_that_a_text_names_exists(self):
        titles = {panel["title"] for panel in self.each_panel()}
        documents = HERE.parents[1] / "docs/operating"
        pages = [documents / "monitoring.md", *documents.glob("runbooks/*.md")]
        for text in [*(page.read_text() for page in pages), *(panel["description"] for panel in self.each_panel())]:
            for title in re.findall(r'“([^”]*\?)”|"([A-Z][^"]*\?)"', text):
                self.assertIn(" ".join("".join(title).split()), titles)

    def test_the_data_source_is_the_one_that_is_provisioned(self):
        settings = (MONITORING / "grafana/provisioning/datasources/tailrace.yml").read_text()
        for board in boards().values():
            chosen = board["templating"]["list"][0]["current"]
            self.assertIn(f"uid: {chosen['value']}\n", settings)
            self.assertIn(f"name: {chosen['text']}\n", settings)

    def test_each_metric_exists_and_is_no_old_one(self):
        known, old = documented(), old_names()
        for where, text in [*expressions(), *rule_expressions()]:
            with self.subTest(where=where):
                for name in names_in(text):
                    if ":" not in name and name not in OF_PROMETHEUS:
                        self.assertNotIn(name, old, "an old name")
                        self.assertIn(metric_of(name, known), known, f"not in docs/reference/metrics.md: {text}")

    def test_each_value_of_a_label_exists(self):
        known, values = documented(), values_of_labels()
        for where, text in [*expressions(), *rule_expressions()]:
            for name, label, asked in matched_values(text):
                metric = metric_of(metric_recorded(name, known), known)
                if label in values.get(metric, {}):
                    with self.subTest(where=where, metric=metric, label=label):
                        self.assertLessEqual(set(asked), values[metric][label], "not in docs/reference/metrics.md")

    def test_rules_and_panels_of_writes_have_all_kinds_of_writes(self):
        values = values_of_labels()
        kinds, writes = values[REQUESTS]["kind"], values[RECORDS]["kind"] - OF_OPERATORS
        self.assertEqual(kinds, writes | READS | OF_OPERATORS, "a new kind belongs to one of the three")
        lists = [(where, set(asked)) for where, text in [*expressions(), *rule_expressions()]
                 for name, label, asked in matched_values(text)
                 if label == "kind" and "tailrace_rpc_" in name and len(asked) > 1]
        self.assertGreater(len(lists), 10)
        for where, asked in lists:
            with self.subTest(where=where):
                self.assertIn(asked, (writes, READS - {"tail"}, writes | SHORT_READS, writes | READS))

    def test_each_metric_is_used_or_explained(self):
        known = documented()
        used = {metric_of(name, known) for _, text in [*expressions(), *rule_expressions()]
                for name in names_in(text)}
        explained = json.loads((MONITORING / "unused.json").read_text())
        self.assertEqual(set(explained), set(known) - used,
                         "deploy/monitoring/unused.json has exactly the metrics that no panel and no rule asks for")
        for name, reason in explained.items():
            self.assertGreater(len(reason), 20, name)


class NamesInExpressions(unittest.TestCase):
    def test_values_of_labels_are_those_that_a_matcher_names(self):
        self.assertEqual(
            list(matched_values('a{x="one",y=~"two|three",z=~"$node",u=~"f:.+"} / c:d_e:rate5m{w!="four"} > b{}')),
            [("a", "x", ["one"]), ("a", "y", ["two", "three"]), ("c:d_e:rate5m", "w", ["four"])])
        self.assertEqual(metric_recorded("c:d_e:rate5m", {"d_e_total"}), "d_e_total")
        self.assertEqual(metric_recorded("c:d_e:rate5m", {"d_e"}), "d_e")

    def test_what_is_a_name_and_what_is_not(self):
        for text, names in (
                ('sum by (node, le) (rate(a_total{x="y",z=~"b|c"}[5m]))', {"a_total"}),
                ("a{} / on (node) group_left () (b > bool 0) or vector(0)", {"a", "b"}),
                ("a:b:rate5m > 3 * c offset 5m unless d", {"a:b:rate5m", "c", "d"}),
                ('label_replace(up, "x", "$1", "y", "(.*)") == 1e3', {"up"})):
            found = names_in(text)
            self.assertEqual(found - {"5m"}, names, text)


if __name__ == "__main__":
    unittest.main()
