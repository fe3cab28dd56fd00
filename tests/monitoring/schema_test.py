#!/usr/bin/env python3
"""The dashboards' JSON is of the types that Grafana publishes (@grafana/schema), by TypeScript's compiler. Both
come from the npm registry into the build directory, in the versions and with the digests of
schema/package-lock.json. Three packages without scripts need no npm, which is 350 packages of Debian.

Usage: schema_test.py BUILD_DIRECTORY
"""
import base64
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import unittest
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
DASHBOARDS = HERE.parents[1] / "deploy/monitoring/grafana/dashboards"
BUILD = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 else "schema")
OPTIONS = {"compilerOptions": {"strict": True, "noEmit": True, "skipLibCheck": True, "module": "esnext",
                               "moduleResolution": "node10", "target": "es2022", "types": []},
           "include": ["*.ts"]}


REGISTRY = os.environ.get("npm_config_registry", "https://registry.npmjs.org/").rstrip("/")


def installed():
    """Whether what stands in the build directory is what the lock says."""
    lock = BUILD / "installed-lock.json"
    return lock.exists() and lock.read_text() == (HERE / "schema/package-lock.json").read_text()


def install():
    for name in ("package.json", "package-lock.json", "types.ts"):
        shutil.copy(HERE / "schema" / name, BUILD / name)
    if installed():
        return
    shutil.rmtree(BUILD / "node_modules", ignore_errors=True)
    for place, package in json.loads((HERE / "schema/package-lock.json").read_text())["packages"].items():
        if place:
            unpack(fetch(place.removeprefix("node_modules/"), package), BUILD / place)
    shutil.copy(HERE / "schema/package-lock.json", BUILD / "installed-lock.json")


def fetch(name, package):
    """The package's archive; what differs from the lock is an error, no network a test that is skipped."""
    url = f"{REGISTRY}/{name}/-/{name.split('/')[-1]}-{package['version']}.tgz"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            archive = answer.read()
    except OSError as error:
        raise unittest.SkipTest(f"NOT TESTED: {url} cannot be had: {error}")
    algorithm, _, digest = package["integrity"].partition("-")
    found = base64.b64encode(hashlib.new(algorithm, archive).digest()).decode()
    if found != digest:
        raise AssertionError(f"{url} has the digest {found}; package-lock.json says {digest}")
    return archive


def unpack(archive, place):
    """What stands in the archive below its one folder."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        for member in files.getmembers():
            parts = pathlib.PurePosixPath(member.name).parts[1:]
            if not member.isfile() or ".." in parts:
                continue
            target = place.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(files.extractfile(member).read())


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
        if shutil.which("node") is None:
            raise unittest.SkipTest("NOT TESTED: there is no node on this machine")
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
