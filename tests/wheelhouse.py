"""Collect every package in one folder for installation without a package index.

Run by `make wheelhouse`, once with each Python to support. Packages that an index offers only as
source (GluonNLP) are built. The lock files next to the wheels contain their hashes; make uses them
if they exist.
"""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOUSE = ROOT / "wheelhouse"


def normal(name):
    """Return the normalized name of a package."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(text, wheels):
    """Return a lock file with the hashes of the available wheels, without other packages."""
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
