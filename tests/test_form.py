"""Line widths, and the API overview."""

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
    """Return the repository's files with these suffixes; without git, all such files."""
    git = shutil.which("git")  # an unpacked sdist has no repository, and git may be missing
    found = git and subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if found and found.returncode == 0:
        paths = [ROOT / line for line in found.stdout.splitlines()]
    else:
        paths = [p for p in ROOT.rglob("*") if not set(HIDDEN) & set(p.relative_to(ROOT).parts)]
    return [path for path in paths if path.suffix in endings and path.exists()]


def prose(path):
    """Return the hand-written lines: of a notebook, the cells without their outputs."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return [line for cell in json.loads(text)["cells"] for line in cell["source"]]
    return text.splitlines()


@pytest.mark.parametrize("ending", [".py", ".md", ".ipynb", ".toml", ".txt", ".js", ".css"])
def test_lines_fit_the_width(ending):
    for path in tracked(ending):
        for number, line in enumerate(prose(path), 1):
            table = path.suffix == ".md" and line.startswith("|")
            cannot_be_broken = table or re.search(r"https?://\S{40,}|[0-9a-f]{64}", line)
            assert len(line.rstrip("\n")) <= WIDTH or cannot_be_broken, f"{path}:{number}"


def test_the_api_overview_lists_every_public_name():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    page = page.partition("\n## ")[0]
    names = [name for row in re.findall(r"^\| (`.*?) \|", page, re.M) for name in row.split(", ")]
    assert sorted(name.strip("`") for name in names) == sorted(gluonlm.__all__)


def test_every_file_names_the_same_version():
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    heading = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert citation[1] == heading[1] == gluonlm.__version__


def test_the_container_is_built_from_instructions_that_its_test_knows():
    """tests/container.py follows the Dockerfile where there is no Docker."""
    from container import DOCKERFILE, instructions

    text = DOCKERFILE.read_text()
    words = [word for word, _ in instructions(text)]
    assert set(words) == {"FROM", "RUN", "WORKDIR", "COPY", "ENV", "ENTRYPOINT"}
    assert dict(instructions(text))["FROM"].startswith("debian:bookworm")
    assert instructions("# a\nRUN a \\\n  b\n") == [("RUN", "a b")]
