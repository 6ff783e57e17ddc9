"""Check a machine for the requirements of gluonlm before anything is installed.

    python gluonlm/system/preflight.py        # exit code 1 and one line if something is missing
    python gluonlm/system/preflight.py FILE   # print the requirements in FILE that can be installed

It runs on any Python, including versions that are too old.
"""

import ctypes
import os
import platform
import re
import shutil
import sys
import sysconfig


def missing():
    """Return one line about the first missing requirement, or None."""
    version = "%d.%d" % sys.version_info[:2]
    if sys.version_info[:2] < (3, 10):
        return "Python %s: gluonlm needs 3.10 or later: make PYTHON=python3.13" % version
    system, machine = platform.system(), platform.machine()
    if system == "Windows":
        return "Windows: MXNet 1.9.1 has no working build for it; use WSL 2"
    if machine not in ("x86_64", "AMD64"):
        return "%s on %s: MXNet 1.9.1 is built for x86-64 only; use a linux/amd64 container" % (
            system,
            machine,
        )
    if sys.maxsize < 2**32:
        return "32-bit Python: MXNet 1.9.1 needs a 64-bit one"
    if system == "Linux":
        for library in ("libgomp.so.1", "libquadmath.so.0"):
            try:
                ctypes.CDLL(library)
            except OSError:
                return (
                    "%s is missing, which MXNet needs; on Debian or Ubuntu: "
                    "apt-get install libgomp1 libquadmath0" % library
                )
    return None


def missing_compiler():
    """Return one line about the missing requirement of GluonNLP, which is optional, or None."""
    compiler = os.environ.get("CC", "gcc").split()[0]
    if shutil.which(compiler) is None:
        lacking, package = "C compiler (%s)" % compiler, "gcc python3-dev"
    elif not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
        lacking, package = "Python.h", "python%d.%d-dev" % sys.version_info[:2]
    else:
        return None
    return (
        "%s is missing: installing everything except GluonNLP; to add it on Debian or Ubuntu: "
        "apt-get install %s && make clean" % (lacking, package)
    )


def installable(requirements):
    """Return a requirements file's text without the packages that this machine cannot compile."""
    if missing_compiler() is None:
        return requirements
    return re.sub(r"(?m)^gluonnlp==.*(\n    .*)*\n", "", requirements)


def main():
    """Run the checks, or print the installable part of a requirements file."""
    if len(sys.argv) > 1:
        with open(sys.argv[1]) as stream:
            sys.stdout.write(installable(stream.read()))
        return
    problem = missing()
    if problem:
        sys.exit("gluonlm: " + problem)
    note = missing_compiler()
    if note:
        sys.stderr.write("gluonlm: %s\n" % note)


if __name__ == "__main__":
    main()
