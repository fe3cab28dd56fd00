#!/usr/bin/env python3
"""Makes the pictures of docs/pictures/dashboards anew: a loaded cluster whose leader is lost and comes back, a real
Prometheus, and deploy/monitoring/pictures.py.

Usage: make_pictures.py TAILRACE [MINUTES] [DIRECTORY]
"""
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from live import ROOT, loaded, lose_the_leader  # noqa: E402

SCRAPE_SECONDS = 2
AWAY_SECONDS = 15
WARM_UP_SECONDS = 25


def main():
    minutes = float(sys.argv[2]) if len(sys.argv) > 2 else 5
    to = sys.argv[3:4] or [str(ROOT / "docs/pictures/dashboards")]
    with loaded(sys.argv[1], SCRAPE_SECONDS) as (cluster, server, _):
        time.sleep(WARM_UP_SECONDS)
        began = time.time()
        time.sleep(0.6 * 60 * minutes)
        lose_the_leader(cluster, AWAY_SECONDS)
        time.sleep(max(0, began + 60 * minutes - time.time()))
        return subprocess.run(
            [sys.executable, ROOT / "deploy/monitoring/pictures.py", "--prometheus", server.address, "--minutes",
             str(minutes), "--scrape", str(SCRAPE_SECONDS), "--to", *to], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
