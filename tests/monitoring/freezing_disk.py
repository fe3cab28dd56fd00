"""Disks of nodes that stand still for as long as a test likes: a file with a file system, which is frozen. They cost
the right to mount, and a loop device."""
import contextlib
import pathlib
import subprocess
import tempfile
import threading


def _run(*command, check=True):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=check, timeout=60)


def why_not_freezing():
    """Why they cannot be made here; empty if they can."""
    with tempfile.TemporaryDirectory(prefix="tailrace-test-") as directory:
        try:
            disk = FreezingDisk(pathlib.Path(directory) / "disk", 8)
        except (OSError, subprocess.CalledProcessError) as error:
            return f"no file system that can be frozen ({getattr(error, 'stderr', None) or error})".replace("\n", " ")
        try:
            disk.freeze()
            disk.thaw()
        except subprocess.CalledProcessError as error:
            return f"no right to freeze a file system ({error.stderr.strip()})"
        finally:
            disk.close()
    return ""


class FreezingDisk:
    """A file system of so many MiB, mounted at a directory that it makes; its image lies beside it."""

    def __init__(self, directory, mebibytes):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.image = self.directory.with_name(self.directory.name + ".image")
        with open(self.image, "wb") as file:
            file.truncate(mebibytes << 20)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", self.image)
        _run("mount", "-o", "loop", self.image, self.directory)

    def close(self):
        self.thaw(check=False)
        _run("umount", "--lazy", self.directory, check=False)
        self.image.unlink(missing_ok=True)

    def freeze(self):
        _run("fsfreeze", "--freeze", self.directory)

    def thaw(self, check=True):
        _run("fsfreeze", "--unfreeze", self.directory, check=check)

    @contextlib.contextmanager
    def frozen(self):
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    @contextlib.contextmanager
    def slow(self, still, moves):
        """It stands still for so many seconds, moves for so many, and so on."""
        stopping = threading.Event()

        def run():
            while not stopping.is_set():
                with self.frozen():
                    stopping.wait(still)
                stopping.wait(moves)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()
