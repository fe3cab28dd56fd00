"""The installed package, as its users meet it: installed, moved elsewhere, found by find_package.

Usage: package_test.py --cmake CMAKE --source DIR --build DIR --work DIR --version V
                       [--define NAME=VALUE ...] [unittest arguments]

The work directory is always the same one, so that a compiler cache knows it, and is removed after.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

PARSER = argparse.ArgumentParser()
for name in ("cmake", "source", "build", "work", "version"):
    PARSER.add_argument(f"--{name}", required=True)
PARSER.add_argument("--define", action="append", default=[])
OPTIONS, REST = PARSER.parse_known_args()

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = pathlib.Path(OPTIONS.source)
WORK = pathlib.Path(OPTIONS.work)
INSTALLED_AT = WORK / "installed"
PREFIX = WORK / "moved"  # nothing may know where it was installed first
COMPILER = next((define.split("=", 1)[1] for define in OPTIONS.define
                 if define.startswith("CMAKE_CXX_COMPILER=")), "c++")
COMPONENTS = ["core", "net", "txn", "command", "wire", "client", "observability", "http", "storage",
              "fasterlog", "kv", "statemachine", "history", "replication", "rpc", "config"]
# What a client does without.
ENGINES = ["liburing", "libisal", "prometheus", "spdlog", "xxhash", "zstd", "yaml", "http_parser", "ssl"]
HEAVY = re.compile(r"/(asio(\.hpp|/)|capnp/|kj/|prometheus/|spdlog/|yaml-cpp/"
                   r"|liburing|http_parser|nlohmann/|openssl/)")


def run(*command, **options):
    return subprocess.run([str(word) for word in command], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options)


def configure(source, build, *more):
    defines = [f"-D{define}" for define in OPTIONS.define if not define.endswith("=")]
    return run(OPTIONS.cmake, "-G", "Ninja", "-S", source, "-B", build,
               f"-DCMAKE_PREFIX_PATH={PREFIX}", *defines, *more)


def find(text):
    """What find_package(TEXT) says in a project that has nothing else."""
    project = WORK / "find"
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir()
    (project / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(find LANGUAGES NONE)\n"
        f"find_package({text})\n")
    found = configure(project, project / "build")
    return found.returncode, " ".join(found.stdout.split())


def files(*below):
    return [path for folder in below for path in (PREFIX / folder).rglob("*") if path.is_file()]


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir(parents=True)
        cls.addClassCleanup(shutil.rmtree, WORK, ignore_errors=True)
        installed = run(OPTIONS.cmake, "--install", OPTIONS.build, "--prefix", INSTALLED_AT)
        if installed.returncode != 0:
            raise AssertionError(installed.stdout)
        INSTALLED_AT.rename(PREFIX)

    def succeed(self, done):
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def build(self, source, name, *more):
        self.succeed(configure(source, WORK / name, *more))
        self.succeed(run(OPTIONS.cmake, "--build", WORK / name))
        return WORK / name

    def test_the_program_runs(self):
        self.assertIn(OPTIONS.version, self.succeed(run(PREFIX / "bin/tailrace", "--version")))

    def test_no_package_file_names_a_place_of_this_machine(self):
        texts = [path for path in files("lib", "share") if path.suffix in (".cmake", ".pc")]
        self.assertGreater(len(texts), len(COMPONENTS))
        for path in texts:
            text = path.read_text()
            for place in (SOURCE, OPTIONS.build, INSTALLED_AT):
                self.assertNotIn(str(place), text, path)
            self.assertNotIn("tailrace_flags", text, path)

    def test_each_component_and_each_header_alone(self):
        """One compilation a header, with nothing but the package to include from; one program a
        component, with all objects of its library."""
        build = self.build(HERE / "components", "components")
        compiled = set()
        for block in self.succeed(run("ninja", "-C", build, "-t", "deps")).split("\n\n"):
            lines = block.strip().splitlines()
            if not lines or not (header := re.search(r"/headers/([\w/]+\.h)\.cc\.o: ", lines[0])):
                continue
            compiled.add(header[1])
            for line in lines[1:]:
                included = os.path.normpath(os.path.join(build, line.strip()))
                above = pathlib.Path(included).parents
                self.assertFalse(SOURCE in above and WORK not in above,
                                 f"{header[1]} includes {included}, which is not installed")
                # The headers for Asio's users say so, and no other includes it.
                if header[1] not in ("rpc/awaitables/async_enqueue.h", "rpc/awaitables/durable_wait.h",
                                     "rpc/awaitables/store_read.h"):
                    self.assertIsNone(HEAVY.search(included), f"{header[1]} includes {included}")
        include = PREFIX / "include/tailrace"
        self.assertEqual(compiled, {str(path.relative_to(include)) for path in files("include")})

    def test_both_engines_need_neither_the_wire_nor_the_configuration(self):
        build = self.build(SOURCE / "examples", "engines", "-DEXAMPLES=append_and_scan;counters",
                           "-DCMAKE_DISABLE_FIND_PACKAGE_CapnProto=ON",
                           "-DCMAKE_DISABLE_FIND_PACKAGE_yaml-cpp=ON")
        for expected in ("2 records", "4 records"):
            printed = run(build / "append_and_scan", WORK / "log", input="one\ntwo\n")
            self.assertIn(expected, self.succeed(printed))
        for expected in ("2\tapple\n1\tpear\n", "4\tapple\n2\tpear\n"):
            printed = subprocess.run([build / "counters", WORK / "store"], text=True,
                                     input="apple\npear\napple\n", capture_output=True)
            self.assertEqual((printed.returncode, printed.stdout), (0, expected), printed.stderr)

    def test_pkg_config_knows_each_component(self):
        """One program of main() alone a component: the linker finds each library that is named."""
        where = {**os.environ, "PKG_CONFIG_PATH": str(next(PREFIX.glob("lib*/**/pkgconfig")))}
        (WORK / "main.cc").write_text("int main() {}\n")
        self.succeed(run(COMPILER, "-c", WORK / "main.cc", "-o", WORK / "main.o"))
        for component in COMPONENTS:
            flags = self.succeed(run("pkg-config", "--cflags", "--libs", f"tailrace-{component}",
                                     env=where)).split()
            self.succeed(run(COMPILER, WORK / "main.o", *flags, "-o", WORK / "main"))
        flags = self.succeed(run("pkg-config", "--cflags", "--libs", "tailrace-kv", env=where))
        self.succeed(run(COMPILER, SOURCE / "examples/counters.cc", *flags.split(),
                         "-o", WORK / "main"))

    def test_the_client_library_has_its_example(self):
        build = self.build(SOURCE / "examples", "client", "-DEXAMPLES=package_history",
                           "-DCMAKE_DISABLE_FIND_PACKAGE_prometheus-cpp=ON",
                           "-DCMAKE_DISABLE_FIND_PACKAGE_spdlog=ON",
                           "-DCMAKE_DISABLE_FIND_PACKAGE_yaml-cpp=ON")
        linked = self.succeed(run("ninja", "-C", build, "-t", "commands", "package_history"))
        linked = linked.strip().splitlines()[-1]
        for library in ("fasterlog", "kv", "statemachine", "replication", "rpc", "observability"):
            self.assertNotIn(f"libtailrace_{library}.a", linked)
        loaded = self.succeed(run("ldd", build / "package_history"))
        for name in ENGINES:
            self.assertNotIn(name, linked)
            self.assertNotIn(name, loaded)
        # Only its linking and loading are tested here: it needs a cluster for the rest.
        printed = run(build / "package_history")
        self.assertEqual(printed.returncode, 2)
        self.assertIn("usage: package_history", printed.stdout)

    def test_an_unknown_component_names_the_known_ones(self):
        status, said = find("tailrace REQUIRED COMPONENTS fasterlog nonsense")
        self.assertNotEqual(status, 0)
        self.assertIn("tailrace has no component 'nonsense'", said)
        self.assertIn(", ".join(COMPONENTS), said)

    def test_the_wire_says_that_it_needs_c(self):
        status, said = find("tailrace REQUIRED COMPONENTS config")
        self.assertNotEqual(status, 0)
        self.assertIn("LANGUAGES C CXX", said)

    def test_another_minor_version_is_refused(self):
        major, minor, _ = OPTIONS.version.split(".")
        status, said = find(f"tailrace {major}.{int(minor) + 1} REQUIRED COMPONENTS core")
        self.assertNotEqual(status, 0)
        self.assertIn(f"version: {OPTIONS.version}", said)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *REST])
