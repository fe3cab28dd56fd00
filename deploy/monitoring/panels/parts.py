"""What all dashboards share: queries, panels, rows on Grafana's grid, and the frame around them.

Expressions are written short: `{@}` selects the chosen cluster and nodes, `{@,kind="put"}` also a label,
`[@]` is the range of a rate.
"""
import json

DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Another job may scrape the nodes, too. One cluster is chosen, whose name is no pattern.
JOB = 'job="tailrace"'
SELECTED = JOB + ',cluster="$cluster",node=~"$node"'
COLUMNS = 24
SCHEMA_VERSION = 39  # Grafana 10.4 and newer
WRITES = 'kind=~"put|delete|add|cas|append|expire|txn"'
READS = 'kind=~"get|mget|scan|read_stream|list_streams"'
DATA = 'kind=~"put|delete|add|cas|expire|append|txn|get|mget|scan|read_stream|list_streams|tail"'
# What the cluster is to blame for, as recording.rules.yml has it: also writes that are refused because there is no room.
FAILED = ('result!="elsewhere",'
          'code=~"unknown_outcome|timed_out|would_block|resource_exhausted|corruption|io|unavailable"')
NOT_OK = 'result!="ok"'
# Without the answers that send a client to another node: it asks there.
ANSWERED = 'result!~"not_leader|elsewhere"'
NODE = "node {{node}}"

GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "#8e8e8e"
PURPLE, ORANGE = "purple", "orange"


def expand(text):
    return text.replace("{@", "{" + SELECTED).replace("[@]", "[$__rate_interval]")


def rate(metric, by="node", where=""):
    """The sum of the rates by some labels."""
    selector = "{@," + where + "}" if where else "{@}"
    return f"sum by ({by}) (rate({metric}{selector}[@]))" if by else f"sum(rate({metric}{selector}[@]))"


def quantile(share, histogram, by="", where=""):
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, {rate(histogram + '_bucket', labels, where)})"


def mean(histogram, by="", where=""):
    return f"{rate(histogram + '_sum', by, where)} / {rate(histogram + '_count', by, where)}"


def largest(expression):
    """The largest by node."""
    return f"max by (node) ({expression})"


def of_one_node(series, chosen_by):
    """A gauge of the one node where `chosen_by` is largest: several of them belong together then."""
    return f"max({series} and on (node) topk(1, max by (node) ({chosen_by})))"


def told_by_leader(series):
    """What the leader tells: of several nodes that think they lead, the one with the highest epoch."""
    return (f"{series} and on (cluster, node) topk by (cluster) (1, tailrace_replication_epoch{{@}} "
            "and on (cluster, node) tailrace_replication_serving{@} == 1)")


def texts(**named):
    """A mapping of values: texts(_1=("leads", GREEN)) shows 1 as `leads` in green."""
    options = {name.lstrip("_"): {"text": text, "color": color, "index": index}
               for index, (name, (text, color)) in enumerate(named.items())}
    return [{"type": "value", "options": options}]


YES_IS_GOOD = texts(_1=("yes", GREEN), _0=("no", RED))
YES_IS_BAD = texts(_1=("yes", RED), _0=("no", GREEN))


def steps(first, *more):
    """Colours from values on: steps(GREEN, (0.8, YELLOW), (0.95, RED))."""
    return {"mode": "absolute", "steps": [{"value": None, "color": first}]
            + [{"value": value, "color": color} for value, color in more]}


def fixed(name, color):
    """One series in one colour."""
    return {"matcher": {"id": "byName", "options": name},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}]}


class Panel:
    """A question, and what answers it. `targets` are pairs of expression and legend."""

    def __init__(self, kind, question, shows, normal, act, unit, targets, width=8, height=8, **more):
        self.kind, self.question, self.unit = kind, question, unit
        self.description = f"{shows}\n\n**Normal:** {normal}\n\n**If not:** {act}"
        self.targets, self.width, self.height, self.more = targets, width, height, more

    def options(self):
        values = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        legend = {"calcs": self.more.get("calcs", []), "displayMode": "table" if "calcs" in self.more else "list",
                  "placement": "bottom", "showLegend": True}
        tooltip = {"mode": "multi", "sort": "none" if self.more.get("stacked") else "desc"}
        return {
            "timeseries": {"legend": legend, "tooltip": tooltip},
            "state-timeline": {"alignValue": "left", "mergeValues": True, "rowHeight": 0.8, "showValue": "auto",
                               "legend": legend, "tooltip": {"mode": "single", "sort": "none"}},
            "stat": {"colorMode": "value", "graphMode": self.more.get("graph", "area"), "justifyMode": "auto",
                     "orientation": "auto", "reduceOptions": values, "showPercentChange": False,
                     "textMode": self.more.get("text", "auto"), "wideLayout": True},
            "bargauge": {"displayMode": "basic", "maxVizHeight": 300, "minVizHeight": 12, "minVizWidth": 8,
                         "namePlacement": "left", "orientation": "horizontal", "reduceOptions": values,
                         "showUnfilled": True, "sizing": "auto", "valueMode": "color"},
            "table": {"cellHeight": "sm", "frameIndex": 0, "showHeader": True,
                      "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": []}},
        }[self.kind]

    def custom(self):
        stacked = self.more.get("stacked", False)
        return {
            "timeseries": {"drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1,
                           "fillOpacity": 60 if stacked else self.more.get("fill", 5), "showPoints": "never",
                           "spanNulls": False, "axisPlacement": "auto", "axisLabel": "",
                           "scaleDistribution": {"type": "log", "log": 2 if self.unit == "bytes" else 10}
                           if self.more.get("log")
                           else {"type": "linear"},
                           "stacking": {"mode": "normal" if stacked else "none", "group": "A"}},
            "state-timeline": {"fillOpacity": 80, "lineWidth": 0},
        }.get(self.kind, {})

    def defaults(self):
        color = {"mode": "palette-classic" if self.kind == "timeseries" else "thresholds"}
        made = {"color": color, "custom": self.custom(), "mappings": self.more.get("mappings", []),
                "thresholds": self.more.get("thresholds", steps(BLUE if self.kind == "stat" else GREEN)),
                "unit": self.unit}
        for name, key in (("least", "min"), ("most", "max"), ("none", "noValue"), ("decimals", "decimals")):
            if self.more.get(name) is not None:
                made[key] = self.more[name]
        return made

    def json(self, number, x, y):
        at_once = self.kind in ("table", "bargauge") or self.more.get("instant", False)
        made = {"id": number, "type": self.kind, "title": self.question, "description": self.description,
                "datasource": DATA_SOURCE, "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
                "fieldConfig": {"defaults": self.defaults(), "overrides": self.more.get("overrides", [])},
                "options": self.options(), "targets": [
                    {"refId": chr(ord("A") + index), "datasource": DATA_SOURCE, "editorMode": "code",
                     "expr": expand(expression), "legendFormat": legend, "instant": at_once,
                     "range": not at_once, "format": "table" if self.kind == "table" else "time_series"}
                    for index, (expression, legend) in enumerate(self.targets)]}
        if "transformations" in self.more:
            made["transformations"] = self.more["transformations"]
        return made


