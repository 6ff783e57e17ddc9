"""The width of lines, and the overview of the API."""

import json
import re
import shutil
import subprocess

import pytest
from conftest import ROOT

import gluonlm

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
            table = path.suffix == ".md" and line.startswith("|")
            cannot_be_broken = table or re.search(r"https?://\S{40,}|[0-9a-f]{64}", line)
            assert len(line.rstrip("\n")) <= WIDTH or cannot_be_broken, f"{path}:{number}"


def test_the_overview_of_the_api_lists_every_public_name():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    page = page.partition("\n## ")[0]
    names = [name for row in re.findall(r"^\| (`.*?) \|", page, re.M) for name in row.split(", ")]
    assert sorted(name.strip("`") for name in names) == sorted(gluonlm.__all__)
