#!/usr/bin/env python3
"""Draws the dashboards as SVG files, from what a running Prometheus server knows.

Usage: pictures.py [--prometheus URL] [--cluster NAME] [--minutes N] [--scrape SECONDS] [--end UNIX_TIME]
                   [--to DIRECTORY] [DASHBOARD...]
"""
import argparse
import json
import pathlib
import sys
import time

sys.dont_write_bytecode = True
from asking import Prometheus, filled_in  # noqa: E402
from drawing.board import Drawn, picture  # noqa: E402
from drawing.svg import color_of  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
POINTS = 80  # of each line


def asked(server, panel, text, start, end, step):
    """What Prometheus says to each target of the panel."""
    made = []
    for target in panel["targets"]:
        expression = text(target["expr"])
        if target["instant"]:
            made.append([(labels, {end: value}) for labels, value in server.now(expression, end)])
        else:
            made.append(server.over(expression, start, end, step))
    return made


def events(server, dashboard, text, start, end, step):
    """(the moments at which something began, with its colour; the kinds of them)"""
    moments, kinds = [], []
    for one in dashboard["annotations"]["list"]:
        color = color_of(one["iconColor"])
        kinds.append((one["name"], color))
        for _, points in server.over(text(one["target"]["expr"]), start, end, step):
            moments += [(moment, color) for moment in sorted(points) if moment - step not in points]
    return moments, kinds


def draw(server, dashboard, options):
    start, end = options.end - 60 * options.minutes, options.end
    step = max(options.scrape, (end - start) / POINTS)
    end = start + step * int((end - start) / step)

    def text(expression):
        return filled_in(expression, options.scrape, end - start, options.cluster)

    moments, kinds = events(server, dashboard, text, start, end, step)
    panels = [Drawn(panel, asked(server, panel, text, start, end, step), start, end, step, moments)
              for panel in dashboard["panels"] if panel["type"] != "row"]
    return picture(dashboard, panels, start, end, kinds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--prometheus", default="http://localhost:9090", metavar="URL")
    parser.add_argument("--cluster", metavar="NAME", help="by default the first one that it knows")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--scrape", type=float, default=5, metavar="SECONDS", help="how often it scrapes")
    parser.add_argument("--end", type=float, default=time.time(), metavar="UNIX_TIME")
    parser.add_argument("--to", type=pathlib.Path, default=HERE.parents[1] / "docs/pictures/dashboards",
                        metavar="DIRECTORY")
    parser.add_argument("dashboards", nargs="*", metavar="DASHBOARD", help="by default all of them")
    options = parser.parse_args()
    server = Prometheus(options.prometheus)
    options.cluster = options.cluster or min(server.ask("label/cluster/values"), default="")
    options.to.mkdir(parents=True, exist_ok=True)
    for file in sorted((HERE / "grafana/dashboards").glob("*.json")):
        if options.dashboards and file.stem not in options.dashboards:
            continue
        target = options.to / f"{file.stem}.svg"
        target.write_text(draw(server, json.loads(file.read_text()), options))
        print(f"pictures: {target}, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
