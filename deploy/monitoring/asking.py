"""Asks a Prometheus server what the panels of a dashboard ask, with the variables filled in as Grafana does."""
import json
import math
import urllib.error
import urllib.parse
import urllib.request


def filled_in(expression, scrape_seconds, range_seconds, cluster):
    """The expression with a value for each variable; all nodes of the cluster."""
    values = {"$__rate_interval": f"{max(1, round(4 * scrape_seconds))}s",
              "$__interval_ms": str(round(1000 * scrape_seconds)), "$__interval": f"{max(1, round(scrape_seconds))}s",
              "$__range": f"{max(1, round(range_seconds))}s", "$cluster": cluster, "$node": ".*"}
    for name, value in values.items():
        expression = expression.replace(name, value)
    return expression


class Prometheus:
    def __init__(self, address):
        self.address = address.rstrip("/")

    def ask(self, path, **parameters):
        """The data of an answer; ValueError with the server's words when it is none."""
        body = urllib.parse.urlencode(parameters).encode() if parameters else None
        request = urllib.request.Request(f"{self.address}/api/v1/{path}", data=body)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{error.code}: {error.read().decode(errors='replace')}") from error

    def now(self, expression, at=None):
        """[(labels, value)] at one moment."""
        more = {} if at is None else {"time": at}
        data = self.ask("query", query=expression, **more)
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(one["metric"], float(one["value"][1])) for one in data["result"]]

    def over(self, expression, start, end, step):
        """[(labels, {time: value})]; a value that is not a number is left out."""
        data = self.ask("query_range", query=expression, start=start, end=end, step=step)
        made = []
        for one in data["result"]:
            points = {float(time): float(value) for time, value in one["values"]}
            made.append((one["metric"], {time: value for time, value in points.items() if math.isfinite(value)}))
        return made
