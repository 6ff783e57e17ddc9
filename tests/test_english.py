"""Phrases that a native engineer would not write do not return (see CONTRIBUTING.md)."""

import ast
import io
import json
import re
import tokenize

import pytest
from conftest import ROOT
from test_form import tracked

from gluonlm.__main__ import COMMANDS, _module

PATTERNS = {
    "a clause with what in place of a noun": r"what (is|was|it|comes|stands)",
    "things that say or tell": r"says?|said|tells?|told",
    "things that stand": r"stands?|stood",
    "that in place of a noun": r"that of",
    "things that lie": r"lies?|lay",
    "archaic words": r"anew|mend(s|ed|ing)?|riddles?|beside",
}
FEW = 9  # in the whole repository: some of them are right


def words_of_python(text):
    """Return the comments and strings of a program."""
    kinds = (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1))
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return "\n".join(token.string for token in tokens if token.type in kinds)


def words(path):
    """Return the sentences in a file: of a page without its listings, of a notebook its prose."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return words_of_python(text)
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    text = re.sub(r"^```.*?^```|^(    |>)[^\n]*|`[^`]*`", "", text, flags=re.M | re.S)
    return re.sub(r"[^.!?:]*\?", "", text)  # questions


def found(pattern, text):
    return re.findall(rf"^.*\b(?:{pattern})\b.*$", text, re.M | re.I)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_phrase_is_rare_in_the_repository_and_absent_from_the_readme(name):
    paths = [p for p in tracked(".py", ".md", ".ipynb") if "tests" not in p.parts]
    lines = {p.relative_to(ROOT): re.findall(rf"\b(?:{PATTERNS[name]})\b", words(p), re.I)
             for p in paths}  # fmt: skip
    many = {str(path): len(hits) for path, hits in lines.items() if hits}
    assert sum(many.values()) <= FEW, many
    assert "README.md" not in many


@pytest.mark.parametrize("command", COMMANDS)
def test_help_texts_are_free_of_them(command):
    for action in _module(command).make_parser()._actions:
        for pattern in PATTERNS.values():
            assert not found(pattern, str(action.help)), action.help


def test_errors_are_free_of_them():
    for path in tracked(".py"):
        if "gluonlm" not in path.relative_to(ROOT).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "InputError":
                strings = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
                text = " ".join(s for s in strings if isinstance(s, str))
                for pattern in PATTERNS.values():
                    assert not found(pattern, text), (path, node.lineno, text)
