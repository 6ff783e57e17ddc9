"""Say in one line what a machine lacks, before anything is installed.

Any Python can run it, even one that is too old: python gluonlm/preflight.py
"""

import ctypes
import os
import platform
import shutil
import sys
import sysconfig

COMPILED = "gluonnlp is compiled when it is installed; Debian, Ubuntu: apt-get install "


def missing():
    """Return one line on what to install first, or None."""
    version = "%d.%d" % sys.version_info[:2]
    if not (3, 9) <= sys.version_info[:2] <= (3, 12):
        return (
            "Python %s: MXNet 1.9.1 and its NumPy run on Python 3.9 to 3.12; "
            "install one and name it: make PYTHON=python3.11" % version
        )
    system, machine = platform.system(), platform.machine()
    if system == "Windows":
        return "Windows: MXNet has no working build for it; use WSL 2 and run this inside"
    if machine not in ("x86_64", "AMD64"):
        return (
            "%s on %s: MXNet 1.9.1 is built for x86-64 only; "
            "use a container of platform linux/amd64" % (system, machine)
        )
    if sys.maxsize < 2**32:
        return "a 32-bit Python: MXNet 1.9.1 needs a 64-bit one"
    compiler = os.environ.get("CC", "gcc").split()[0]
    if shutil.which(compiler) is None:
        return "no C compiler (%s): %sgcc python3-dev" % (compiler, COMPILED)
    if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
        return "no Python.h: %spython%s-dev" % (COMPILED, version)
    if system == "Linux":
        for library in ("libgomp.so.1", "libquadmath.so.0"):
            try:
                ctypes.CDLL(library)
            except OSError:
                return (
                    "no %s, which MXNet loads: Debian, Ubuntu: "
                    "apt-get install libgomp1 libquadmath0" % library
                )
    return None


if __name__ == "__main__":
    problem = missing()
    if problem:
        sys.exit("gluonlm: " + problem)
