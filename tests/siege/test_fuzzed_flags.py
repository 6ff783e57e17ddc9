"""Random command lines are accepted, or refused in one line; never a traceback or a crash."""

import dataclasses
import shutil
from collections import Counter
from typing import get_type_hints

import numpy as np
import pytest
from conftest import TINY, start

from gluonlm.config import GROUPS
from gluonlm.system.console import flag

WHOLE = "0 1 2 3 7 -1 -7 2147483647 2147483648 99999999999999999999 1.5 1e3 x nan".split()
REAL = (
    "0 1 -1 0.5 0.999999 1e-320 5e-324 1e-300 1e-45 1e-30 1e-9 1e6 1e38 1e39 1e300 1e400 nan inf "
    "-inf x -0.0 0x10 1_0 ٣"
).split()
WORDS = [
    "",
    " ",
    "x",
    "-",
    "--",
    "ü",
    "\x1b[2J",
    "a" * 300,
    "../..",
    "/",
    "/dev/null",
    "*",
    "[",
    "%s",
]
EXPRESSIVE = {
    "optimizer": ["sgd", "adam", "nag", "nadam", "ftml", "lamb", "lars", "signum", "sgld", "lbsgd"],
    "optimizer_params": [
        *(f"{name}={value}" for name in ("wd", "momentum", "beta1", "eps") for value in REAL),
        "beta2=0.5,wd=", "=", ",", "momentum=0.9,momentum=0.8", "lr=1", "param_dict=1", "wd=[1]",
    ],
    "init": ["xavier", *(f"uniform:{value}" for value in REAL), "uniform", "uniform:", "normal:1"],
    "split": ["90/5/5", "100/0/0", "0/50/50", "-1/96/5", "1/2", "nan/1/1", "1e400/0/0",
        "99.99/0/0.01"],
    "encoding": ["latin-1", "utf-16", "zip", "idna", "unicode_escape", "rot13", "cp037",
        "undefined"],
    "hidden_size": ["1", "3,5", "5,3,4", "1048577", "1,0", "", ",", "1000000", "60000"],
}  # fmt: skip
OTHER = {  # of `train`: (flag, values)
    "--ctx": ["cpu", "cpu:1", "cpu:0,1", "gpu", "gpu:0", "auto", "cpu:-1", "cpu:", "tpu",
        "cpu:99999999"],
    "--threads": ["0", "1", "-1", "100000", "x"],
    "--config": WORDS, "--init-from": WORDS, "--resume": WORDS, "--preset": [*WORDS, "ptb-lstm"],
}  # fmt: skip
COMMANDS = {
    "generate": {
        "--length": ["0", "1", "3", "-1", "x"], "--temperature": REAL, "--top-k": WHOLE,
        "--top-p": REAL, "--beam": ["0", "1", "2", "-1", "65537", "x"], "--seed": WHOLE,
        "--prompt": [*WORDS, "the hills"], "--samples": ["0", "1", "2", "-1"], "--greedy": [None],
        "--repetition-penalty": REAL, "--no-repeat-ngram": WHOLE,
        "--unknown": ["error", "skip", "x"],
    },
    "evaluate": {
        "--data": WORDS[2:3] + WORDS[5:], "--part": ["test", "valid", "train", "x"],
        "--encoding": EXPRESSIVE["encoding"], "--data-dir": WORDS, "--seq-len": WHOLE,
        "--per-token": WORDS[:5] + ["/dev/null", "/proc/x", "."], "--checkpoint": ["best", "x"],
        "--unknown": ["skip", "error"], "--json": [None], "--ctx": OTHER["--ctx"],
        "--html": WORDS[:5] + ["/dev/null", "/proc/x", "."], "--ansi": [None], "--streams": WHOLE,
        "--windows": WHOLE,
    },
    "export": {
        "--format": ["onnx", "torch", "html", "x"], "--half": [None], "--checkpoint": ["best", "x"],
        "--out": [*WORDS[:8], "/dev/null", "/proc/x", ".", "model.py", "x.safetensors"],
        "--overwrite": [None],
    },
    "embeddings": {"--seed": WHOLE, "--out": ["", ".", "/dev/null", "/proc/x"], "--count": WHOLE,
        "--near": WORDS, "--neighbours": WHOLE},
}  # fmt: skip


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(text_file, tmp_path, monkeypatch):
    """Do not write pictures into the folder of other tests; keep the text in a user folder."""
    monkeypatch.setenv("GLUONLM_DATA", str(text_file.parent))
    monkeypatch.chdir(tmp_path)


