"""The rule files of deploy/monitoring/prometheus: what stands in them, and copies whose times are shorter.

They are read as text, because Python has no YAML of its own. A form that this does not know fails.
"""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIRECTORY = ROOT / "deploy/monitoring/prometheus"
# As they are read: those of the cluster first.
FILES = [DIRECTORY / f"{name}.rules.yml" for name in ("recording", "alerts", "alerts-node")]

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")


class Alert:
    """One alert: name (without Tailrace), file, severity, hold (its `for`), expression, annotations."""

    def __init__(self, file, text):
        self.file = file
        self.name = self._one(text, r"alert: Tailrace(\w+)\n")
        self.severity = self._one(text, r"\n        labels: \{severity: (page|ticket)\}\n")
        self.hold = (re.findall(r"\n        for: (\S+)\n", text) or ["0s"])[0]
        self.expression = _folded(self._one(
            text, r"\n        expr: (.*?)\n        (?:for|labels):", re.DOTALL))
        self.summary = self._one(text, r'\n          summary: "(.*)"\n')
        self.description = _folded(self._one(
            text, r"\n          description: >-\n(.*?)\n          runbook_url:", re.DOTALL))
        self.runbook = self._one(text, r"\n          runbook_url: (\S+)\n")

    @staticmethod
    def _one(text, pattern, flags=0):
        found = re.findall(pattern, text, flags)
        if len(found) != 1:
            raise ValueError(f"{len(found)} instead of one of {pattern!r} in:\n{text}")
        return found[0]

    @property
    def page(self):
        """The name of its runbook's file: FollowerLag is in follower-lag.md."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", self.name).lower() + ".md"


def _folded(text):
    return " ".join(text.removeprefix("|").split())


def alerts():
    """All alerts by name, in the order of the files."""
    found = [Alert(file, "alert: " + text + "\n") for file in FILES
             for text in re.split(r"\n      - alert: ", "\n" + file.read_text())[1:]]
    if len({alert.name for alert in found}) != len(found):
        raise ValueError("two alerts have one name")
    return {alert.name: alert for alert in found}


def records():
    """The names of the recording rules."""
    return {name for file in FILES for name in re.findall(r"^      - record: (\S+)$", file.read_text(), re.MULTILINE)}


def expressions():
    """The expression of each rule."""
    for file in FILES:
        for text in re.findall(r"\n        expr: (.*?)(?=\n        \w|\n      - |\n      #|\n  - |\Z)",
                               file.read_text(), re.DOTALL):
            yield _folded(text)


def metrics_in(expression):
    """The names of metrics, of recording rules too, that an expression asks for. Keywords, functions and labels
    fall out by their place: a metric is followed by neither a bracket nor an operator of a matcher."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}", "", bare)
    bare = re.sub(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    return set(re.findall(r"(?<![\w:])(?:\w+:)?(?:tailrace|process)_\w+(?::\w+)?(?![\w:])|(?<![\w:])up(?![\w:])", bare))


def seconds_of(duration):
    return sum(int(number) * _UNITS[unit] for number, unit in _DURATION.findall(duration))


def scaled(text, factor, least_range=2.0, least_hold=1.0):
    """A rule file in which time passes `factor` times as fast: each `for:`, range and offset is so much shorter, and
    so is the horizon of predict_linear. A range keeps `least_range` seconds, so that it has samples, and a `for:`
    `least_hold`. Thresholds in seconds stay as they are: they are about nodes, whose own times are not scaled. So
    does a window in the name of a recording rule."""
    def shorter(duration, least):
        return f"{round(max(seconds_of(duration) / factor, least) * 1000)}ms"

    text = re.sub(r"\[(\w+)\]", lambda m: f"[{shorter(m[1], least_range)}]", text)
    text = re.sub(r"\boffset (\w+)", lambda m: f"offset {shorter(m[1], least_range)}", text)
    text = re.sub(r"(?m)^( +for: )(\w+)$", lambda m: m[1] + shorter(m[2], least_hold), text)
    return re.sub(r"(predict_linear\([^)]*, )(\d+) \* (\d+)\)",
                  lambda m: f"{m[1]}{int(m[2]) * int(m[3]) / factor})", text)
