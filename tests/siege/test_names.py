"""Every command with names that are not UTF-8, and in an ASCII locale: works, or one line."""

import json
import os

import pytest
from conftest import start

FLAGS = "--hidden-size 8 --embed-size 8 --batch-size 4 --seq-len 10".split()
LOCALES = {
    "UTF-8": dict(LC_ALL="C.UTF-8", PYTHONUTF8="1", PYTHONIOENCODING="utf-8"),
    "ASCII": dict(
        LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii:strict"
    ),
}
# one process for all commands, because starting is slow; standard output is not captured by Python
PROGRAM = """
import importlib, json, os, sys
import gluonlm
from gluonlm.__main__ import main
from gluonlm.system.console import run_command

for words in json.load(open("lines.json")):
    os.write(2, b"\\0")  # ends the error output of the previous command
    try:
        run_command(lambda: main(words))
    except SystemExit as error:
        os.write(2, b"\\1%d" % error.code)
"""


def lines(name):
    """Return the command lines of one folder, and the exit code of each."""
    text, run, timed = f"text{name}.txt", f"run{name}", ["--data", f"text{name}.txt", *FLAGS]
    tiny = [*timed, "--max-steps", "4"]
    vocab = ["--vocab-text", text, "--level", "char"]
    weights = f"net{name}.safetensors"
    out = iter(f"{number}{name}" for number in range(100))
    good = [
        ["train", *tiny, "--run", run, "--set", "sample_temperatures=1"],
        ["train", "--resume", run, "--max-steps", "8"],
        ["train", *tiny, "--run", f"{run}2", "--init-from", run],
        ["train", *tiny, "--run", f"{run}3", "--config", f"{run}/config.json", "--quiet"],
        ["evaluate", run, "--html", next(out), "--per-token", next(out), "--ansi"],
        ["evaluate", run, "--data", text, "--json", "--dynamic", "sgd", "--cache", "9"],
        ["generate", run, "--length", "30", "--temperature", "9", "--novelty"],
        ["tune", f"study{name}", *tiny, "--try", "lr=0.001/0.01", "--trials", "2"],
        ["tune", f"study{name}", *tiny, "--try", "lr=0.001/0.01", "--trials", "3"],
        ["compare", *timed, "--out", next(out), "--steps", "1", "--rounds", "1"],
        ["export", run, "--format", "html", "--out", next(out)],
        ["export", run, "--format", "onnx", "--out", next(out)],
        ["export", run, "--format", "torch", "--out", weights],
        ["import", weights, *vocab, "--run", f"imported{name}"],
        ["combine", run, f"{run}2", "--run", f"both{name}"],
        ["embeddings", run, "--out", next(out)],
        ["embeddings", run, "--near", "c"],
        ["corpus", "--data-dir", f"data{name}"],
        ["--version"],
        ["train", "--help-all"],
    ]
    bad = [
        ["train", "--data", f"missing{name}", "--run", next(out)],
        ["train", *tiny, "--run", run],
        ["train", "--resume", f"missing{name}"],
        ["train", "--config", f"missing{name}"],
        ["train", *tiny, "--preset", f"missing{name}"],
        ["train", *tiny, "--valid", f"missing{name}"],
        ["evaluate", f"missing{name}"],
        ["evaluate", run, "--data", f"missing{name}", "--encoding", f"cp{name}"],
        ["evaluate", run, "--html", text],
        ["generate", run, "--prompt", name],
        ["generate", f"missing{name}"],
        ["tune", run, *tiny, "--try", "lr=1..2"],
        ["tune", f"study{name}", *tiny, "--try", f"model=gru/{name}"],
        ["compare", "--data", f"missing{name}", "--out", next(out)],
        ["export", run, "--format", "html", "--out", run],
        ["import", text, *vocab, "--run", next(out)],
        ["import", weights, "--vocab", text, "--run", next(out)],
        ["combine", run, f"missing{name}", "--run", next(out)],
        ["embeddings", run, "--near", name],
        ["corpus", name],
        [name],
    ]
    # an ASCII locale passes an accented letter as two unknown characters
    either = [["generate", run, "--prompt", "caf\u00e9"], ["embeddings", run, "--near", "\u00e9"]]
    return [
        *((line, (0,)) for line in good),
        *((line, (2,)) for line in bad),
        *((line, (0, 2)) for line in either),
    ]


@pytest.mark.long
@pytest.mark.parametrize("locale", LOCALES)
def test_every_command_works_with_any_name_in_any_locale(locale, tmp_path):
    name = os.fsdecode(b"\xff\xe9")
    text = "un caf\u00e9 \U0001f600, des caf\u00e9s\n" * 200
    (tmp_path / f"text{name}.txt").write_text(text, encoding="utf-8")
    cases = lines(name)
    # as the command line would pass them in this locale
    encoding = "utf-8" if locale == "UTF-8" else "ascii"
    words = [
        [os.fsencode(word).decode(encoding, "surrogateescape") for word in line]
        for line, _ in cases
    ]
    (tmp_path / "lines.json").write_text(json.dumps(words))
    env = {**LOCALES[locale], "GLUONLM_DATA": str(tmp_path / f"data{name}")}
    process = start("-c", PROGRAM, cwd=tmp_path, env=env, encoding="utf-8", errors="replace")
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    results = [part.rpartition("\1") for part in err.split("\0")[1:]]
    assert len(results) == len(cases)
    wrong = []
    for (line, wanted), (error, _, code) in zip(cases, results):
        one = error.startswith("gluonlm: error: ") and error.count("\n") == 1
        if int(code) not in wanted or "Traceback" in error or (int(code) and not one):
            wrong.append((line, code, error))
    assert not wrong
