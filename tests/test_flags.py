"""Flags as users type them, and their help."""

import argparse
import dataclasses
import json
import os
import re
from typing import get_type_hints

import numpy as np
import pytest
from conftest import TINY, assert_refused, start
from hypothesis import given, settings
from hypothesis import strategies as st

from gluonlm import compare
from gluonlm.config import GROUPS, Config
from gluonlm.config import flags as cli
from gluonlm.system.console import flag, speak_flags
from gluonlm.train import __main__ as train
from gluonlm.tune import __main__ as tune

MODULES = {"train": train, "compare": compare, "tune": tune}
COMMON = {name: module.COMMON for name, module in MODULES.items()}
PARSERS = {name: module.make_parser() for name, module in MODULES.items()}
COMMANDS = ["train", "generate", "evaluate", "compare", "tune", "embeddings", "corpus"]


SETTINGS = {flag(i.name): i.default for group in GROUPS.values() for i in dataclasses.fields(group)}


def test_aliases_underscores_and_equals_signs(text_file, tmp_path, command):
    typed = "--nhid=9 --emsize 9 --nlayers 2 --bptt 7 --batch_size=3 --tied --max_steps 1 --quiet"
    flags = [f"--data={text_file}", "--run", tmp_path / "run", *typed.split()]
    code, _, err = command("train", *flags)
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (code, err) == (0, "")
    names = "hidden_size embed_size num_layers seq_len batch_size tie_weights".split()
    assert [settings[name] for name in names] == [[9], 9, 2, 7, 3, True]
    assert train.parse(["--context", "5"])[0]["window"] == 5


@pytest.mark.cpu_build
@pytest.mark.parametrize("habit", ["--cuda", "--gpu"])
def test_aliases_select_a_gpu(habit, command):
    assert_refused(command("train", habit, "--max-steps", 1), "--ctx gpu", "requirements-gpu.txt")


@pytest.mark.parametrize(
    "name, content",
    [
        ("c.toml", 'hidden_size = 9\ndata = ["{}"]\nlr = 1\n'),
        ("c.json", '{{"hidden_size": [9], "data": "{}", "lr": 1}}'),
    ],
)
def test_flags_override_settings_from_a_file(name, content, text_file, tmp_path, command):
    (tmp_path / name).write_text(content.format(text_file))
    code, _, err = command(
        "train",
        "--config",
        tmp_path / name,
        "--run",
        tmp_path / "run",
        "--max-steps",
        1,
        "--lr",
        0.5,
        "--quiet",
    )
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (code, err) == (0, "")
    assert (settings["hidden_size"], settings["lr"]) == ([9], 0.5)
    code, _, err = command(
        "train",
        "--config",
        tmp_path / "run" / "config.json",
        "--run",
        tmp_path / "again",
        "--quiet",
    )
    assert (code, err) == (0, "")
    assert (tmp_path / "again" / "config.json").read_text() == (
        tmp_path / "run" / "config.json"
    ).read_text()


