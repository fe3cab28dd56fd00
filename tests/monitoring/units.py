"""What unit an expression of PromQL has: it follows from the names of its metrics and from its functions.

A unit is a dictionary of powers: {"bytes": 1, "s": -1} is bytes a second, {"n": 1} a number of things, and {} a share.
A number in the text fits every unit (None).
"""
import re

# What is counted, by the metric: others may be `ops` or `cps`.
COUNTED = ((r"tailrace_(rpc|http)_requests_total|tailrace_http_closed_connections_total", {"reqps"}),
           (r"tailrace_rpc_reads_total|tailrace_kv_cold_reads_total", {"rps"}),
           (r"tailrace_rpc_request_stage_duration_seconds_count", {"wps"}))
ONLY_WRITES = 'kind=~"put|'
KEPT = {"increase", "abs", "clamp_min", "clamp_max", "predict_linear", "max_over_time", "min_over_time",
        "avg_over_time"}
AGGREGATIONS = {"sum", "max", "min", "avg", "topk", "bottomk"}
TOKEN = re.compile(r"""\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[a-zA-Z_:][\w:]*)|(?P<braces>\{[^}]*\})
                           |(?P<range>\[[^\]]*\])|(?P<sign>==|!=|>=|<=|[-+*/<>(),]))""", re.VERBOSE)
COMPARISONS = {"==", "!=", ">", "<", ">=", "<="}


class NoUnit(ValueError):
    """Two parts of an expression do not fit together, or its form is not known here."""


def of_metric(name):
    if name == "up" or name.endswith(("_info", "_ratio")):
        return {} if name.endswith("_ratio") else {"n": 1}
    bare = re.sub(r"_(total|sum|bucket)$", "", name)
    if name.endswith("_bucket"):
        return {"n": 1}
    if bare.endswith("_timestamp_seconds") or bare == "process_start_time_seconds":
        return {"moment": 1}
    for end, unit in (("_bytes", "bytes"), ("_seconds", "s")):
        if bare.endswith(end):
            return {unit: 1}
    return {"n": 1}


def product(one, other, sign):
    made = dict(one or {})
    for unit, power in (other or {}).items():
        made[unit] = made.get(unit, 0) + sign * power
    return {unit: power for unit, power in made.items() if power}


def same(one, other, text):
    """The unit of both. A number in the text takes the other's."""
    if one is not None and other is not None and one != other:
        raise NoUnit(f"{one} {text} {other}")
    return other if one is None else one


class Reader:
    """Reads an expression from the left. Each method takes what binds at least as strongly as it says."""

    def __init__(self, text):
        self.tokens, at = [], 0
        while text[at:].strip():
            found = TOKEN.match(text, at)
            if not found:
                raise NoUnit(f"not known: {text[at:]}")
            self.tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()
        self.at, self.histogram = 0, None

    def next(self):
        return self.tokens[self.at][1] if self.at < len(self.tokens) else None

    def take(self, wanted=None):
        kind, text = self.tokens[self.at]
        if wanted is not None and text != wanted:
            raise NoUnit(f"{text} where {wanted} should be")
        self.at += 1
        return kind, text

    def matching(self):
        """`on (…)`, `group_left (…)` and the like change no unit."""
        while self.next() in ("on", "ignoring", "group_left", "group_right", "bool"):
            if self.take()[1] != "bool" and self.next() == "(":
                while self.take()[1] != ")":
                    pass

    def whole(self):
        unit = self.alternatives()
        if self.next() is not None:
            raise NoUnit(f"{self.next()} is left over")
        return unit

    def alternatives(self):
        unit = self.filtered()
        while self.next() == "or":
            self.take()
            self.matching()
            unit = same(unit, self.filtered(), "or")
        return unit

    def filtered(self):
        unit = self.compared()
        while self.next() in ("and", "unless"):
            self.take()
            self.matching()
            self.compared()
        return unit

    def compared(self):
        unit = self.added()
        while self.next() in COMPARISONS:
            sign = self.take()[1]
            self.matching()
            other = self.added()
            unit = unit if other is None else same(unit, other, sign)
        return unit

    def added(self):
        unit = self.multiplied()
        while self.next() in ("+", "-"):
            sign = self.take()[1]
            self.matching()
            other = self.multiplied()
            if sign == "-" and unit == other == {"moment": 1}:
                unit = {"s": 1}
            elif (unit is None and other) or (other is None and unit):
                raise NoUnit(f"{unit} {sign} {other}: a number beside a unit")
            else:
                unit = same(unit, other, sign)
        return unit

    def multiplied(self):
        unit = self.signed()
        while self.next() in ("*", "/"):
            sign = self.take()[1]
            self.matching()
            other = self.signed()
            unit = None if unit is None and other is None else product(unit, other, 1 if sign == "*" else -1)
        return unit

    def signed(self):
        if self.next() in ("-", "+"):
            self.take()
        return self.single()

    def arguments(self):
        self.take("(")
        made = []
        while self.next() != ")":
            made.append(self.alternatives())
            if self.next() == ",":
                self.take()
        self.take(")")
        return made

    def single(self):
        kind, text = self.take()
        if text == "(":
            unit = self.alternatives()
            self.take(")")
            return unit
        if kind == "number":
            return None
        if kind != "name":
            raise NoUnit(f"{text} where a value should be")
        if text in AGGREGATIONS or text == "count":
            if self.next() in ("by", "without"):
                self.take()
                while self.take()[1] != ")":
                    pass
            made = self.arguments()
            return {"n": 1} if text == "count" else made[-1]
        return self.called(text) if self.next() == "(" else self.selected(text)

    def called(self, name):
        if name == "histogram_quantile":
            self.histogram = None
            self.arguments()
            if self.histogram is None:
                raise NoUnit("a quantile of no histogram")
            return of_metric(self.histogram.removesuffix("_bucket"))
        made = self.arguments()
        if name == "time":
            return {"moment": 1}
        if name == "vector":
            return None
        if name in ("rate", "irate", "deriv"):
            return product(made[0], {"s": 1}, -1)
        if name == "present_over_time":
            return {"n": 1}
        if name in KEPT:
            return made[0]
        raise NoUnit(f"the function {name} is not known here")

    def selected(self, name):
        if name.endswith("_bucket"):
            self.histogram = name
        while self.at < len(self.tokens) and (self.tokens[self.at][0] in ("braces", "range")
                                              or self.next() == "offset"):
            if self.take()[1] == "offset":
                self.take()
                if self.at < len(self.tokens) and re.fullmatch("[smhd]", self.tokens[self.at][1]):
                    self.take()
        return of_metric(name)


def unit_of(expression):
    unit = Reader(expression).whole()
    if unit is None:
        raise NoUnit("a number without a unit")
    # Seconds or bytes for each of something are seconds or bytes.
    return {name: power for name, power in unit.items() if name != "n" or power > 0}


def axes(expression):
    """The units of Grafana's that a panel of this expression may have."""
    unit = unit_of(expression)
    if unit == {"n": 1, "s": -1}:
        for pattern, names in COUNTED:
            found = re.search(rf"\b(?:{pattern})\b(\{{[^}}]*\}})?", expression)
            if found:
                return {"wps"} if ONLY_WRITES in expression and "|get" not in expression else names
        return {"ops", "cps"}
    known = (({"bytes": 1}, {"bytes"}), ({"bytes": 1, "s": -1}, {"binBps"}), ({"s": 1}, {"s"}),
             ({"n": 1}, {"none", "short"}), ({}, {"percentunit"}))
    for one, names in known:
        if unit == one:
            return names
    raise NoUnit(f"nothing shows {unit}")
