"""The main job, shown: three nodes carry this machine's package history (see scripts/demo).

What it keeps stands in build/demo: the nodes' data and log lines, and the lists that are too long to
print.
"""
import glob
import gzip
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
TAILRACE = ROOT / "build/release/tailrace"
CLIENT = ROOT / "build/release/package_history"
DEMO = ROOT / "build/demo"
CLIENTS = {1: "127.0.0.1:7101", 2: "127.0.0.1:7102", 3: "127.0.0.1:7103"}
METRICS = {1: "127.0.0.1:9101", 2: "127.0.0.1:9102", 3: "127.0.0.1:9103"}
ALL = ",".join(CLIENTS.values())
BENCH_SECONDS = 4
READY_SECONDS = 30
GROWN_LOG_BYTES = 208 * 2**20  # more than three segments of the example's 64 MiB
KEPT_LOG_BYTES = 96 * 2**20  # a segment and a half: events stay in the log until their segment is a file
TRUNCATION_SECONDS = 60

nodes = {}
failures = []


# ---- Telling.

def title(text):
    print(f"\n== {text}", flush=True)


def say(text):
    print(f"   {text}", flush=True)


def check(fine, text):
    print(f"   {'ok  ' if fine else 'FAIL'} {text}", flush=True)
    if not fine:
        failures.append(text)


def progress(share, text):
    if not sys.stderr.isatty():
        return
    filled = int(share * 40)
    sys.stderr.write(f"\r   [{'#' * filled}{' ' * (40 - filled)}] {text}\033[K")
    if share >= 1:
        sys.stderr.write("\r\033[K")
    sys.stderr.flush()


def mebibytes(count):
    return f"{count / 2**20:.1f} MiB"


class Broken(Exception):
    """The demo cannot go on."""


# ---- The nodes.

