"""Forged vocabularies of every level with valid hashes: every command works or prints one line."""

import functools
import shutil
import time
from collections import Counter

import pytest
from conftest import TINY
from test_forged import forge

from gluonlm.run.folder import Run
from gluonlm.train.__main__ import main as train

LONGEST = 20  # processor seconds of one command
LEVELS = {
    "char": ["--level", "char"],
    "word": ["--level", "word"],
    "punctuation": ["--level", "word", "--tokenizer", "punctuation"],
    "subword": ["--level", "subword", "--vocab-size", "300"],
}
TOKENS = ["\0", "a\0b", "\ud800", "x\udcffy", "\x1b[2J", "\u202e", "\u2028", "", "x" * 100_000, " ",
          "\n", "\r", "\uffed", "<unk>", "$$", "$x", "\\frac", "\uffff", "\U0010ffff"]  # fmt: skip


@pytest.fixture(scope="module")
def runs(text_file, tmp_path_factory):
    """A run of each level."""
    folder = tmp_path_factory.mktemp("levels")
    for level, flags in LEVELS.items():
        assert train(["--data", str(text_file), "--run", str(folder / level), *flags, *TINY]) == 0
    return folder


def commands(run, text_file, folder):
    """Return the command lines that open a run."""
    export = ["export", run.path, "--format"]
    return [
        ["evaluate", run.path, "--data", text_file, "--unknown", "skip", "--ansi"],
        ["evaluate", run.path, "--html", folder / "a.html", "--per-token", folder / "a.tsv"],
        ["generate", run.path, "--length", 50, "--temperature", 5],
        ["embeddings", run.path, "--out", folder / "map.png", "--count", 12],
        [*export, "html", "--out", folder / "page.html"],
        [*export, "torch", "--out", folder / "net.safetensors"],
        [*export, "onnx", "--out", folder / "net.onnx"],
        ["combine", run.path, folder / "other", "--run", folder / "both"],
        ["train", "--init-from", run.path, "--data", text_file, "--run", folder / "new", *TINY],
        ["train", "--resume", run.path, "--max-steps", 9, "--quiet"],
        ["import", "none", "--vocab", run.pointed("best") / "vocab.json", "--run", folder / "x"],
    ]


def is_harmless(err, code):
    """Return whether standard error has no traceback or escapes, and at most one error."""
    line = code == 0 or (err.startswith("gluonlm: error: ") and err.count("\n") == 1)
    return line and "Traceback" not in err and not {"\x1b", "\0"} & set(err) and len(err) < 9000


def attack(level, every, runs, tmp_path, command, text_file):
    """Open runs with forged tokens by every command, or every third; return the exit codes."""
    codes, failures = Counter(), []
    for number, token in enumerate(TOKENS):
        folder = tmp_path / str(number)
        run = Run(shutil.copytree(runs / level, folder / "run"))
        forge(run, "vocab.json", functools.partial(replaced, token))
        shutil.copytree(run.path, folder / "other")
        for line in commands(run, text_file, folder)[number % every :: every]:
            begin = time.process_time()
            code, _, err = command(*line)
            fast = time.process_time() - begin < LONGEST
            if not fast or code not in (0, 2) or not is_harmless(err, code):
                failures.append((token[:9], [str(word) for word in line], code, err[-500:]))
            codes[code] += 1
    assert not failures, failures
    return codes


@pytest.mark.long
@pytest.mark.parametrize("level", LEVELS)
def test_forged_tokens(level, runs, tmp_path, command, text_file):
    codes = attack(level, 3, runs, tmp_path, command, text_file)
    assert codes[0] > 10


@pytest.mark.full
@pytest.mark.parametrize("level", LEVELS)
def test_every_command_opens_or_refuses_any_token(level, runs, tmp_path, command, text_file):
    codes = attack(level, 1, runs, tmp_path, command, text_file)
    print(f"{sum(codes.values())} commands on forged tokens, by exit code: {dict(codes)}")


def replaced(token, vocab):
    """Return the tokens with one replaced: an early one, which is on the map of embeddings."""
    tokens = vocab["tokens"]
    tokens[-1 if vocab["level"] == "subword" else 5] = token
    return {**vocab, "tokens": tokens}
