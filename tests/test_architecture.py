"""The shape of the house: who may import whom, what public names explain, how much there is."""

import ast
import inspect
import re
import tokenize

import pytest
from conftest import ROOT

import gluonlm

FLOORS = [
    ["errors", "preflight"],
    ["runtime", "batchify", "config", "stepper"],
    ["cli", "vocab", "loss", "text", "presets"],
    ["corpus", "models"],
    ["checkpoint", "sampling", "scoring"],
    ["trainer", "callbacks"],
    ["train", "generate", "evaluate", "compare", "embeddings"],
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
FILES = {path.stem: path for path in (ROOT / "gluonlm").glob("*.py") if path.stem != "__init__"}


def test_every_module_has_its_floor():
    assert sorted(FILES) == sorted(FLOOR)


@pytest.mark.parametrize("name", FLOOR)
def test_imports_point_down(name):
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            for target in [node.module] if node.module else [alias.name for alias in node.names]:
                assert FLOOR[target] < FLOOR[name], f"{name} imports {target}"


@pytest.mark.parametrize("name", FILES)
def test_public_names_say_what_they_are_for(name):
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    for node in tree.body:
        members = node.body if isinstance(node, ast.ClassDef) else []
        for item in [node, *members]:
            inherited = (
                item is not node
                and item.name
                in (
                    "parse_args",
                    "error",
                    "find_spec",
                    "hybrid_forward",
                    "begin_state",
                    "advance",
                    "lines",
                )
                if isinstance(item, ast.FunctionDef)
                else False
            )
            if (
                isinstance(item, (ast.FunctionDef, ast.ClassDef))
                and not item.name.startswith("_")
                and not inherited
                and item.name not in ("main", "parse")
            ):
                assert ast.get_docstring(item), f"{name}.{item.name}"


def test_what_can_raise_says_so():
    for name, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.FunctionDef)
                and not node.name.startswith("_")
                and node.name not in ("main", "parse", "error")
            ):
                raises = any(
                    isinstance(n, ast.Raise)
                    and isinstance(n.exc, ast.Call)
                    and getattr(n.exc.func, "id", "") == "InputError"
                    for n in ast.walk(node)
                )
                text = ast.get_docstring(node) or ""
                assert not raises or "Raises" in text or "InputError" in text or "Refuse" in text, (
                    f"{name}.{node.name}"
                )


def lines_of_code(path):
    """Count the lines that hold code: no blank lines, comments, docstrings."""
    nothing = (
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    )
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
    ]
    docstrings = {
        line
        for node in documented
        if ast.get_docstring(node)
        for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)
    }
    with tokenize.open(path) as stream:
        tokens = [
            token
            for token in tokenize.generate_tokens(stream.readline)
            if token.type not in nothing
        ]
    return len(
        {line for token in tokens for line in range(token.start[0], token.end[0] + 1)} - docstrings
    )


def test_the_package_stays_small_enough_to_read_in_an_afternoon():
    assert sum(map(lines_of_code, FILES.values())) < 2800


def test_everything_the_package_offers_is_there():
    for name in gluonlm.__all__:
        assert inspect.getdoc(getattr(gluonlm, name)), name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = gluonlm.nonsense


def test_the_three_lists_of_requirements_agree():
    def pins(name):
        return dict(
            re.findall(r"^([A-Za-z_-]+)==([\w.]+)", (ROOT / name).read_text(encoding="utf-8"), re.M)
        )

    cpu, gpu, setup = (
        pins("requirements.txt"),
        pins("requirements-gpu.txt"),
        (ROOT / "setup.py").read_text(encoding="utf-8"),
    )
    for name in (
        "gluonnlp",
        "numpy",
        "scipy",
        "scikit-learn",
        "matplotlib",
        "safetensors",
        "tqdm",
        "tomli",
        "setuptools",
    ):
        assert cpu[name] == gpu[name] and f'"{name}' in setup.replace("'", '"'), name
