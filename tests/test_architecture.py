"""Public names are documented, the wheel is complete, and the locks satisfy setup.py."""

import ast
import inspect
import re
import runpy

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from setuptools import find_packages

import gluonlm

PACKAGE = ROOT / "gluonlm"
FILES = sorted(PACKAGE.rglob("*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def address(path):
    """Return the name of a file as its dotted address below the package, `models.base`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {address(path): path for path in FILES if path != PACKAGE / "__init__.py"}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def inherits(node):
    return isinstance(node, ast.ClassDef) and bool(node.bases)


def public(tree):
    """Yield each public class, function and method with its name, and whether it may override."""
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, *FUNCTIONS)) and not node.name.startswith("_"):
            yield node, node.name, False
            for item in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(item, FUNCTIONS) and not item.name.startswith("_"):
                    yield item, f"{node.name}.{item.name}", inherits(node)


@pytest.mark.parametrize("name", MODULES)
def test_public_names_have_docstrings(name):
    assert ast.get_docstring(TREES[name])
    for node, address, overrides in public(TREES[name]):
        text = ast.get_docstring(node)
        assert text or overrides or node.name in ("main", "parse", "advance", "lines"), address
        first = (text or "").split(" ")[0]
        assert first not in ("Give", "Gives", "Let", "Tell", "Ask"), f"{address}: {first}"


@pytest.mark.parametrize("name", MODULES)
def test_public_functions_document_their_return_values(name):
    for node, address, _ in public(TREES[name]):
        # the preflight has no annotations because any Python, even 2, must parse it
        if isinstance(node, FUNCTIONS) and node.name not in HOOKS and name != "system.preflight":
            assert node.returns or untyped(node), address


HOOKS = ("hybrid_forward", "forward", "find_spec", "advance", "lines")  # of external base classes


def untyped(node):
    """Return whether a function returns an MXNet object, which type checkers do not know."""
    return node.name in ("load_mxnet", "to_device", "prepare", "stepper", "parse_args")


def test_exceptions_are_documented():
    for tree in TREES.values():
        for node, address, overrides in public(tree):
            if isinstance(node, FUNCTIONS) and not overrides and node.name not in NO_API:
                raised = [n.exc for n in ast.walk(node) if isinstance(n, ast.Raise)]
                names = {getattr(getattr(exc, "func", None), "id", "") for exc in raised}
                text = ast.get_docstring(node) or ""
                assert "InputError" not in names or "Raises\n" in text, address


NO_API = ("main", "parse", "error")  # of a command, whose errors are printed in one line


def test_the_wheel_contains_every_module():
    folders = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in FILES}
    assert set(find_packages(str(ROOT), include=["gluonlm", "gluonlm.*"])) == folders
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert 'find_packages(include=["gluonlm", "gluonlm.*"])' in setup
    assert '"py.typed"' in setup
    assert (PACKAGE / "py.typed").exists()


def test_every_public_name_exists_and_is_documented():
    for name in gluonlm.__all__:
        assert inspect.getdoc(getattr(gluonlm, name)), name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = gluonlm.nonsense


LOCKS = [ROOT / f"requirements{name}.txt" for name in ("", "-tutorials", "-dev", "-gpu")]


def entries(path):
    """Return the packages of a lock file for each Python, as name to version."""
    text = re.sub(r" \\\n\s+--hash=sha256:[0-9a-f]{64}", " hashed", path.read_text("utf-8"))
    pythons = {f"3.{minor}": {} for minor in (10, 11, 12, 13, 14)}
    for line in filter(None, text.splitlines()):
        if not line.startswith("#"):
            wanted = Requirement(line.split(" hashed")[0])
            assert line.endswith(" hashed"), line
            for python, found in pythons.items():
                version = {"python_full_version": f"{python}.9", "python_version": python}
                if wanted.marker is None or wanted.marker.evaluate(version):
                    assert wanted.name not in found, (path, python, line)
                    found[wanted.name] = str(wanted.specifier).lstrip("=")
    return pythons


def test_locks_agree_and_satisfy_setup_for_every_python(monkeypatch):
    asked = {}
    monkeypatch.setattr("setuptools.setup", lambda **about: asked.update(about))
    runpy.run_path(str(ROOT / "setup.py"))
    extras, (cpu, tutorials, dev, gpu) = asked["extras_require"], map(entries, LOCKS)
    for lock, requirements in (
        (cpu, extras["cpu"] + extras["gluonnlp"]),
        (gpu, extras["gpu"]),
        (tutorials, extras["cpu"] + extras["tutorials"]),
        (dev, extras["cpu"] + extras["test"]),
    ):
        for python, found in lock.items():
            for wanted in map(Requirement, asked["install_requires"] + requirements):
                if wanted.marker is None or wanted.marker.evaluate({"python_version": python}):
                    assert found[wanted.name] in wanted.specifier, (python, wanted)
            for name in set(found) & set(cpu[python]):
                assert found[name] == cpu[python][name], (python, name)
    assert {python: set(cpu[python]) <= set(dev[python]) for python in cpu} == dict.fromkeys(
        cpu, True
    )