@pytest.mark.parametrize(
    "flags, name",
    [
        (["--model", "transformer"], "--model"),
        (["--data", "nosuch"], "--data nosuch"),
        (["--hidden-size", "0"], "--hidden-size 0"),
        (["--hidden-size", "x"], "--hidden-size"),
        (["--hidden-size", "12,0"], "--hidden-size 0"),
        (["--batch-size", "-1"], "--batch-size -1"),
        (["--seq-len", "0"], "--seq-len 0"),
        (["--lr", "nan"], "--lr nan"),
        (["--lr", "0"], "--lr 0"),
        (["--lr", "-1"], "--lr -1"),
        (["--lr", "inf"], "--lr inf"),
        (["--dropout", "1"], "--dropout 1"),
        (["--dropout", "nan"], "--dropout nan"),
        (["--epochs", "0"], "--epochs 0"),
        (["--clip", "-1"], "--clip"),
        pytest.param(["--ctx", "gpu"], "requirements-gpu.txt", marks=pytest.mark.cpu_build),
        pytest.param(["--ctx", "gpu:7"], "requirements-gpu.txt", marks=pytest.mark.cpu_build),
        (["--ctx", "tpu"], "--ctx 'tpu'"),
        (["--nosuchflag"], "--nosuchflag"),
        (["--split", "90/5"], "--split"),
        (["--optimizer", "magic"], "--optimizer"),
        (["--init", "ones"], "--init"),
        (["--seed", "-1"], "--seed"),
        (["--batch-size", "6000"], "6000"),
        (["--config", "nosuch.toml"], "--config nosuch.toml"),
        (["--resume", "nosuch"], "nosuch"),
        (["--threads", "-2"], "--threads"),
        (["--max-minutes", "-1"], "--max-minutes"),
        (["--encoding", "klingon"], "--encoding"),
        (["--tie-weights"], "--tie-weights"),
        (["--valid", "nosuch"], "nosuch"),
    ],
)
def test_bad_flags_are_one_line_and_write_nothing(
    flags, name, text_file, tmp_path, command, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    begin = ["--data", text_file, "--run", tmp_path / "run", *TINY]
    assert_refused(command("train", *([] if flags[0] == "--resume" else begin), *flags), name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "content, name",
    [
        (None, "--data"),
        (b"", "empty"),
        (b"x", " 1 tokens"),
        (b"too short", "--split"),
        (bytes(range(256)) * 20, "0x80 at offset 128"),
        (b"\x7fELF\0\0\0" * 200, "character 4 "),
        (b"caf\xe9 " * 200, "0xe9 at offset 3"),
    ],
)
def test_bad_texts_are_one_line_and_write_nothing(content, name, tmp_path, command):
    path = tmp_path / "text"
    if content is not None:
        path.write_bytes(content)
    assert_refused(command("train", "--data", path, "--run", tmp_path / "run", *TINY), name)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "file, content, name",
    [
        ("c.toml", "lr = ", "TOML"),
        ("c.json", "{", "JSON"),
        ("c.json", "[1]", "c.json"),
        ("c.toml", "learning_rate = 1", "'learning_rate'"),
        ("c.toml", "lr = 'fast'", "--lr 'fast'"),
        ("c.toml", "batch_size = 1.5", "--batch-size 1.5"),
        ("c.json", '{"lr": NaN}', "--lr nan"),
        ("c.toml", "tie_weights = 1", "--tie-weights 1"),
        ("c.json", '{"data": [[1]]}', "--data"),
    ],
)
def test_bad_configurations_are_one_line(file, content, name, tmp_path, command):
    (tmp_path / file).write_text(content)
    assert_refused(command("train", "--config", tmp_path / file, "--run", tmp_path / "run"), name)
    assert not (tmp_path / "run").exists()


def test_only_regular_files_are_accepted(tmp_path, command):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        assert_refused(command("train", "--data", path, "--run", tmp_path / "run", *TINY), path)


def test_the_threads_flag_overrides_the_environment(text_file, tmp_path):
    flags = ["--data", text_file, "--run", tmp_path / "run", *(f for f in TINY if f != "--quiet")]
    out, err = start(
        "-m", "gluonlm.train", *flags, "--threads", 2, env={"OMP_NUM_THREADS": "1"}
    ).communicate()
    assert "2 threads" in out
    assert err == ""


def shown(parser):
    """Return the options that a parser's help describes."""
    return [a for a in parser._actions if a.option_strings and a.help != argparse.SUPPRESS]


@pytest.mark.parametrize("module", COMMANDS)
def test_help_describes_every_flag_and_its_default(module, command, monkeypatch):
    parsers, real = [], cli.Parser.parse_args
    watched = lambda self, *args: (parsers.append(self), real(self, *args))[1]  # noqa: E731
    monkeypatch.setattr(cli.Parser, "parse_args", watched)
    code, out, err = command(module, "--help-all" if module in COMMON else "--help")
    assert (code, err) == (0, "")
    entries = [" ".join(entry.split()) for entry in re.split(r"\n  (?=-)", out)[1:]]
    flags = shown(parsers[0])
    assert len(entries) == len(flags)
    assert all(action.help for action in flags)
    names = [action.option_strings[0] for action in flags]
    for name, action, entry in zip(names, flags, entries):
        assert entry.startswith(name)
        assert " ".join((action.help % vars(action)).split()) in entry
        setting = name in SETTINGS and action.default == argparse.SUPPRESS
        default = SETTINGS[name] if setting else action.default
        default = ",".join(map(str, default)) if isinstance(default, tuple) else default
        if setting or default not in (None, False, argparse.SUPPRESS):
            text = str(default).lower() if isinstance(default, bool) else default
            assert (f"(default: {text})" in entry) == (default != ""), name


