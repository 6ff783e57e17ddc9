"""Missing requirements are reported in one line before installation."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT

from gluonlm.system import preflight


@pytest.mark.parametrize("version", [(3, 10, 0), (3, 13, 9), (3, 15, 0)])
def test_python_3_10_and_later_are_accepted(monkeypatch, version):
    monkeypatch.setattr(preflight.sys, "version_info", version)
    assert preflight.missing() is None


@pytest.mark.parametrize("version", ["2.7", "3.8", "3.9"])
def test_an_older_python_is_reported_with_a_remedy(monkeypatch, version):
    major, minor = map(int, version.split("."))
    monkeypatch.setattr(preflight.sys, "version_info", (major, minor, 0))
    line = preflight.missing()
    assert f"Python {version}" in line
    assert "3.10" in line
    assert "make PYTHON=" in line


@pytest.mark.parametrize(
    "system, machine, message",
    [
        ("Windows", "AMD64", "^Windows: .* use WSL 2"),
        ("Linux", "aarch64", "^Linux on aarch64: .* x86-64"),
        ("Darwin", "arm64", "^Darwin on arm64: .* linux/amd64"),
    ],
)
def test_an_unsupported_machine_is_reported(monkeypatch, system, machine, message):
    monkeypatch.setattr(preflight.platform, "system", lambda: system)
    monkeypatch.setattr(preflight.platform, "machine", lambda: machine)
    assert re.search(message, preflight.missing())


def test_a_32_bit_python_is_reported(monkeypatch):
    monkeypatch.setattr(preflight.sys, "maxsize", 2**31 - 1)
    assert preflight.missing().startswith("32-bit Python: ")


LOCK = """# a lock
cython==3.3.1 \\
    --hash=sha256:aa
gluonnlp==0.10.0 ; python_version < '4' \\
    --hash=sha256:bb \\
    --hash=sha256:cc
mxnet==1.9.1 \\
    --hash=sha256:dd
"""
WITHOUT = re.sub("gluonnlp.*\\n.*\\n.*\\n", "", LOCK)


def test_without_a_compiler_only_gluonnlp_is_skipped(monkeypatch):
    asked = []
    monkeypatch.setattr(preflight.shutil, "which", asked.append)
    monkeypatch.setenv("CC", "clang-15 -O2")
    line = preflight.missing_compiler()
    assert "clang-15" in line
    assert "GluonNLP" in line
    monkeypatch.delenv("CC")
    assert "apt-get install gcc python3-dev" in preflight.missing_compiler()
    assert asked == ["clang-15", "gcc"]
    assert preflight.installable(LOCK) == WITHOUT
    assert WITHOUT.count("==") == 2


def test_the_package_of_missing_python_headers_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(preflight.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert "apt-get install python{}.{}-dev".format(*sys.version_info) in (
        preflight.missing_compiler()
    )
    assert preflight.installable(LOCK) == WITHOUT
    (tmp_path / "Python.h").touch()
    assert preflight.missing_compiler() is None
    assert preflight.installable(LOCK) == LOCK


@pytest.mark.parametrize("absent", ["libgomp.so.1", "libquadmath.so.0"])
def test_missing_libraries_are_named_on_linux(monkeypatch, absent):
    def load(name):
        if name == absent:
            raise OSError(name)

    monkeypatch.setattr(preflight.ctypes, "CDLL", load)
    assert preflight.missing().startswith(f"{absent} is missing")
    monkeypatch.setattr(preflight.platform, "system", lambda: "Darwin")
    assert preflight.missing() is None


def run(*args, **env):
    script = [sys.executable, ROOT / "gluonlm" / "system" / "preflight.py", *args]
    done = subprocess.run(script, capture_output=True, text=True, env=env or None)
    return done.returncode, done.stdout, done.stderr


def test_the_script_prints_the_installable_packages_and_a_compiler_note(tmp_path):
    code, out, err = run(CC="no-such-compiler", PATH="")
    assert (code, out, err.count("\n")) == (0, "", 1)
    assert "no-such-compiler" in err
    (tmp_path / "lock").write_text(LOCK)
    assert run(tmp_path / "lock", CC="no-such-compiler", PATH="") == (0, WITHOUT, "")
