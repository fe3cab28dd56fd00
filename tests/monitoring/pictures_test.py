#!/usr/bin/env python3
"""The pictures of the dashboards show the panels that there are, and are drawn as they should be."""
import json
import pathlib
import sys
import unittest
import xml.etree.ElementTree

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy/monitoring"))
from drawing import charts  # noqa: E402
from drawing.board import Drawn, picture  # noqa: E402
from drawing.units import powers, shown, ticks, time_ticks  # noqa: E402

PICTURES = ROOT / "docs/pictures/dashboards"
DASHBOARDS = ROOT / "deploy/monitoring/grafana/dashboards"
MOST_BYTES = 150_000


def words_of(svg):
    """All texts of a picture, one after the other."""
    return " ".join(text for element in xml.etree.ElementTree.fromstring(svg).iter()
                    for text in [(element.text or "").strip()] if text)


class Pictures(unittest.TestCase):
    def test_each_dashboard_has_a_picture_of_its_present_panels(self):
        """tests/monitoring/make_pictures.py makes them anew."""
        boards = {file.stem: json.loads(file.read_text()) for file in DASHBOARDS.glob("*.json")}
        self.assertEqual({file.stem for file in PICTURES.glob("*.svg")}, set(boards))
        for name, board in boards.items():
            svg = (PICTURES / f"{name}.svg").read_text()
            self.assertLess(len(svg.encode()), MOST_BYTES, name)
            shows = words_of(svg)
            for panel in board["panels"]:
                self.assertIn(panel["title"], shows, f"{name}: the picture is old")

    def test_a_panel_of_each_kind_is_drawn_also_without_data(self):
        answer = [({"node": "1"}, {time: float(time % 3) for time in range(100, 200)})]
        for file in DASHBOARDS.glob("*.json"):
            board = json.loads(file.read_text())
            for given in (answer, []):
                panels = [Drawn(panel, [given] * len(panel["targets"]), 100, 200, 1, [])
                          for panel in board["panels"] if panel["type"] != "row"]
                shows = words_of(picture(board, panels, 100, 200, [("An event", "#000000")]))
                self.assertIn("An event", shows)


class Drawing(unittest.TestCase):
    def test_numbers_have_their_units(self):
        for value, unit, text in ((0.00123, "s", "1.23 ms"), (90, "s", "1.5 min"), (1536, "bytes", "1.5 KiB"),
                                  (0, "binBps", "0 B/s"), (0.125, "percentunit", "12.5 %"), (0, "none", "0"),
                                  (12345, "reqps", "12.3k req/s"), (0.5, "suffix: cores", "0.5 cores"),
                                  (float("nan"), "s", "–")):
            self.assertEqual(shown(value, unit), text)

    def test_ticks_are_round(self):
        self.assertEqual(ticks(0, 1, "percentunit"), [0, 0.25, 0.5, 0.75, 1])
        self.assertEqual(ticks(0, 3 * 2**20, "bytes", 3), [0, 2**20, 2 * 2**20, 3 * 2**20])
        self.assertEqual(ticks(0, 300, "s"), [0, 120, 240])
        self.assertEqual(powers(0.001, 1, 10), [0.001, 0.01, 0.1, 1])
        self.assertEqual([text for _, text in time_ticks(0, 100, 5)], ["00:00:00", "00:00:30", "00:01:00", "00:01:30"])

    def test_gaps_and_stacks(self):
        self.assertEqual(charts.runs({1: 5, 2: 6, 4: 7}, 1), [[(1, 5), (2, 6)], [(4, 7)]])
        piled = charts.piled([("a", "", {1: 1, 2: 2}, False), ("b", "", {2: 3}, False)])
        self.assertEqual([points for _, _, points, _ in piled], [{1: 1, 2: 2}, {1: 1, 2: 5}])
        self.assertEqual(charts.merged([(1, 0), (2, 0), (3, 1)], 1), [[1, 3, 0], [3, 4, 1]])


if __name__ == "__main__":
    unittest.main()
