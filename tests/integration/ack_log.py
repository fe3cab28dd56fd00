"""What ack_writer was told, held against what the servers have: nothing acknowledged is lost, nothing
is there twice, nothing that was refused is there."""
import base64
import collections
import json
import re
import subprocess

import cluster

FILL = 120


def value_of(name, number):
    return f"{name}:{number}" + "." * (number * 7919 % FILL)


def number_of(name, value):
    """The number in a value, which must be whole."""
    head, _, rest = value.partition(":")
    digits = rest.rstrip(".")
    assert head == name and digits.isdigit() and value == value_of(name, int(digits)), \
        f"no writer has written {value!r}"
    return int(digits)


class Writer:
    """One running ack_writer, and the model of what it was told. Its lines go to a file: a slow test
    does not slow it down."""

    def __init__(self, program, name, servers, directory, *options):
        self.program, self.name, self.servers = program, name, servers
        self.path = directory / f"{name}.acks"
        self.errors = directory / f"{name}.stderr"
        with open(self.path, "wb") as out, open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                [program, "--server", servers, "--name", name, *map(str, options)],
                stdin=subprocess.PIPE, stdout=out, stderr=errors,
                preexec_fn=cluster.end_with_parent)
        self.lines = open(self.path, "rb")
        self.rest = b""
        self.results = collections.Counter()       # (operation, result)
        self.last_put = {}                         # key: number of the newest acknowledged put
        self.unknown_puts = collections.defaultdict(set)  # key: numbers
        self.failed = set()                        # numbers of puts and events
        self.sums = set()                          # answers of additions
        self.new_events = {}                       # number: address; acknowledged, not yet found
        self.told = set()                          # numbers of all events that were acknowledged
        self.unknown_events = set()
        self.seen = {}                             # number: (session, addresses); events found in the log
        self.versions = {}                         # number: version; events found in the stream
        self.newest_address = 0                    # of all acknowledged

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        self.lines.close()

    def wait_for_acks(self, more, seconds):
        """Until it has been answered `more` times from now on."""
        goal = self.read() + more
        cluster.wait_until(f"{more} more acknowledgements", lambda: self.read() >= goal, seconds)

    def end(self, seconds=90):
        """No new operations; waits for those in flight."""
        self.process.stdin.close()
        code = self.process.wait(timeout=seconds)
        assert code == 0, f"{self.name} ended with {code}: {self.errors.read_text()}"
        self.read()
        assert self.rest == b"", "the writer's last line is not whole"

    def describe(self):
        counts = {" ".join(key): count for key, count in sorted(self.results.items())}
        return f"exit code {self.process.poll()}, {counts} {self.errors.read_text()}"

    @property
    def acknowledged(self):
        return sum(count for (_, result), count in self.results.items() if result == "ok")

    def read(self):
        """Takes what the writer has printed since; how many operations are acknowledged in all."""
        *lines, self.rest = (self.rest + self.lines.read()).split(b"\n")
        for line in lines:
            operation, key, value, result, address = line.decode().split(" ")
            self.results[operation, result] += 1
            if result == "ok":
                self.newest_address = max(self.newest_address, int(address))
            if operation == "add":
                if result == "ok" and value != "-":
                    assert int(value) not in self.sums, f"two additions were told {value}"
                    self.sums.add(int(value))
                continue
            number = number_of(self.name, value)
            if result == "fail":
                self.failed.add(number)
            elif operation == "put":
                if result == "ok":
                    self.last_put[key] = max(number, self.last_put.get(key, -1))
                else:
                    self.unknown_puts[key].add(number)
            elif result == "ok":
                self.new_events[number] = int(address)
                self.told.add(number)
            else:
                self.unknown_events.add(number)
        return self.acknowledged

    # ---- Against the state.

    def get(self, level, servers=None):
        """What the servers say now: {key: value or None}."""
        keys = sorted({*self.last_put, *self.unknown_puts}) + [f"{self.name}/sum"]
        done = subprocess.run(
            [self.program, "--server", servers or self.servers, "--read", level, "--timeout", "60"],
            input="".join(key + "\n" for key in keys).encode(), capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        found = {}
        for line in done.stdout.decode().splitlines():
            operation, key, value, result, _ = line.split(" ")
            assert (operation, result) == ("get", "ok"), f"{line}: {done.stderr.decode()}"
            found[key] = None if value == "-" else value
        assert sorted(found) == sorted(keys)
        return found

    def check_state_while_writing(self):
        """A linearizable read sees at least what was acknowledged before it."""
        self.read()
        puts, added = dict(self.last_put), self.results["add", "ok"]
        found = self.get("linearizable")
        total = int(found.pop(f"{self.name}/sum") or 0)
        assert total >= added, f"{added} additions were acknowledged, the sum is {total}"
        for key, value in found.items():
            acknowledged = puts.get(key, -1)
            number = -1 if value is None else number_of(self.name, value)
            assert number >= acknowledged, f"{key}: {acknowledged} was acknowledged, {number} is there"
            assert number not in self.failed, f"{key}: {number} was refused and is there"

    def check_state_at_end(self, found, where):
        """After end(): exactly what was acknowledged, or what is unknown and came later."""
        total = int(found[f"{self.name}/sum"] or 0)
        least = self.results["add", "ok"]
        most = least + self.results["add", "unknown"]
        assert least <= total <= most, \
            f"{where}: {least} to {most} additions may be there, the sum is {total}"
        assert not self.sums or max(self.sums) <= total, f"{where}: {max(self.sums)} was answered"
        for key in {*self.last_put, *self.unknown_puts}:
            value = found[key]
            acknowledged = self.last_put.get(key, -1)
            number = -1 if value is None else number_of(self.name, value)
            assert number == acknowledged or (number > acknowledged and
                                              number in self.unknown_puts[key]), \
                f"{where}: {key}: {acknowledged} was acknowledged, {number} is there"

    # ---- Against the log.

    def check_events(self, records, end, where):
        """`records` are all of the log from somewhere to `end`: (address, stream, event, session). One that has
        a session may be there again: of its attempts one is applied, as check_stream() shows."""
        for address, stream, event, session in records:
            if stream != self.name:
                continue
            number = number_of(self.name, event)
            first, addresses = self.seen.setdefault(number, (session, {address}))
            assert address in addresses or (session and first), \
                f"{where}: event {number} is at {addresses} and at {address}"
            addresses.add(address)
        for number, address in [*self.new_events.items()]:
            if address < end:
                assert address in self.seen.get(number, (None, ()))[1], \
                    f"{where}: event {number}, acknowledged at {address}, is not in the log there"
                del self.new_events[number]

    def check_stream(self, nodes, server, where, start=0):
        """Each event is in the stream once, at one version on all nodes. What the log was truncated below is
        left out."""
        while True:
            done = nodes.run("read", self.name, "--json", "--read", "any", "--from", start, server=server,
                             check=False)
            rest = re.search(rb"the first that can be read is (\d+)", done.stderr)
            if not rest:
                break
            start = int(rest[1])
        nothing = b"there is no stream" in done.stderr or b"none of its events can be read" in done.stderr
        assert done.returncode == 0 or nothing, f"{where}: {done.stderr.decode()}"
        for line in done.stdout.decode().splitlines():
            event = json.loads(line)
            number = number_of(self.name, base64.b64decode(event["data_base64"]).decode())
            version = self.versions.setdefault(number, event["version"])
            assert version == event["version"], \
                f"{where}: event {number} is at version {version} and at {event['version']}"
            assert event["version"] == start, f"{where}: version {start} is missing"
            start += 1
        return start

    def check_events_at_end(self):
        assert not self.new_events, f"acknowledged and not in the log: {sorted(self.new_events)[:10]}"
        twice = len(self.versions) - len(set(self.versions.values()))
        assert twice == 0, f"{twice} versions have two events"
        # Before the client knows the cluster's version, events stand alone: in the log, and in no stream.
        alone = {number for number, (session, _) in self.seen.items() if not session}
        missing = self.told - self.versions.keys() - alone
        assert not missing, f"acknowledged and not in the stream: {sorted(missing)[:10]}"
        refused = self.failed & self.versions.keys()
        assert not refused, f"refused, and in the stream: {sorted(refused)[:10]}"


def read_log(nodes, server, start):
    """(end, events as (address, stream, payload, session)) of one server's committed log from `start`."""
    done = nodes.run("tail", "--json", "--from", start, server=server)
    end, events = start, []
    for line in done.stdout.decode().splitlines():
        record = json.loads(line)
        assert record["address"] >= end, f"{server}: record at {record['address']} after {end}"
        end = record["end"]
        if record["kind"] == "event":
            events.append((record["address"], record["stream"], record["payload"], None))
        elif record["kind"] == "txn":
            session = record.get("client"), record.get("serial")
            for effect in record["txn"]["then"]:
                for event in effect.get("append", {"events": []})["events"]:
                    payload = base64.b64decode(event["data_base64"]).decode()
                    events.append((record["address"], effect["append"]["stream"], payload, session))
    return end, events
