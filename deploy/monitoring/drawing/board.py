"""Draws a whole dashboard: each panel in its place, with what the server answered to its questions."""
import re
import time

from drawing import charts
from drawing.svg import (FAINT, GROUND, INK, LINES, PANEL, box, color_of, cut, line, number, width_of, words,
                         wrapped)
from drawing.units import shown

WIDTH, COLUMN, UNIT, GAP, HEAD = 1200, 49.5, 27, 3, 58
FONT = "system-ui, 'DejaVu Sans', sans-serif"


def named(legend, labels):
    if legend:
        return re.sub(r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), legend)
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) or "value"


class Drawn:
    """One panel. `answers` has for each target what Prometheus said: [(labels, {time: value})]."""

    def __init__(self, panel, answers, start, end, step, events):
        self.panel, self.answers, self.step = panel, answers, step
        self.defaults = panel["fieldConfig"]["defaults"]
        self.custom, self.unit = self.defaults.get("custom", {}), self.defaults["unit"]
        place = panel["gridPos"]
        self.frame = charts.Frame(6 + place["x"] * COLUMN + GAP, HEAD + place["y"] * UNIT + GAP,
                                  place["w"] * COLUMN - 2 * GAP, place["h"] * UNIT - 2 * GAP, start, end, events)

    def overridden(self, name, wanted):
        for one in self.panel["fieldConfig"]["overrides"]:
            matcher = one["matcher"]
            fits = (re.fullmatch(matcher["options"], name) if matcher["id"] == "byRegexp"
                    else matcher["options"] == name)
            for each in one["properties"] if fits else ():
                if each["id"] == wanted:
                    return each["value"]
        return None

    def series(self):
        """(name, color, points, dashed) of all targets; the names in order within a target."""
        made = []
        for target, answer in zip(self.panel["targets"], self.answers):
            for labels, points in sorted(answer, key=lambda one: named(target["legendFormat"], one[0])):
                name = named(target["legendFormat"], labels)
                color = self.overridden(name, "color")
                made.append((name, color_of(color["fixedColor"]) if color else charts.color_by(len(made)), points,
                             self.overridden(name, "custom.lineStyle") is not None))
        return [one for one in made if one[2]]

    def last_values(self):
        return [(name, points[max(points)]) for name, _, points, _ in self.series()]

    def color_at(self, value):
        found = "blue"
        for step in self.defaults["thresholds"]["steps"]:
            if step["value"] is None or value >= step["value"]:
                found = step["color"]
        return color_of(found)

    def look(self, value):
        """Text and color of a value, by the mappings or by unit and thresholds."""
        for mapping in self.defaults["mappings"]:
            option = mapping["options"].get(f"{value:g}")
            if option:
                return option["text"], color_of(option["color"])
        return shown(value, self.unit), self.color_at(value)

    def draw(self):
        frame = self.frame
        size = 10.5 if self.panel["gridPos"]["w"] <= 4 else 12
        lines = wrapped(self.panel["title"], size, frame.width - 20)
        made = [box(frame.x, frame.y, frame.width, frame.height, PANEL, f' stroke="{LINES}" rx="3"')]
        for index, text in enumerate(lines):
            made.append(words(frame.x + 10, frame.y + 16 + 13 * index, text, size, INK, weight="600"))
        top = 13 * len(lines) + 12
        drawing = {"timeseries": self.graph, "state-timeline": self.states, "stat": self.numbers,
                   "bargauge": self.bars, "table": self.table}[self.panel["type"]]
        return made + drawing(top)

    def nothing(self):
        text = self.defaults.get("noValue", "no data")
        size = 15 if "noValue" in self.defaults else 12
        return [words(self.frame.x + self.frame.width / 2, self.frame.y + self.frame.height * 0.62, text, size, FAINT,
                      "middle")]

    def graph(self, top):
        series = self.series()
        if not series:
            return self.nothing()
        return charts.graph(self.frame, top, series, self.unit, self.step, self.defaults.get("min"),
                            self.defaults.get("max"), self.custom["scaleDistribution"].get("log", 0),
                            self.custom["stacking"]["mode"] == "normal")

    def states(self, top):
        series = self.series()
        return charts.states(self.frame, top, series, self.step, self.look) if series else self.nothing()

    def bars(self, top):
        values = self.last_values()
        if not values:
            return self.nothing()
        return charts.bars(self.frame, top, values, self.unit, self.defaults.get("max"), self.color_at)

    def numbers(self, top):
        series = self.series()
        if not series:
            return self.nothing()
        made, frame = [], self.frame
        room = frame.width / len(series)
        mode = self.panel["options"]["textMode"]
        for index, (name, _, points, _) in enumerate(series):
            text, color = self.look(points[max(points)])
            if mode == "name":
                text = name
            below = name if mode == "value_and_name" or (len(series) > 1 and mode != "name") else ""
            size = min(24, 22 * (room - 16) / max(1, 1.12 * width_of(text, 22)))
            x, y = frame.x + room * (index + 0.5), frame.y + (top + frame.height) / 2 + (2 if below else 6)
            made.append(words(x, y, text, size, color, "middle", "600"))
            if below:
                made.append(words(x, y + 17, cut(below, 10.5, room - 8), 10.5, FAINT, "middle"))
            elif self.panel["options"]["graphMode"] == "area" and len(points) > 2:
                strip = charts.Frame(frame.x + 8, frame.y + frame.height - 18, frame.width - 16, 14, frame.start,
                                     frame.end)
                made += charts.spark(strip, points, self.step, color)
        return made

    def table(self, top):
        columns, rows = merged_rows(self.panel, self.answers)
        if not rows:
            return self.nothing()
        made, frame = [], self.frame
        room = (frame.width - 16) / len(columns)
        for index, column in enumerate(columns):
            x, y = frame.x + 10 + room * index, frame.y + top + 8
            made.append(words(x, y, cut(column, 10.5, room - 8), 10.5, FAINT, weight="600"))
            for row in rows:
                y += 20
                value = row.get(column, "–")
                if not isinstance(value, str):
                    value = shown(value, self.overridden(column, "unit") or self.unit)
                made.append(words(x, y, cut(value, 11, room - 8), 11))
        for index in range(len(rows)):
            y = frame.y + top + 14 + 20 * index
            made.append(line(frame.x + 8, y, frame.x + frame.width - 8, y))
        return made


