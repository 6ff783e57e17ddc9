"""The form of what people read: the width of lines, and the page of public names."""

import ast
import importlib.util
import inspect
import json
import re
import shutil
import subprocess

import pytest
from conftest import ROOT

import gluonlm

SPEC = importlib.util.spec_from_file_location("api", ROOT / "docs" / "api.py")
api = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(api)

HIDDEN = (".venv", ".git", "build", "runs", "dist", "gluonlm.egg-info")
WIDTH = 100


def tracked(*endings):
    """Return the files of the repository with these endings; all that are here without git."""
    git = shutil.which("git")  # an unpacked sdist has no repository, and may have no git
    found = git and subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if found and found.returncode == 0:
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


@pytest.mark.parametrize("ending", [".py", ".md", ".ipynb", ".toml", ".txt", ".js", ".css"])
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
    fields = "  b: int\n  c: int = option(3, 'x')\n  d: dict = field(default_factory=dict)"
    node = ast.parse(f"@dataclass(frozen=True)\nclass A:\n{fields}").body[0]
    assert api.class_lines(node) == ["- `A(b, c=3, d=...)`"]


def test_the_page_of_public_names_has_all_that_the_package_offers_as_python_calls_it():
    page = " ".join(api.page().split())
    assert re.findall(r"`(\w+)`, of `gluonlm\.", page) == sorted(gluonlm.__all__)
    for name in set(gluonlm.__all__) - {"InputError", "Config"}:
        shown = re.search(rf"- `(?=({name}\(.*?\))`)", page)[1]
        call = ast.parse(f"def {shown}: pass").body[0].args
        taken = inspect.signature(getattr(gluonlm, name)).parameters
        names = [*call.args, *call.kwonlyargs, call.vararg, call.kwarg]
        assert [a.arg for a in names if a] == list(taken), name


def test_a_folder_says_what_it_offers():
    lines = api.room(api.PACKAGE / "training" / "__init__.py")
    assert lines[1] == "## `gluonlm.training`"
    assert lines[-1] == "Offers `Diverged`, `Progress`, `Trainer`."