@pytest.mark.parametrize("module", COMMON)
def test_help_shows_the_common_flags_and_how_to_set_the_others(module, command):
    code, out, err = command(module, "--help")
    listed = set(re.findall(r"^  (--[a-z-]+)", out, re.MULTILINE)) - {"--help-all", "--set"}
    assert (code, err) == (0, "")
    assert listed == set(map(flag, COMMON[module]))
    assert "examples:\n  python -m gluonlm " in out
    assert "--help-all" in out
    assert "--set NAME" in out


@pytest.mark.parametrize("module, limit", [("train", 28), ("compare", 10), ("tune", 12)])
def test_help_all_lists_each_setting_once_as_a_flag_or_for_set(module, limit, command):
    _, out, _ = command(module, "--help-all")
    flags = re.findall(r"^  (?:-h, )?(--[a-z-]+)", out, re.MULTILINE)
    settings = re.findall(r"^  ([a-z_]+)=", out, re.MULTILINE)
    assert len(flags) <= limit
    assert not set(flags) & set(map(flag, settings))
    listed = [name for name in (*flags, *map(flag, settings)) if name in SETTINGS]
    assert sorted(listed) == sorted(SETTINGS)
    for name in settings:
        (action,) = (a for a in PARSERS[module].settings._actions if a.dest == name)
        assert " ".join(action.help.replace("%%", "%").split()) in " ".join(out.split())


def values_of(item, kind):
    """Return a strategy for the arguments that set a value by flag and by `--set`."""
    single = getattr(kind, "__args__", (kind,))[0]
    if item.metadata["choices"]:
        return st.sampled_from(item.metadata["choices"])
    if single is str:
        return st.text(
            st.characters(codec="ascii", exclude_characters=",-", min_codepoint=33), min_size=1
        )
    numbers = st.integers() if single is int else st.floats(allow_nan=False)
    if kind in (int, float):
        return numbers.map(str)
    return st.lists(numbers.map(str), min_size=1, max_size=4).map(",".join)


FIELDS = {
    item.name: (item, get_type_hints(group)[item.name])
    for group in GROUPS.values()
    for item in dataclasses.fields(group)
}


@settings(max_examples=5, deadline=None)
@given(st.data())
@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_the_same_by_flag_and_by_set(name, data):
    item, kind = FIELDS[name]
    value = data.draw(st.booleans() if kind is bool else values_of(item, kind))
    if kind is bool:
        words, value = [f"--{'no-' * (not value)}{flag(name)[2:]}"], str(value).lower()
    else:
        words = [f"{flag(name)}={value}"]
    for command, parser in PARSERS.items():
        start = ["study"] * (command == "tune")
        typed = vars(parser.parse_args([*start, *words]))
        assert name in typed
        alone = [*start, "--set", f"{name}={value}"]
        both = [*start, "--set", f"{name.replace('_', '-')}={value}", *words]
        assert vars(parser.parse_args(alone)) == vars(parser.parse_args(both)) == typed


@pytest.mark.parametrize("module", COMMON)
def test_every_flag_of_a_setting_still_parses_and_is_hidden_unless_common(module):
    parser = PARSERS[module]
    assert set(SETTINGS) <= set(parser._option_string_actions)
    names = {action.dest for action in shown(parser)}
    assert names & set(FIELDS) == set(COMMON[module]) & set(FIELDS)


@pytest.mark.parametrize(
    "ours, habit",
    [
        ("hidden_size=9", "nhid=9"),
        ("hidden_size=9,8", "rnn_size=9,8"),
        ("window=5", "context=5"),
        ("lr=0.1", "learning-rate=0.1"),
        ("tie_weights=true", "tied=True"),
        ("model=lstm", "rnn-type=LSTM"),
        ("lr=1e-3", "--lr=0.001"),
    ],
)
def test_set_accepts_aliases(ours, habit):
    parser = PARSERS["train"]
    assert parser.read_set([ours]) == parser.read_set([habit]) == parser.read_set([ours, habit])
    assert parser.read_set(["model=RNN_TANH"]) == dict(model="rnn", activation="tanh")


