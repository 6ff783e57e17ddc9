"""Gather every package in one folder, from which everything runs without a package index.

`make wheelhouse` runs it with the Python that is to be served, another time for another Python.
What an index offers as source only (GluonNLP) is built. The locks beside the wheels hold their
hashes, and make uses them as soon as they are there.
"""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOUSE = ROOT / "wheelhouse"


def normal(name):
    """Return the name by which a package is known, however it is spelled."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(text, wheels):
    """Return a lock with the hashes of the wheels that are there; what has none is left out."""
    lines = []
    for found in re.finditer(r"^([\w.-]+)==([\w.]+)( ; [^\\\n]*)?", text, re.MULTILINE):
        name, version, marker = found.groups(default="")
        files = wheels.get((normal(name), version), [])
        hashes = [f"--hash=sha256:{hashlib.sha256(f.read_bytes()).hexdigest()}" for f in files]
        if hashes:
            lines.append(" \\\n    ".join([f"{name}=={version}{marker.rstrip()}", *hashes]))
    return "\n".join(lines) + "\n"


def main():
    gather = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    gather += ["--no-deps", "--wheel-dir", HOUSE, "-r", ROOT / "requirements-dev.txt"]
    subprocess.run(gather, check=True)
    wheels = {}
    for path in sorted(HOUSE.glob("*.whl")):
        name, version = path.name.split("-")[:2]
        wheels.setdefault((normal(name), version), []).append(path)
    for lock in ("requirements.txt", "requirements-tutorials.txt", "requirements-dev.txt"):
        (HOUSE / lock).write_text(locked((ROOT / lock).read_text("utf-8"), wheels), "utf-8")
    size = sum(path.stat().st_size for path in HOUSE.glob("*.whl"))
    print(f"{HOUSE}: {sum(map(len, wheels.values()))} wheels, {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