def graph(*arguments, **more):
    return Panel("timeseries", *arguments, **{"least": 0, **more})


def number(*arguments, **more):
    return Panel("stat", *arguments, **{"width": 4, "height": 4, **more})


def states(*arguments, **more):
    return Panel("state-timeline", *arguments, **{"width": 12, **more})


def bars(*arguments, **more):
    return Panel("bargauge", *arguments, **{"least": 0, **more})


def table(*arguments, columns, hidden=(), **more):
    """`columns`: what the labels and `Value #A` … are called, in this order."""
    transformations = [{"id": "merge", "options": {}}, {"id": "organize", "options": {
        "excludeByName": dict.fromkeys(("Time", *hidden), True), "renameByName": dict(columns),
        "indexByName": {name: index for index, name in enumerate(columns)}}}]
    return Panel("table", *arguments, **{"transformations": transformations, **more})


def placed(rows):
    """All panels with their numbers and places. `rows` are pairs of a heading and its panels."""
    made, y = [], 0
    for heading, panels in rows:
        made.append({"id": len(made) + 1, "type": "row", "title": heading, "collapsed": False, "panels": [],
                     "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1}})
        y, x, tallest = y + 1, 0, 0
        for panel in panels:
            if x + panel.width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            made.append(panel.json(len(made) + 1, x, y))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return made


def variables():
    def query(name, label, text, **more):
        return {"name": name, "label": label, "type": "query", "datasource": DATA_SOURCE, "hide": 0,
                "query": {"query": text, "refId": name}, "refresh": 2, "sort": 3, "skipUrlSync": False, **more}

    every = {"text": ["All"], "value": ["$__all"], "selected": True}
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0,
         "refresh": 1, "multi": False, "includeAll": False, "skipUrlSync": False,
         "current": {"text": "Tailrace", "value": "tailrace-prometheus", "selected": True}},
        query("cluster", "Cluster", f"label_values(up{{{JOB}}}, cluster)", multi=False, includeAll=False),
        query("node", "Node", f'label_values(up{{{JOB},cluster="$cluster"}}, node)', multi=True, includeAll=True,
              current=every)]


def annotations():
    def of(name, color, expression, legend):
        return {"name": name, "enable": True, "hide": False, "iconColor": color, "datasource": DATA_SOURCE,
                "target": {"refId": "Anno", "datasource": DATA_SOURCE, "expr": expand(expression),
                           "legendFormat": legend, "instant": False, "range": True}}

    return [of("A node became the leader", PURPLE,
               "sum by (node) (increase(tailrace_replication_elections_won_total{@}[@])) > 0", NODE),
            of("A node started", BLUE,
               # At its first scrape, however long the start took: one interval before, Prometheus knew no such process.
               "time() - max by (node) (process_start_time_seconds{@}) < 3600 unless max by (node) "
               "(process_start_time_seconds{@}) == max by (node) (process_start_time_seconds{@} offset $__interval)",
               NODE)]


def dashboard(name, title, description, rows):
    links = [{"type": "dashboards", "title": "Tailrace", "tags": ["tailrace"], "asDropdown": False, "icon": "",
              "includeVars": True, "keepTime": True, "targetBlank": False, "tooltip": "", "url": ""}]
    return {"uid": f"tailrace-{name}", "title": title, "description": description, "tags": ["tailrace"],
            "schemaVersion": SCHEMA_VERSION, "version": 1, "editable": True, "fiscalYearStartMonth": 0,
            "graphTooltip": 1, "liveNow": False, "refresh": "10s", "timezone": "browser", "weekStart": "",
            "time": {"from": "now-30m", "to": "now"}, "timepicker": {}, "links": links,
            "annotations": {"list": annotations()}, "templating": {"list": variables()}, "panels": placed(rows)}


def text_of(made):
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"