@pytest.mark.parametrize(
    "flags, name",
    [
        (["--set", "lr=x"], "--lr"),
        (["--set", "lr="], "--lr"),
        (["--set", "lr=0"], "--lr 0"),
        (["--set", "tied=maybe"], "--tie-weights"),
        (["--set", "model=transformer"], "--model"),
        (["--set", "model=-x"], "--model"),
        (["--set", "hidden_size=8,x"], "--hidden-size"),
        (["--set", "hiden_size=8"], " hidden_size"),
        (["--set", "learning_rat=1"], " lr"),
        (["--set", "confg=x.toml"], " --config"),
        (["--set", "zzzzzz=1"], "--set zzzzzz=1"),
        (["--set", "=1"], "--set =1"),
        (["--set", "lr"], "--set lr"),
        (["--set"], "--set"),
        (["--lr", "1", "--set", "lr=2"], "--lr"),
        (["--set", "learning_rate=2", "--lr", "1"], "--lr"),
        (["--set", "lr=1", "--set", "lr=2"], "--lr"),
        (["--set", "data=a", "--data", "a", "b"], "--data"),
    ],
)
@pytest.mark.parametrize("module", COMMON)
def test_bad_values_of_set_are_one_line(module, flags, name, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = ["study", "--try", "dropout=0.1..0.2"] if module == "tune" else []
    assert_refused(command(module, *start, *flags), name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("module", COMMON)
def test_precedence_is_flags_and_set_then_file_then_preset(module, tmp_path):
    (tmp_path / "c.toml").write_text("lr = 0.5\nclip = 2.0\nseed = 3")
    start = ["study", "--try", "dropout=0.1..0.2"] if module == "tune" else []
    words = f"--preset ptb-small --config {tmp_path / 'c.toml'} --set lr=0.25 --clip 3".split()
    values = MODULES[module].parse([*start, *words])[0]
    assert [values[name] for name in ("lr", "clip", "seed", "epochs")] == [0.25, 3.0, 3, 24]


def test_the_error_of_an_unknown_setting_names_help_all(tmp_path, command):
    (tmp_path / "c.toml").write_text("learning_rate = 1")
    _, _, err = command("train", "--config", tmp_path / "c.toml", "--run", tmp_path / "run")
    module, page = re.search(r"\(gluonlm (\w+) (--[a-z-]+)\)", err).groups()
    _, out, _ = command(module, page)
    listed = re.findall(r"^  (--[a-z-]+)|^  ([a-z_]+)=", out, re.MULTILINE)
    assert set(SETTINGS) <= {ours or flag(name) for ours, name in listed}


@pytest.mark.parametrize("module", COMMANDS)
def test_the_error_of_a_flag_names_the_help(module, command):
    code, _, err = command(module, "--no-such-flag")
    page = re.search(r"\(see (--[a-z-]+)\)$", err.strip())[1]
    assert (code, page) == (2, "--help-all" if module in COMMON else "--help")


def test_flags_cannot_be_abbreviated(trained, command):
    for module, *flags in (("train", "--hidden", 8), ("generate", trained, "--len", 3)):
        assert_refused(command(module, *flags), f"{flags[-2]} {flags[-1]}")


def test_errors_name_settings_and_the_command_prints_flags():
    message = "`tie_weights`: the last `hidden_size`, 7, must equal `embed_size`; `Not this`, `x1`"
    spoken = "--tie-weights: the last --hidden-size, 7, must equal --embed-size; `Not this`, `x1`"
    assert speak_flags(message) == spoken


@pytest.mark.parametrize(
    "settings, operation",
    [
        (dict(), 2 * 32 * 64 * (3 * 256) * 256),
        (dict(model="lstm", hidden_size=(100, 300)), 2 * 32 * 64 * (4 * 300) * 300),
        (dict(model="mingru"), 2 * 32 * 64 * (2 * 256) * 256),
        (dict(model="rnn", embed_size=500, hidden_size=(10,)), 2 * 32 * 64 * 10 * 500),
        (dict(model="unrolled", hidden_size=(10,), embed_size=20), 2 * 32 * 10 * 20),
        (dict(model="window", window=9, hidden_size=(70,), batch_size=5), 2 * 5 * 9 * 280 * 70),
        (dict(level="word"), float("inf")),
    ],
)
def test_the_largest_matrix_product_determines_the_threads(settings, operation):
    assert Config.from_dict(settings).largest_operation() == operation


def test_a_float_of_numpy_is_a_setting():
    rate = Config.from_dict({"lr": np.float64(0.25)}).training.lr
    assert rate == 0.25
