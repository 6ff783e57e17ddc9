"""Notebooks: reading .ipynb files and the Markdown of d2l.ai, and executing their cells."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

from ..system.errors import InputError
from ..system.files import open_regular

PACKAGES = ("nbformat", "nbclient", "ipykernel")
LARGEST = 100_000_000  # bytes of a notebook with pictures
TAB = "mxnet"
_FENCE = re.compile(r"^(`{3,})\s*\{?\.?(\w*)(.*)$")
_TABS = re.compile(r"^(?:#@|%%)tab\s+(.*)\n?")
_PYTHON_2 = re.compile(r"Missing parentheses in call|Did you mean print|multiple exception types")


def read_notebook(path: Path) -> Any:
    """Return a notebook of nbformat 4.

    Raises
    ------
    InputError
        If the file is neither a notebook nor Markdown with Python cells, if it is written in
        Python 2, or if a package of the extra `run` is missing.
    """
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise InputError(f"{package} is not installed: pip install 'gluonlm[run]'")
    import nbformat

    with open_regular(path) as stream:
        text = stream.read(LARGEST).decode("utf-8", "replace")
    if path.suffix == ".md":
        notebook = nbformat.v4.new_notebook(cells=read_markdown(text))
    else:
        try:
            notebook = nbformat.reads(text, as_version=4)
        except Exception as error:  # of several modules, for each kind of damage
            raise InputError(f"{path}: not a Jupyter notebook: {error}") from None
    if not code_cells(notebook):
        raise InputError(f"{path}: no Python cells")
    check_python_3(path, notebook)
    return notebook


def code_cells(notebook: Any) -> list[Any]:
    """Return the cells with code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def read_markdown(text: str) -> list[Any]:
    """Return the cells of a Markdown text: of several tabs, those of MXNet.

    A block begins with ```{.python .input} or ```python. Its first line may name tabs, `#@tab all`
    or `%%tab mxnet, pytorch`; without it the block belongs to the first tab, MXNet.
    """
    from nbformat.v4 import new_code_cell, new_markdown_cell

    cells: list[Any] = []
    lines: list[str] = []
    fence = language = ""
    for line in [*text.splitlines(), "```"]:
        found = _FENCE.match(line)
        if not fence and found:
            if "".join(lines).strip():
                cells.append(new_markdown_cell("\n".join(lines)))
            lines, fence, language = [], found[1], found[2]
        elif fence and line.strip() == fence:
            source = "\n".join(lines)
            tabs = _TABS.match(source)
            if language == "python" and (not tabs or {TAB, "all"} & _names(tabs[1])):
                cells.append(new_code_cell(_TABS.sub("", source, count=1)))
            lines, fence = [], ""
        else:
            lines.append(line)
    return cells


def _names(tabs: str) -> set[str]:
    return {name.strip() for name in tabs.split(",")}


def check_python_3(path: Path, notebook: Any) -> None:
    """Reject a notebook with a statement of Python 2.

    Raises
    ------
    InputError
        For the first cell that contains one.
    """
    for number, cell in enumerate(code_cells(notebook), 1):
        code = "".join(
            line if line.lstrip()[:1] not in "%!?" else "\n"
            for line in cell.source.splitlines(keepends=True)
        )
        try:
            ast.parse(code)
        except SyntaxError as error:
            if _PYTHON_2.search(error.msg or ""):
                line = (error.text or "").strip()
                raise InputError(
                    f"{path}: cell {number} is Python 2 ({line}): convert the file to Python 3 "
                    "first, for example with 2to3 of Python 3.12 or older"
                ) from None
