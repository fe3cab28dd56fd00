#!/usr/bin/env python3
"""Writes the dashboards of grafana/dashboards from panels/. Run it after each change there;
tests/monitoring/dashboards_test.py fails while the files differ.

Usage: dashboards.py [DIRECTORY]
"""
import pathlib
import sys

sys.dont_write_bytecode = True
from panels import node, overview, replication, requests, storage  # noqa: E402
from panels.parts import text_of  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
DASHBOARDS = {"overview": overview, "node": node, "replication": replication, "storage": storage,
              "requests": requests}


def files():
    """{file name: text}"""
    return {f"{name}.json": text_of(module.made()) for name, module in DASHBOARDS.items()}


def main():
    directory = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "grafana/dashboards"
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (directory / name).write_text(text)
        print(f"dashboards: {directory / name}")


if __name__ == "__main__":
    main()
