#!/usr/bin/env python3
"""Fails when a file includes a higher folder or a library kept to one folder, or names a place
outside this repository. Run from anywhere; CTest runs it under the label `lint`."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Lowest first. A folder below another one is named by itself where it has a place of its own.
ORDER = ["core", "net", "statemachine/txn", "statemachine/command", "json", "rpc/wire", "rpc/client", "observability", "http",
         "storage",
         "fasterlog/types", "fasterlog/time", "fasterlog/format", "fasterlog/engine", "fasterlog", "fasterlog/offline",
         "kv/types", "kv/log", "kv/index", "kv/engine", "kv/checkpoint", "kv",
         "statemachine/types", "statemachine/session", "statemachine/outcomes", "statemachine/streams", "statemachine",
         "history/types", "history/format", "history", "history/scavenge",
         "replication/types", "replication/protocol", "replication/copy", "replication",
         "rpc/peer", "rpc/server/measure", "rpc/server/streams", "rpc/server", "rpc/awaitables", "rpc/etcd", "rpc/history", "rpc", "config",
         "app/top", "app/cli", "app/verbs", "app/bench", "app/bench/service", "app/node", "app"]
# The protocol is pure: events in, actions out. Of the project it may include core/, its own folder and
# these headers of types, which are held to the same; and nothing of the system that does anything.
TYPES = ["fasterlog/types/records.h", "statemachine/types/copy_plan.h", "kv/types/copied_file.h"]
DOES_SOMETHING = re.compile(r"(thread|(core/)?mutex(\.h)?|shared_mutex|condition_variable|future|fstream"
                            r"|filesystem|unistd\.h|fcntl\.h|pthread\.h|sys/.*|netinet/.*|asio.*)$")
# Neither includes the other, nor does what stands beside them.
APART = [{"rpc/client", "rpc/server", "rpc/peer", "rpc/etcd"}]
# Library -> (its headers, the folders that may include them).
KEPT = [
    ("asio", re.compile(r"asio(\.hpp|/)"), ["net", "http", "rpc"]),
    ("http-parser", re.compile(r"http_parser\.h$"), ["rpc"]),
    ("capnp", re.compile(r"(capnp|kj)/|.*\.capnp\.h$"), ["rpc"]),
    ("prometheus", re.compile(r"prometheus/"), ["observability"]),
    ("zstd", re.compile(r"zstd"), ["history"]),
    ("spdlog", re.compile(r"spdlog/"), ["observability"]),
]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# Written in pieces, so that this file does not find itself.
OUTSIDE = ["../" + "shared", "/" + "work/"]


def folder_of(name):
    """The longest entry of ORDER that the file is in; nothing: none."""
    within = [folder for folder in ORDER if name.startswith(folder + "/")]
    return max(within, key=len, default=None)


def include_errors(folder, name, text):
    """What is wrong with the includes of one file in `folder`."""
    errors = []
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        header = match.group(2)
        target = folder_of(header)
        if match.group(1) == '"' and target:
            if ORDER.index(target) > ORDER.index(folder):
                errors.append(f"{name}:{number}: {folder} must not include the higher {header}")
            if any({folder, target} <= group for group in APART) and folder != target:
                errors.append(f"{name}:{number}: {folder} and {target} know nothing of each other: "
                              f"{header}")
        if folder == "replication/protocol" or name in TYPES:
            own = header.startswith(("core/", "replication/protocol/")) or header in TYPES
            if (match.group(1) == '"' and not own) or DOES_SOMETHING.match(header):
                errors.append(f"{name}:{number}: the protocol is pure and must not include {header}")
        for library, pattern, homes in KEPT:
            if pattern.match(header) and folder.split("/")[0] not in homes:
                errors.append(f"{name}:{number}: {library} is included in {'/, '.join(homes)}/ only: "
                              f"{header}")
    return errors


def outside_errors(name, text):
    return [f"{name}:{number}: names a place outside the repository: {place}"
            for number, line in enumerate(text.splitlines(), 1)
            for place in OUTSIDE if place in line]


def self_check():
    """The checks themselves must be able to fail."""
    assert include_errors("core", "x", '#include "kv/store.h"')
    assert include_errors("app", "x", "#include <asio.hpp>")
    assert include_errors("kv", "x", "#include <spdlog/spdlog.h>")
    assert not include_errors("kv", "x", '#include "core/result.h"')
    assert not include_errors("rpc/server", "x", "#include <asio/io_context.hpp>")
    assert include_errors("http", "x", "#include <http_parser.h>")
    assert include_errors("kv/log", "x", '#include "kv/store.h"')
    for what in ('"fasterlog/log.h"', '"fasterlog/types/options.h"', '"core/mutex.h"', "<thread>",
                 "<sys/socket.h>"):
        assert include_errors("replication/protocol", "x", "#include " + what)
    assert include_errors("kv/types", "kv/types/copied_file.h", '#include "kv/types/options.h"')
    assert not include_errors("replication/protocol", "x", '#include "fasterlog/types/records.h"')
    assert folder_of("rpc/new/x.cc") == "rpc" and folder_of("elsewhere/x.cc") is None
    assert include_errors("rpc/server", "x", '#include "rpc/client/client.h"')
    assert outside_errors("x", "see " + OUTSIDE[0])


def main():
    self_check()
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True)
    tracked = [n for n in listed.stdout.decode().split("\0") if n]
    if listed.returncode != 0 or not tracked:
        # An exported tree has no list of tracked files: the folders are checked all the same.
        print("layering: not a git checkout: only the source folders are checked")
        tracked = sorted({str(p.relative_to(ROOT)) for f in ORDER
                          for p in (ROOT / f).rglob("*")})
    errors = []
    checked = 0
    for name in sorted(tracked):
        path = ROOT / name
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        checked += 1
        errors += outside_errors(name, text)
        folder = folder_of(name)
        if not folder and path.suffix in (".h", ".cc") and name.split("/")[0] not in ("tests", "examples"):
            errors.append(f"{name}: its folder has no place in ORDER")
        if folder and path.suffix in (".h", ".cc"):
            errors += include_errors(folder, name, text)
    print("\n".join(errors + [f"layering: {checked} files, {len(errors)} errors"]))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