def merged_rows(panel, answers):
    """(names of columns, rows) as Grafana's `merge` and `organize` make them."""
    organize = panel["transformations"][1]["options"]
    hidden, names = organize["excludeByName"], organize["renameByName"]
    rows = []
    for target, answer in zip(panel["targets"], answers):
        value_name = "Value" if len(panel["targets"]) == 1 else f"Value #{target['refId']}"
        for labels, points in answer:
            fields = {**labels, value_name: points[max(points)]}
            row = next((one for one in rows if value_name not in one
                        and all(one.get(key, value) == value for key, value in labels.items())), None)
            if row is None:
                rows.append(fields)
            else:
                row.update(fields)
    rows.sort(key=lambda row: str(row.get("node", "")))
    shown_rows = [{names.get(key, key): value for key, value in row.items() if key not in hidden} for row in rows]
    return [name for key, name in names.items() if any(key in row for row in rows)], shown_rows


def picture(dashboard, panels, start, end, events):
    """The SVG text. `panels` are Drawn."""
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    height = HEAD + bottom * UNIT + 8
    moments = [time.strftime(pattern, time.gmtime(moment))
               for pattern, moment in (("%Y-%m-%d %H:%M", start), ("%H:%M UTC", end))]
    made = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {number(height)}" width="{WIDTH}" '
            f'height="{number(height)}" role="img" font-family="{FONT}" fill="none">',
            f"<title>{dashboard['title']}</title>", box(0, 0, WIDTH, height, GROUND),
            words(12, 26, dashboard["title"], 18, INK, weight="600"),
            words(12, 46, dashboard["description"], 12, FAINT),
            words(WIDTH - 12, 26, " to ".join(moments), 12, FAINT, "end")]
    x = WIDTH - 12
    for name, color in reversed(events):
        made.append(words(x, 46, name, 11, FAINT, "end"))
        x -= width_of(name, 11) + 12
        made.append(line(x, 37, x, 48, color, ' stroke-dasharray="3 2"'))
        x -= 16
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            y = HEAD + panel["gridPos"]["y"] * UNIT
            made.append(words(12, y + 19, panel["title"], 13.5, INK, weight="600"))
    for drawn in panels:
        made += drawn.draw()
    return "\n".join(made) + "\n</svg>\n"
