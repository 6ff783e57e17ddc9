"""Update requirements*.txt to the newest compatible releases, with hashes. Run by `make pins`.

setup.py lists the requirements and their bounds. uv resolves the newest versions for each Python
from 3.10 to 3.14. The hashes cover the files that a Linux x86-64 machine may install.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {  # by name: extras of setup.py, and their purpose
    "": (["cpu", "gluonnlp"], "training, generating and scoring on a CPU"),
    "-tutorials": (
        ["cpu", "gluonnlp", "tutorials"],
        "the notebooks of the course, with all of the above",
    ),
    "-dev": (["cpu", "test"], "the tests and the linters, with all of the above"),
    "-gpu": (
        ["gpu"],
        "an NVIDIA GPU of compute capability 5.0\n"
        "# to 8.9 (Maxwell to Ada) with a driver for CUDA 11.7, instead of requirements.txt.\n"
        "# The CPU and the GPU build of MXNet live in the same folder: pip uninstall mxnet first,\n"
        "# then pip install --no-deps -r requirements-gpu.txt",
    ),
}
# part of every marker, because pyproject.toml lists no other system
TRUE = (
    r"python_full_version >= '3.10' and |"
    r"( and )?(platform_machine == 'x86_64'|sys_platform == 'linux'|python_full_version < '3.15'|"
    r"platform_python_implementation == 'CPython')"
)
PYTHON = r"(py2\.)?py3|cp3(10|11|12|13|14)"
HERE = re.compile(
    rf"-(({PYTHON})[^-]*-[^-]+|cp3\d-abi3)-(any|[^-]*manylinux[^-]*x86_64[^-]*)\.whl$"
)


def solve(extras, constraints):
    """Return the packages for all Pythons, as uv's pylock.toml describes them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pylock.toml"
        command = [sys.executable, "-m", "uv", "pip", "compile", "setup.py", "--quiet", "--upgrade"]
        command += ["--universal", "--python-version", "3.10", "--fork-strategy", "requires-python"]
        command += ["--format", "pylock.toml", "--output-file", path]
        command += [word for extra in extras for word in ("--extra", extra)]
        command += ["--constraints", constraints] if constraints else []
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        packages = tomllib.loads(path.read_text(encoding="utf-8"))["packages"]
    return [found for found in packages if "'pypy'" not in found.get("marker", "")]


def entry(package):
    """Return a package as an entry of a requirements file."""
    marker = re.sub(TRUE, "", package.get("marker", ""))
    files = [file for file in package.get("wheels", []) if HERE.search(file["url"])]
    files += [package["sdist"]] if "sdist" in package else []
    line = f"{package['name']}=={package['version']}" + f" ; {marker}" * bool(marker)
    hashes = sorted(f"--hash=sha256:{file['hashes']['sha256']}" for file in files)
    return " \\\n    ".join([line, *hashes]) + "\n"


def main():
    for name, (extras, purpose) in LOCKS.items():
        constraints = "requirements.txt" if name and "cpu" in extras else None
        entries = map(entry, solve(extras, constraints))
        head = f"# What a Linux x86-64 machine needs for {purpose}.\n"
        head += "# Python 3.10 to 3.14, each its newest; written by make pins from setup.py.\n"
        path = ROOT / f"requirements{name}.txt"
        path.write_text(head + "".join(entries), encoding="utf-8")
        print(path.name)


if __name__ == "__main__":
    main()
