"""The names of metrics: those that the page of metrics has, and those in expressions of PromQL."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/reference/metrics.md"
# What Prometheus itself adds to each scrape, and to alerts.
OF_PROMETHEUS = {"up", "ALERTS", "ALERTS_FOR_STATE"}
# Words of PromQL that stand where a name could. A function has its bracket after it.
WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "bool", "offset",
         "inf", "nan", "start", "end", "atan2"}


def documented():
    """{name: type} of the page's first table."""
    return dict(re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram) \|", PAGE.read_text(), re.MULTILINE))


def old_names():
    """Those of its table of names that are told for one more release: no type stands beside them."""
    return set(re.findall(r"^\| `(\w+)` \| (?!counter \||gauge \||histogram \|)", PAGE.read_text(), re.MULTILINE))


def names_in(expression):
    """The metrics that an expression asks for. What stands in braces, brackets and quotes is none, nor are the
    labels of `by (…)` and the like."""
    text = re.sub(r'"(?:[^"\\]|\\.)*"', "", expression)
    text = re.sub(r"#.*", "", text)
    text = re.sub(r"\{[^}]*\}", " ", text)
    text = re.sub(r"\[[^\]]*\]", " ", text)
    text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", r" ", text)
    found = set(re.findall(r"(?<![\w.:$])([a-zA-Z_:][\w:]*)\b(?!\s*\()", text))
    return {name for name in found if name.lower() not in WORDS}


def metric_of(name, known):
    """The metric that a series belongs to: histograms have three series."""
    for end in ("_bucket", "_sum", "_count"):
        if name.endswith(end) and known.get(name[:-len(end)]) == "histogram":
            return name[:-len(end)]
    return name
