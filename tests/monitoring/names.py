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


def values_of_labels():
    """{metric: {label: its values}} of the page's first table. A label whose values are in capitals may have any."""
    found = {}
    for name, cell in re.findall(r"^\| `(\w+)` \| (?:counter|gauge|histogram) \| ([^|]*) \|", PAGE.read_text(),
                                 re.MULTILINE):
        labels = {label: set(values.split(", ")) for label, values in re.findall(r"`(\w+)`: ([^;]+)", cell)}
        found[name] = {label: values for label, values in labels.items()
                       if not any(re.search("[A-Z]", value) for value in values)}
    return found


def matched_values(expression):
    """(metric, label, [value]) of each matcher in braces that names values, not a pattern or a variable."""
    for name, matchers in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expression):
        for label, text in re.findall(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"', matchers):
            if re.fullmatch(r"[\w|]+", text):
                yield name, label, text.split("|")


def metric_recorded(name, known):
    """The metric of a recording rule's name, whose middle part it is; `_total` is left out there."""
    parts = name.split(":")
    if len(parts) != 3:
        return name
    return parts[1] if parts[1] in known else parts[1] + "_total"


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
