"""What a machine lacks is said in one line, before anything is installed."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT

from gluonlm import preflight


@pytest.mark.parametrize("version", [(3, 9, 0), (3, 12, 9)])
def test_the_first_and_the_last_python_that_work_are_accepted(monkeypatch, version):
    monkeypatch.setattr(preflight.sys, "version_info", version)
    assert preflight.missing() is None


@pytest.mark.parametrize("version", ["2.7", "3.8", "3.13", "4.0"])
def test_another_python_is_named_with_what_to_do(monkeypatch, version):
    major, minor = map(int, version.split("."))
    monkeypatch.setattr(preflight.sys, "version_info", (major, minor, 0))
    expected = f"Python {version}: MXNet 1.9.1 and its NumPy run on Python 3.9 to 3.12; install one"
    assert preflight.missing().startswith(expected)


@pytest.mark.parametrize(
    "system, machine, message",
    [
        ("Windows", "AMD64", "^Windows: .* use WSL 2"),
        ("Linux", "aarch64", "^Linux on aarch64: MXNet 1.9.1 is built for x86-64"),
        ("Darwin", "arm64", "^Darwin on arm64: .* container of platform linux/amd64$"),
    ],
)
def test_a_machine_without_a_build_is_named(monkeypatch, system, machine, message):
    monkeypatch.setattr(preflight.platform, "system", lambda: system)
    monkeypatch.setattr(preflight.platform, "machine", lambda: machine)
    assert re.search(message, preflight.missing())


def test_a_32_bit_python_is_named(monkeypatch):
    monkeypatch.setattr(preflight.sys, "maxsize", 2**31 - 1)
    assert preflight.missing() == "a 32-bit Python: MXNet 1.9.1 needs a 64-bit one"


def test_the_compiler_asked_for_is_looked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(preflight.shutil, "which", asked.append)
    monkeypatch.setenv("CC", "clang-15 -O2")
    assert preflight.missing().startswith("no C compiler (clang-15): gluonnlp is compiled")
    monkeypatch.delenv("CC")
    assert preflight.missing().endswith("apt-get install gcc python3-dev")
    assert asked == ["clang-15", "gcc"]


def test_missing_headers_are_named_with_the_package_of_this_python(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    version = ".".join(map(str, sys.version_info[:2]))
    assert preflight.missing() == (
        "no Python.h: gluonnlp is compiled when it is installed; "
        f"Debian, Ubuntu: apt-get install python{version}-dev"
    )
    (tmp_path / "Python.h").touch()
    assert preflight.missing() is None


@pytest.mark.parametrize("absent", ["libgomp.so.1", "libquadmath.so.0"])
def test_missing_libraries_are_named_on_linux(monkeypatch, absent):
    def load(name):
        if name == absent:
            raise OSError(name)

    monkeypatch.setattr(preflight.ctypes, "CDLL", load)
    assert preflight.missing().startswith(f"no {absent}, which MXNet loads: Debian, Ubuntu: apt-")
    monkeypatch.setattr(preflight.platform, "system", lambda: "Darwin")
    assert preflight.missing() is None


def test_it_runs_as_a_script_and_says_nothing_where_nothing_is_missing():
    script = [sys.executable, ROOT / "gluonlm" / "preflight.py"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = subprocess.run(
        script, capture_output=True, text=True, env={"CC": "no-such-compiler", "PATH": ""}
    )
    assert done.returncode == 1 and done.stderr.startswith("gluonlm: no C compiler (no-such-comp")
