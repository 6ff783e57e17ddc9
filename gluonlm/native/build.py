"""Compile the native kernels next to their source, for a checkout; setup.py uses the same flags.

python gluonlm/native/build.py does nothing without a compiler, or if the library is up to date.
"""

import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("kernels.cc")
LIBRARY = SOURCE.with_name("kernels.so")
# no -march: each function is compiled for its instruction set, which is selected when loaded
FLAGS = ["-std=gnu++17", "-O3", "-g0", "-fno-math-errno", "-ffp-contract=fast"]
FLAGS += ["-fopenmp-simd", "-Wno-pass-failed"]  # of clang: it does not vectorise a maximum


def build() -> None:
    """Compile the library if its source is newer and there is a compiler."""
    newest = max(path.stat().st_mtime for path in SOURCE.parent.glob("*.[ch]*"))
    if LIBRARY.exists() and LIBRARY.stat().st_mtime >= newest:
        return
    compiler = os.environ.get("CXX") or ("g++" if shutil.which("g++") else "clang++")
    if shutil.which(compiler.split()[0]):
        unfinished = LIBRARY.with_suffix(f".{os.getpid()}")
        command = [*compiler.split(), *FLAGS, "-shared", "-fPIC", "-pthread", str(SOURCE)]
        if subprocess.run([*command, "-o", str(unfinished)], check=False).returncode == 0:
            unfinished.replace(LIBRARY)


if __name__ == "__main__":
    build()
