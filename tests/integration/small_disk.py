"""Small file systems of their own for nodes, which a test fills and empties again. They cost the right to
mount.
"""
import os
import pathlib
import subprocess
import tempfile


def why_not():
    """Why they cannot be made here; empty if they can."""
    with tempfile.TemporaryDirectory(prefix="tailrace-test-") as directory:
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tailrace-test", directory],
                              capture_output=True, text=True, check=False)
        if made.returncode != 0:
            return f"no right to mount a file system ({made.stderr.strip()})"
        subprocess.run(["umount", directory], check=True)
    return ""


class SmallDisk:
    """A file system of so many MiB, mounted at a directory that it makes."""

    def __init__(self, directory, mebibytes):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.filler = self.directory / "filler"
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tailrace-test",
                        str(self.directory)], check=True, capture_output=True)

    def close(self):
        # Whoever was killed a moment ago may still hold it.
        subprocess.run(["umount", "--lazy", str(self.directory)], check=False, capture_output=True)

    @property
    def free_bytes(self):
        about = os.statvfs(self.directory)
        return about.f_bavail * about.f_frsize

    def fill(self):
        """Another program takes all that is left, and what is given back meanwhile."""
        with open(self.filler, "ab", buffering=0) as file:
            piece = bytes(1 << 20)
            while piece:
                try:
                    if file.write(piece) < len(piece):
                        piece = piece[:len(piece) // 2]
                except OSError:
                    piece = piece[:len(piece) // 2]

    def make_room(self):
        self.filler.unlink()
