#!/usr/bin/env python3
"""The dashboards' JSON is of the types that Grafana publishes (@grafana/schema), by TypeScript's compiler. Both
come from the npm registry into the build directory, in the versions of schema/package-lock.json.

Usage: schema_test.py BUILD_DIRECTORY
"""
import json
import pathlib
import shutil
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
DASHBOARDS = HERE.parents[1] / "deploy/monitoring/grafana/dashboards"
BUILD = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 else "schema")
OPTIONS = {"compilerOptions": {"strict": True, "noEmit": True, "skipLibCheck": True, "module": "esnext",
                               "moduleResolution": "node10", "target": "es2022", "types": []},
           "include": ["*.ts"]}


def installed():
    """Whether what stands in the build directory is what the lock says."""
    lock = BUILD / "installed-lock.json"
    return lock.exists() and lock.read_text() == (HERE / "schema/package-lock.json").read_text()


def install():
    for name in ("package.json", "package-lock.json", "types.ts"):
        shutil.copy(HERE / "schema" / name, BUILD / name)
    if installed():
        return
    done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=BUILD, text=True,
                          capture_output=True, timeout=300)
    if done.returncode != 0:
        raise unittest.SkipTest(f"NOT TESTED: npm could not install: {(done.stderr or done.stdout).strip()[-500:]}")
    shutil.copy(HERE / "schema/package-lock.json", BUILD / "installed-lock.json")


def check(**boards):
    """What the compiler finds wrong."""
    for old in BUILD.glob("board_*.ts"):
        old.unlink()
    for name, board in boards.items():
        (BUILD / f"board_{name}.ts").write_text(
            f"import type {{ Whole }} from './types';\nexport const {name}: Whole = {json.dumps(board, indent=1)};\n")
    (BUILD / "tsconfig.json").write_text(json.dumps(OPTIONS))
    done = subprocess.run(["node", "node_modules/typescript/bin/tsc", "-p", "."], cwd=BUILD, text=True,
                          capture_output=True, timeout=300)
    return done.stdout + done.stderr


class Schema(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for program in ("node", "npm"):
            if shutil.which(program) is None:
                raise unittest.SkipTest(f"NOT TESTED: there is no {program} on this machine")
        BUILD.mkdir(parents=True, exist_ok=True)
        install()
        cls.boards = {file.stem: json.loads(file.read_text()) for file in DASHBOARDS.glob("*.json")}

    def test_each_dashboard_is_of_the_published_type(self):
        self.assertEqual(check(**self.boards), "")

    def test_what_is_not_of_the_type_is_found(self):
        changes = {"options": {"options": {"legend": {}}}, "unknown": {"unknown": 1}, "kind": {"type": "graph"},
                   "place": {"gridPos": {"x": 0}}}
        boards = {}
        for name, change in changes.items():
            boards[name] = json.loads(json.dumps(self.boards["overview"]))
            next(panel for panel in boards[name]["panels"] if panel["type"] == "timeseries").update(change)
        found = check(**boards)
        for name in changes:
            self.assertIn(f"board_{name}.ts", found)


if __name__ == "__main__":
    unittest.main()
