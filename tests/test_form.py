"""The form of what people read: widths, the page of public names, no path of one machine."""

import ast
import importlib.util
import json
import re
import subprocess

import pytest
from conftest import ROOT

SPEC = importlib.util.spec_from_file_location("api", ROOT / "docs" / "api.py")
api = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(api)

HIDDEN = (".venv", ".git", "build", "runs", "dist")
WIDTH = 100


def tracked(*endings):
    """Return the files of the repository with these endings; all that are here without git."""
    found = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if found.returncode == 0:
        paths = [ROOT / line for line in found.stdout.splitlines()]
    else:
        paths = [p for p in ROOT.rglob("*") if not set(HIDDEN) & set(p.relative_to(ROOT).parts)]
    return [path for path in paths if path.suffix in endings and path.exists()]


def prose(path):
    """Return the lines that people wrote: of a notebook those of its cells, not their outputs."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return [line for cell in json.loads(text)["cells"] for line in cell["source"]]
    return text.splitlines()


@pytest.mark.parametrize("ending", [".py", ".md", ".ipynb", ".toml", ".txt", ".cfg"])
def test_no_line_is_cut_in_print_or_scrolls(ending):
    for path in tracked(ending):
        for number, line in enumerate(prose(path), 1):
            cannot_be_broken = re.search(r"https?://\S{40,}|[0-9a-f]{64}", line)
            assert len(line.rstrip("\n")) <= WIDTH or cannot_be_broken, f"{path}:{number}"


def test_the_page_of_public_names_is_current():
    assert api.PAGE.read_text(encoding="utf-8") == api.page(), "write it with python docs/api.py"


def test_the_page_of_public_names_says_what_the_source_says(tmp_path):
    path = api.PACKAGE / "sampling.py"
    lines = "\n".join(api.room(path))
    assert lines.startswith("\n## `gluonlm.sampling`\n\nWriting text with a model: ")
    expected = "- `probabilities(logits, temperature=1.0, top_k=0, top_p=1.0)`: Return the dist"
    assert expected in lines and "_whole_window" not in lines
    node = ast.parse('class A:\n  """One. Two."""\n  def b(self, c: int = 3) -> int:\n    "Do."')
    assert api.class_lines(node.body[0]) == ["- `A`: One.", "  - `b(c=3)`: Do."]
    names = re.findall(r"^- `(\w+)`, of", api.page(), re.M)
    assert {"Trainer", "rnn_batch", "load_model", "InputError"} <= set(names)