def start(number):
    with open(DEMO / f"node{number}.log", "ab") as log:
        nodes[number] = subprocess.Popen(
            [TAILRACE, "serve", "--config", ROOT / f"config/examples/three-node/node{number}.yaml",
             "--data-dir", DEMO / f"node{number}"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)


def wait_ready(number):
    deadline = time.monotonic() + READY_SECONDS
    while True:
        if nodes[number].poll() is not None:
            lines = (DEMO / f"node{number}.log").read_text(errors="replace").splitlines()
            raise Broken(f"node {number} ended: {lines[-1] if lines else 'it said nothing'}")
        try:
            urllib.request.urlopen(f"http://{METRICS[number]}/readyz", timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise Broken(f"node {number} is not ready after {READY_SECONDS} s: {error}")
        time.sleep(0.05)


def stop_all():
    for process in nodes.values():
        if process.poll() is None:
            process.terminate()
    codes = {}
    for number, process in nodes.items():
        try:
            codes[number] = process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            codes[number] = process.wait()
    return codes


def kill(number):
    nodes[number].send_signal(signal.SIGKILL)
    nodes[number].wait()


def tailrace(*arguments, server=ALL, check_code=True):
    done = subprocess.run([TAILRACE, *arguments, "--server", server], capture_output=True)
    if check_code and done.returncode != 0:
        raise Broken(f"tailrace {' '.join(arguments)}: {done.stderr.decode(errors='replace')}")
    return done


def status():
    return {node["node"]: node for node in json.loads(tailrace("status", "--json").stdout)}


def wait_caught_up(number, at_least):
    """Follows one node until it has applied `at_least`; the seconds that it took."""
    began = time.monotonic()
    first = None
    while True:
        node = json.loads(tailrace("status", "--json", "--only-named", server=CLIENTS[number]).stdout)[0]
        first = node["applied"] if first is None else first
        if node["applied"] >= at_least:
            progress(1, "")
            return time.monotonic() - began
        whole = max(1, at_least - first)
        progress((node["applied"] - first) / whole,
                 f"node {number} is {at_least - node['applied']} bytes behind")
        if time.monotonic() - began > 120:
            raise Broken(f"node {number} has not caught up after 120 s")
        time.sleep(0.05)


# ---- The history.

def read_history():
    """All lines of dpkg.log and its rotated forms, oldest first."""
    files = glob.glob("/var/log/dpkg.log") + glob.glob("/var/log/dpkg.log.[0-9]*")

    def age(name):
        number = re.search(r"\.log\.(\d+)", name)
        return int(number.group(1)) if number else 0

    lines = []
    for name in sorted(files, key=age, reverse=True):
        with (gzip.open if name.endswith(".gz") else open)(name, "rb") as file:
            found = file.read().splitlines()
        say(f"{name}: {len(found)} lines")
        lines += found
    if not lines:
        raise Broken("this machine has no package history: /var/log/dpkg.log is empty or absent; "
                     "install any package and run the demo again")
    return lines


def last_states(lines):
    """What the history says of each NAME:ARCH at its end."""
    states = {}
    for line in lines:
        words = line.decode(errors="replace").split()
        if len(words) >= 6 and words[2] == "status":
            states[words[4]] = f"{words[3]} {words[5]}"
    return states


def installed_now():
    """NAME:ARCH -> "STATE VERSION", as dpkg-query says today."""
    out = subprocess.run(["dpkg-query", "-W", "-f",
                          "${Package}:${Architecture}\t${db:Status-Status} ${Version}\n"],
                         capture_output=True, text=True, check=True).stdout
    return dict(line.split("\t") for line in out.splitlines())


class Loader:
    """The loading client: takes lines, and says in the end what it appended."""

    def __init__(self):
        self.process = subprocess.Popen([CLIENT, "load", ALL], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def feed(self, lines, done, total):
        for at in range(0, len(lines), 500):
            try:
                self.process.stdin.write(b"".join(line + b"\n" for line in lines[at:at + 500]))
                self.process.stdin.flush()
            except BrokenPipeError:
                break  # finish() tells why
            fed = done + min(at + 500, len(lines))
            progress(fed / total, f"{fed} of {total} lines")

    def finish(self):
        out, errors = self.process.communicate()
        if self.process.returncode != 0:
            raise Broken(f"loading failed: {errors.decode(errors='replace')}")
        words = out.decode().split()
        return dict(zip(words[::2], words[1::2]))


def load(lines):
    """Loads the history; a follower is killed half-way and comes back."""
    half = len(lines) // 2
    began = time.monotonic()
    loader = Loader()
    loader.feed(lines[:half], 0, len(lines))
    kill(3)
    loader.feed(lines[half:], half, len(lines))
    summary = loader.finish()
    seconds = time.monotonic() - began
    events, keys = int(summary["events"]), int(summary["status_lines"])
    say(f"{events} lines appended as events, {keys} status lines set keys, in {seconds:.2f} s, all "
        f"of it durable on a majority; node 3 was killed with SIGKILL half-way")
    check(events == len(lines), "every line was acknowledged")
    return summary


def check_events(lines):
    for number in CLIENTS:
        told = tailrace("tail", server=CLIENTS[number]).stdout
        check(told == b"".join(line + b"\n" for line in lines),
              f"tail from node {number} gives all {len(lines)} lines back, byte for byte")


def check_keys(lines):
    """Reads every key from a follower and compares with dpkg-query."""
    expected, today = last_states(lines), installed_now()
    asked = "".join(f"pkg/{name}\n" for name in expected)
    done = subprocess.run([CLIENT, "read", CLIENTS[2]], input=asked, capture_output=True, text=True)
    if done.returncode != 0:
        raise Broken(f"reading from node 2 failed: {done.stderr}")
    held = dict(line.split("\t") for line in done.stdout.splitlines())
    held = {key.removeprefix("pkg/"): value for key, value in held.items()}
    check(held == expected, f"node 2, a follower, holds all {len(expected)} keys as the history "
                            "leaves them")

    names_today = {name.split(":")[0] for name in today}
    equal, moved, different = 0, [], []
    for name, value in held.items():
        gone = value.startswith("not-installed")
        if today.get(name) == value or (gone and name not in today):
            equal += 1
        elif name not in today and name.split(":")[0] in names_today:
            moved.append(name)
        else:
            different.append(f"{name}: {value!r} here, {today.get(name)!r} by dpkg-query")
    before = sorted(name for name in today if name not in held)
    check(not different, f"{equal} packages are as dpkg-query says today, {len(different)} are not")
    for line in different:
        say(f"     {line}")
    unexplained("installed before the history begins", before)
    unexplained("now of another architecture, which dpkg.log does not say", moved)


def unexplained(why, names):
    say(f"{len(names)} packages that a truncated history cannot explain: {why}")
    if not names:
        return
    shown = ", ".join(names[:8])
    if len(names) > 8:
        file = DEMO / f"unexplained-{why.split()[0]}.txt"
        file.write_text("".join(name + "\n" for name in names))
        shown += f", ...; all of them: {file.relative_to(ROOT)}"
    say(f"     {shown}")


# ---- What the service does.

def restart_leader(lines, end):
    before = status()
    kill(1)
    start(1)
    wait_ready(1)
    after = status()
    say(f"node 1, the leader, was killed with SIGKILL and started again: epoch "
        f"{before[1]['epoch']} became {after[1]['epoch']}")
    check(after[1]["epoch"] > before[1]["epoch"], "the new start is a new epoch")
    check(after[1]["durable"] >= end, "its log reaches beyond the last acknowledged record")
    told = tailrace("tail", server=CLIENTS[1]).stdout
    check(told.count(b"\n") == len(lines), "no acknowledged event is gone")
    for number in (2, 3):
        wait_ready(number)


def throughput():
    for arguments in (["--op", "put", "--clients", "4", "--in-flight", "64"],
                      ["--op", "append", "--clients", "4", "--in-flight", "8", "--batch", "100"],
                      ["--op", "put", "--clients", "1", "--in-flight", "1"]):
        done = []
        work = threading.Thread(target=lambda a=arguments: done.append(
            tailrace("bench", "service", "--json", "--seconds", str(BENCH_SECONDS), *a,
                     check_code=False)))
        began = time.monotonic()
        work.start()
        while work.is_alive():
            share = min(0.99, (time.monotonic() - began) / BENCH_SECONDS)
            progress(share, "bench service " + " ".join(arguments))
            work.join(0.1)
        progress(1, "")
        if done[0].returncode != 0:
            raise Broken(f"bench service: {done[0].stderr.decode(errors='replace')}")
        result = json.loads(done[0].stdout)
        unit = "events" if result["op"] == "append" else "puts"
        say(f"{result['clients']} clients x {result['in_flight']} in flight, 256 bytes: "
            f"{result['records_per_s']:,.0f} {unit}/s, p50 {result['p50_us'] / 1000:.2f} ms, p99 "
            f"{result['p99_us'] / 1000:.2f} ms")
        check(result["errors"] == 0, f"no request of {result['ops']} failed")


def kept_bytes():
    """Of the log that is kept, the least of all nodes."""
    return min(node["durable"] - node["begin"] for node in status().values())


def grow_log():
    """The nodes take checkpoints by themselves, each 256 MiB of log: there must be something to
    free. Two emptied segments are kept for reuse, so it takes more than those."""
    for _ in range(100):
        kept = kept_bytes()
        progress(min(0.99, kept / GROWN_LOG_BYTES), f"{mebibytes(kept)} of log to be truncated")
        if kept >= GROWN_LOG_BYTES:
            return progress(1, "")
        tailrace("bench", "service", "--op", "append", "--seconds", "0.2")
    raise Broken("the log did not grow")


def checkpoint():
    def used(number):
        folder = DEMO / f"node{number}/log"
        return sum(path.stat().st_blocks * 512
                   for kind in ("*.seg", "*.spare") for path in folder.glob(kind))

    grow_log()
    tail = status()[1]["committed"]
    for number in CLIENTS:
        wait_caught_up(number, tail)
    before, used_before = status(), {number: used(number) for number in CLIENTS}
    # The followers first: the leader keeps what they may still need.
    for number in (2, 3, 1):
        tailrace("checkpoint", server=CLIENTS[number])
    # The events are written to files first, of a stretch after the other.
    deadline = time.monotonic() + TRUNCATION_SECONDS
    after = status()
    while (time.monotonic() < deadline
           and any(after[number]["checkpointed"] - after[number]["begin"] > KEPT_LOG_BYTES for number in CLIENTS)):
        time.sleep(0.2)
        after = status()
    for number in CLIENTS:
        say(f"node {number}: begin {before[number]['begin']} -> {after[number]['begin']}, "
            f"checkpointed {after[number]['checkpointed']}; log on disk "
            f"{mebibytes(used_before[number])} -> {mebibytes(used(number))}")
        check(after[number]["begin"] > before[number]["begin"], f"begin of node {number} has moved")
    freed = sum(used_before[number] - used(number) for number in CLIENTS)
    check(freed > 0, f"{mebibytes(freed)} of disk are free again")


def verify():
    done = tailrace("verify", check_code=False)
    for line in (done.stdout + done.stderr).decode().splitlines():
        say(line)
    any_log = b"nothing was left to compare" not in done.stderr
    check(done.returncode == 0, "log and state of all three nodes are equal" if any_log else
          "the states of all three nodes are equal; of the log nothing is left")


SHOWN = re.compile(
    r"^tailrace_(log_flush_(duration|size)\w*_(sum|count)|log_flush\w*_total|last_checkpoint_\w+|"
    r"replication_follower_lag\w*|apply_lag_(bytes|seconds)|log_address_bytes)[{ ]")


def metrics():
    with urllib.request.urlopen(f"http://{METRICS[1]}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    for line in lines:
        if SHOWN.match(line):
            say(line)


def main_job():
    title("This machine's package history")
    lines = read_history()

    title("Three nodes on loopback; node 1 leads")
    for number in CLIENTS:
        start(number)
    for number in CLIENTS:
        wait_ready(number)
    for number, node in status().items():
        say(f"node {number}: {node['role']}, clients on {CLIENTS[number]}, "
            f"http://{METRICS[number]}/metrics")

    title("Load it, and kill a follower in the middle")
    summary = load(lines)
    end = int(summary["end"].split(":")[1])
    leader = json.loads(tailrace("status", "--json", server=CLIENTS[1]).stdout)[0]
    behind = {one["node"]: one for one in leader["followers"]}[3]
    say(f"the leader sees node 3 {'connected' if behind['connected'] else 'gone'}, "
        f"{behind['lag_bytes']} bytes behind")
    start(3)
    wait_ready(3)
    seconds = wait_caught_up(3, end)
    check(True, f"node 3 has caught up {seconds:.2f} s after it was ready again")

    title("Events, from every node")
    check_events(lines)

    title("Keys, from a follower, against dpkg-query")
    check_keys(lines)

    title("Restart the leader")
    restart_leader(lines, end)

    title("Throughput, a majority's fsync before every answer")
    throughput()

    title("Verify the whole log that is kept, and the state")
    verify()

    title("Checkpoint, then truncate")
    checkpoint()

    title("Verify once more")
    verify()

    title("Metrics of node 1")
    metrics()


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir(parents=True)
    try:
        main_job()
        title("Stop")
        codes = stop_all()
        check(all(code == 0 for code in codes.values()), f"all nodes ended cleanly: {codes}")
    except Broken as error:
        check(False, str(error))
    except KeyboardInterrupt:
        check(False, "interrupted")
    finally:
        stop_all()
    if failures:
        print(f"\nThe demo failed; log lines and data are in {DEMO.relative_to(ROOT)}:")
        for failure in failures:
            print(f"   {failure}")
        return 1
    # The data is of no further use, the log lines and lists may be.
    for number in CLIENTS:
        shutil.rmtree(DEMO / f"node{number}", ignore_errors=True)
    print("\nEverything compared equal.")
    return 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