def drawn(random, flags, most):
    """Return a few flags with a value each."""
    chosen = random.choice(sorted(flags), size=random.integers(1, most + 1), replace=False)
    line = []
    for name in chosen:
        value = flags[name][random.integers(len(flags[name]))]
        line += [str(name)] if value is None else [f"{name}={value}"]
    return line


def training_flags():
    """Return all flags of a training with values to try; valid trainings must be short."""
    flags = dict(OTHER)
    for group in GROUPS.values():
        hints = get_type_hints(group)
        for item in dataclasses.fields(group):
            kind = hints[item.name]
            values = EXPRESSIVE.get(item.name) or list(item.metadata["choices"] or ())
            if not values:
                kind = kind.__args__[0] if getattr(kind, "__origin__", None) is tuple else kind
                values = {int: WHOLE, float: REAL, bool: [None]}.get(kind, WORDS)
            flags[flag(item.name)] = [*values, "nosuch"] if item.metadata["choices"] else values
    assert get_type_hints(GROUPS["model"])["hidden_size"] == tuple[int, ...]
    for endless in ("--max-steps", "--sample-length"):
        flags[endless] = [value for value in flags[endless] if len(value) < 5]
    flags["--members"] = flags["--num-layers"] = ["0", "1", "2", "-1", "1001", "x"]
    return flags


def assert_told(code, out, err, line):
    assert code in (0, 2, 3), (line, err)
    assert "Traceback" not in err, (line, err)
    assert "Error:" not in err, (line, err)
    if code == 2:
        assert err.startswith("gluonlm: error: "), (line, err)
        assert err.count("\n") == 1, (line, err)
        assert len(err) < 1200, (line, err)
        assert "\x1b" not in err, (line, err)


def fuzz_training(number, seed, text_file, tmp_path, run):
    """Run random command lines of `train`; return the count of each exit code."""
    random, flags, codes = np.random.default_rng(seed), training_flags(), Counter()
    for _ in range(number):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        end = ["--max-steps=2", "--max-minutes=0.05"]
        line = ["--data", text_file, "--run", tmp_path / "run", *TINY, *end]
        line += drawn(random, flags, 3)
        code, out, err = run("train", *line)
        assert_told(code, out, err, line)
        codes[code] += 1
    return codes


def fuzz_commands(number, seed, trained, run):
    """Run random command lines of the other commands; return the count of each exit code."""
    random, codes = np.random.default_rng(seed), Counter()
    for _ in range(number):
        module = str(random.choice(sorted(COMMANDS)))
        line = [trained, *drawn(random, COMMANDS[module], 3)]
        code, out, err = run(module, *line)
        assert_told(code, out, err, [module, *line])
        codes[code] += 1
    return codes


def in_process(module, *line):
    """Run a command line in a separate process, to detect crashes."""
    process = start("-m", f"gluonlm.{module}", *line)
    out, err = process.communicate()
    return process.returncode, out, err


@pytest.mark.long
def test_fuzzed_trainings(text_file, tmp_path, command):
    codes = fuzz_training(120, 1, text_file, tmp_path, command)
    assert codes[0] > 10
    assert codes[2] > 10


@pytest.mark.long
def test_fuzzed_commands(trained, command):
    codes = fuzz_commands(80, 2, trained, command)
    assert codes[0] > 10
    assert codes[2] > 10


@pytest.mark.full
def test_fifteen_hundred_fuzzed_lines(text_file, tmp_path, trained, command):
    codes = fuzz_training(1500, 3, text_file, tmp_path, command)
    codes += fuzz_commands(500, 4, trained, command)
    print(f"2,000 command lines in this process, by exit code: {dict(codes)}")
    assert codes[0] > 300
    assert codes[2] > 300


@pytest.mark.full
def test_fuzzed_lines_in_separate_processes(text_file, tmp_path, trained):
    codes = fuzz_training(60, 5, text_file, tmp_path, in_process)
    codes += fuzz_commands(30, 6, trained, in_process)
    print(f"90 command lines in processes of their own, by exit code: {dict(codes)}")
    assert codes[0] > 12
    assert codes[2] > 15
