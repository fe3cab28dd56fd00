#!/usr/bin/env python3
"""Fails when a C++ file is not laid out as .clang-format says. CTest runs it under the label `lint`;
`clang-format -i FILE…` mends what it names. Other versions of clang-format break lines elsewhere, so the one
of Debian 12 decides."""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAJOR = 14
AT_ONCE = 40


def wrong_of(files):
    """The files among these that would be changed."""
    done = subprocess.run(["clang-format", "--dry-run", "--Werror", *files], cwd=ROOT,
                          capture_output=True, text=True)
    return sorted(set(re.findall(r"^(\S+?):\d+:\d+: error:", done.stderr, re.MULTILINE)))


def main():
    try:
        version = subprocess.run(["clang-format", "--version"], capture_output=True, text=True).stdout
    except FileNotFoundError:
        version = ""
    if f"version {MAJOR}." not in version:
        print(f"format: clang-format {MAJOR} is needed (scripts/setup installs it), found: {version or 'none'}")
        return 1
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "*.h", "*.cc"],
                            capture_output=True, text=True)
    files = listed.stdout.split()
    if not files:
        print("format: not a git checkout: nothing is checked")
        return 0
    pieces = [files[at:at + AT_ONCE] for at in range(0, len(files), AT_ONCE)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        wrong = [name for found in pool.map(wrong_of, pieces) for name in found]
    for name in wrong:
        print(f"{name}: not laid out by .clang-format; run: clang-format -i {name}")
    print(f"format: {len(files)} files, {len(wrong)} to be laid out anew")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
