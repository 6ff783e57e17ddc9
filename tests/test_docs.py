"""Every command in the Markdown files runs, with short trainings and substitute texts."""

import importlib
import importlib.util
import json
import re
import runpy
import shlex
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT, start

from gluonlm.corpus import CATALOGUE
from gluonlm.system.console import run_command
from gluonlm.vocab import Vocab

PAGES = ["README.md", "CONTRIBUTING.md"]
PAGES += [f"{folder}/README.md" for folder in ("benchmarks", "data")]
PAGES += [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tutorials").glob("*.md"))]
PAGES += [str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))]
ELSEWHERE = ("pip", "jupyter", "cat", "cd", "git", "export", "apt-get")  # not ours to test
# two steps of a small network; substitute corpora have other hashes
SHORT = "--max-steps 2 --max-minutes 1 --batch-size 2 --seq-len 5 --no-verify --quiet"
WORDS = "the company said on monday that it will buy shares of the other company today"


def blocks(page):
    """Yield ("sh" or "python", text) of each block of code of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in re.finditer(
        r"^```(\w*)\n(.*?)^```|((?:^ {4}[^\n]*\n)+)", text, re.MULTILINE | re.DOTALL
    ):
        yield (found[1] or "sh", found[2]) if found[3] is None else ("sh", found[3])


def commands(text):
    """Yield the arguments of each command in a block or span of code."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        for part in re.split(r"&&|(?<= )\|(?= )", line):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:  # program output
                continue
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words:
                yield [
                    words[0].rpartition("/")[2] if ".venv/" in words[0] else words[0],
                    *words[1:],
                ]


def ours(words):
    """Return the name of a gluonlm command and its flags, or None."""
    if words[0].startswith("python") and words[1:2] == ["-m"]:
        words = [words[2].replace(".", " ", 1), *words[3:]]
        words = [*words[0].split(), *words[1:]]
    return words[1:] if words[0] == "gluonlm" else None


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder with texts, named as in the pages."""
    folder = tmp_path_factory.mktemp("workshop")
    lines = "".join(f"{WORDS} for {n} dollars .\n" for n in range(60)) + "In the beginning\n" * 9
    names = [file.path for entry in CATALOGUE.values() for file in entry.files]
    for name in (*names, "book.txt", "notes/all.txt", "letter.txt", "prompts.txt", "sentence.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(lines)
    (folder / "letter.txt").write_text(WORDS)
    (folder / "poems.txt").write_text(lines.replace("\n", "\n\n"))
    (folder / "letters").mkdir()
    for number in range(9):
        (folder / "letters" / f"{number}.txt").write_text(lines)
    (folder / "reviews").mkdir()
    (folder / "reviews/a.jsonl").write_text("".join('{"text": "In the"}\n' for _ in range(99)))
    save_old_weights(folder)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import mxnet")])
    nbformat.write(notebook, folder / "lstm.ipynb")
    return folder


def save_old_weights(folder):
    """Write a model.params with its vocab.json, and an lm.params with its text."""
    from networks_of_each_kind import checkpoint_of

    (folder / "train.txt").write_text(WORDS)
    letters = Vocab.build([(folder / "book.txt").read_text()])
    for name, vocab in (("model", letters), ("lm", Vocab.build([WORDS], "word"))):
        model, _ = checkpoint_of("gru", vocab)
        model.save_parameters(str(folder / f"{name}.params"))
    (folder / "vocab.json").write_text(json.dumps(letters.tokens))


@pytest.fixture
def run(workshop, monkeypatch, capfd):
    monkeypatch.chdir(workshop)
    monkeypatch.setenv("GLUONLM_DATA", str(workshop))
    monkeypatch.syspath_prepend(workshop)  # the folder of the exported module

    def run(name, flags):
        package = importlib.import_module("gluonlm.__main__")
        if name == "train":
            flags = [*(("cpu" if flag == "gpu" else flag) for flag in flags)]
            resumed = "--resume" in flags or "--list-presets" in flags
            short = SHORT if "--hidden-size" in flags else f"{SHORT} --hidden-size 8"
            if "--init-from" in flags:  # keep its layer sizes
                short = SHORT
            flags += [] if resumed else short.split()
            if {"--run", "--preset"} & {*flags} and not resumed:
                flags += ["--overwrite"]
        if name == "tune":  # shorter than with its `--set`
            flags = re.sub(r"--set \S+", "", " ".join(flags)).split()
            short = SHORT.replace("--quiet", "")
            short = short.replace("--batch-size 2", "") if "batch-size=" in str(flags) else short
            flags += [*short.split(), "--trials", "2"]
        if "runs/gru-python-docs" in flags:  # from make train, which takes two minutes
            flags[flags.index("runs/gru-python-docs")] = "runs/notes"
        if name == "export":
            flags += ["--overwrite"]
        if name == "serve":
            serve(flags)
            return
        monkeypatch.setattr("sys.stdin", open("letter.txt"))
        with pytest.raises(SystemExit) as ended:
            run_command(lambda: package.main([name, *flags]))
        out, err = capfd.readouterr()
        assert ended.value.code == 0, (name, flags, err)

    return run


@pytest.mark.long
@pytest.mark.parametrize("page", [p for p in PAGES if "docs/results" not in p])
def test_every_command_of_a_page_runs(page, run, workshop):
    ran = 0
    for language, text in blocks(page):
        if language == "python":
            needed = re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)
            if "runs/gru-python-docs" in text:  # from make train
                text = text.replace("runs/gru-python-docs", "runs/small")
                run("train", ["--data", "book.txt", "--run", "runs/small"])
            (workshop / "page.py").write_text(text)
            if "torch" not in needed or importlib.util.find_spec("torch"):
                runpy.run_path(str(workshop / "page.py"))
            continue
        for words in commands(text):
            command = ours(words)
            if command and command[0] == "corpus" and command[1:]:
                assert set(command[1:]) <= {*CATALOGUE, "--help"}
            elif command:
                run(command[0], command[1:])
                ran += 1
            else:
                check_other(words)
    assert ran >= {"README.md": 4}.get(page, 0)


def serve(flags):
    """Start a server, and stop it when it is ready."""
    if importlib.util.find_spec("uvicorn"):
        server = start("-m", "gluonlm", "serve", *flags, "--port", 0)
        assert "http://" in server.stdout.readline()
        server.terminate()
        server.communicate(timeout=300)


def check_other(words):
    """Assert that the files and targets named by another program's command exist."""
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert next(word for word in words[1:] if "=" not in word) in targets, words
    elif words[0].startswith("python") and words[1:2] not in (["-m"], []):
        assert (ROOT / words[1]).exists(), words
    for place, word in enumerate(words[:-1]):
        if word == "-r" and words[0].startswith("pip"):
            assert words[place + 1].startswith(".venv/") or (ROOT / words[place + 1]).exists()


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_a_sentence_is_valid(page):
    """Its flags and its preset exist; names in capitals are placeholders."""
    text = (ROOT / page).read_text(encoding="utf-8")
    spans = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    if page.startswith("docs/results"):
        spans += [text for _, text in blocks(page)]
    for span in spans:
        for words in commands(span):
            command = ours(words)
            if command and "." not in command[0] and command[1:]:
                check_flags(*command)
            elif words[0] == "make" and words[1:]:
                check_other(words)


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_and_headings_resolve(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target, heading in re.findall(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
            slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings]
            assert heading in slugs, (target, heading)


def check_flags(name, *flags):
    program = importlib.import_module("gluonlm.__main__")
    assert name in program.COMMANDS or name.startswith("-") or name == "completion", name
    if name not in program.COMMANDS or "--help" in flags or any(f.endswith("...") for f in flags):
        return
    flags = [flag for flag in flags if flag not in ("...", "NAME")]
    if flags and flags[-1] != "--preset":
        parsed = program._module(name).make_parser().parse_args(flags)
        presets = importlib.import_module("gluonlm.config.presets").PRESETS
        assert not getattr(parsed, "preset", None) or parsed.preset in presets


def test_the_command_of_the_readme_runs_as_a_process(workshop):
    done = subprocess.run(
        [sys.executable, "-m", "gluonlm", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.startswith("python -m gluonlm: recurrent")
