"""Settings that have no effect are errors that name the setting that has one."""

import json

import pytest
from conftest import TINY, assert_refused

from gluonlm.config import GROUPS
from gluonlm.config.presets import PRESETS

BOOK = ("--data", "book.txt")
WINDOW = (*BOOK, "--model", "window")


@pytest.fixture(autouse=True)
def folder(tmp_path, text_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text(text_file.read_text())
    return tmp_path


TRAINING = [
    (("--data-dir", "nosuch"), "--data-dir nosuch", "--data "),
    ((*BOOK, "--data-dir", "."), "--data-dir .", "--data "),
    (("--encoding", "latin-1"), "--encoding latin-1", "--data"),
    (("--strip-gutenberg",), "--strip-gutenberg", "--data"),
    (("--data", "ptb", "--strip-gutenberg"), "--strip-gutenberg", "--data"),
    (("--data", "ptb", "--split", "80/10/10"), "--split 80/10/10", ""),
    ((*BOOK, "--valid", "book.txt", "--split", "80/10/10"), "--split 80/10/10", "--valid"),
    ((*BOOK, "--vocab-size", 9), "--vocab-size 9", "--level word"),
    ((*BOOK, "--window", 5), "--window 5", "--seq-len"),
    ((*BOOK, "--set", "context=5"), "--window 5", "--seq-len"),
    ((*BOOK, "--window-step", 5), "--window-step 5", "--model"),
    ((*BOOK, "--shuffle", "line"), "--shuffle line", "--model"),
    ((*WINDOW, "--seq-len", 9), "--seq-len 9", "--window"),
    ((*WINDOW, "--embed-size", 9), "--embed-size 9", "--representation embedding"),
    ((*WINDOW, "--loss-scale", "sum-over-time"), "--loss-scale sum-over-time", "--model"),
    ((*WINDOW, "--activation", "relu"), "--activation relu", "--model rnn or unrolled"),
    ((*BOOK, "--representation", "real"), "--representation real", "--model window"),
    ((*BOOK, "--activation", "relu"), "--activation relu", "--model rnn or unrolled"),
    ((*BOOK, "--variational", "--dropout", 0), "--variational", "--dropout"),
    ((*BOOK, "--average-decay", 0.9), "--average-decay 0.9", "--average ema"),
    (
        (*BOOK, "--average", "ema", "--average-patience", 3),
        "--average-patience 3",
        "--average nt-asgd",
    ),
    ((*BOOK, "--schedule", "constant", "--lr-floor", 0.1), "--lr-floor 0.1", "--schedule cosine"),
    ((*BOOK, "--horizon", "steps"), "--horizon steps", "--max-minutes"),
    ((*BOOK, "--decay", 0.1), "--decay 0.1", "--schedule step or plateau"),
    ((*BOOK, "--schedule", "plateau", "--decay-after", 2), "--decay-after 2", "--schedule step"),
    ((*BOOK, "--schedule", "step", "--decay-patience", 2), "--decay-patience 2", "plateau"),
    ((*BOOK, "--split", "90/0/10", "--patience", 2), "--patience 2", "--split"),
    ((*BOOK, "--test", "book.txt", "--patience", 2), "--patience 2", "--valid"),
    ((*BOOK, "--split", "90/0/10", "--schedule", "plateau"), "--schedule plateau", "--split"),
    ((*BOOK, "--split", "90/0/10", "--average", "nt-asgd"), "--average nt-asgd", "--split"),
    ((*BOOK, "--overwrite"), "--overwrite", "--run"),
]


@pytest.mark.parametrize("flags, name, instead", TRAINING, ids=[row[1] for row in TRAINING])
def test_a_setting_without_effect_is_an_error_that_names_another(
    flags, name, instead, command, folder
):
    run = () if "--overwrite" in flags else ("--run", "run")
    assert_refused(command("train", *flags, *run, "--max-steps", 1), name, instead)
    assert [path.name for path in folder.iterdir()] == ["book.txt"]


@pytest.mark.parametrize(
    "flags",
    [
        (*BOOK, "--model", "window", "--representation", "embedding", "--embed-size", 9),
        (*BOOK, "--model", "unrolled", "--window", 5, "--window-step", 2, "--activation", "tanh"),
        (*BOOK, "--model", "rnn", "--activation", "relu", "--lr", 0.001),
        (*BOOK, "--schedule", "step", "--decay", 0.1, "--decay-after", 2),
        (*BOOK, "--schedule", "plateau", "--decay", 0.1, "--decay-patience", 2, "--patience", 3),
        (*BOOK, "--schedule", "one-cycle", "--lr-floor", 0.1, "--average", "nt-asgd"),
        (*BOOK, "--average", "ema", "--average-decay", 0.9, "--encoding", "latin-1"),
        (*BOOK, "--level", "word", "--vocab-size", 9, "--valid", "book.txt", "--patience", 1),
        (*BOOK, "--variational", "--dropout", 0, "--embed-dropout", 0.1, "--strip-gutenberg"),
        (*BOOK, "--no-verify"),  # only permits something
        # defaults
        (*BOOK, "--window", 3, "--decay", 0.5, "--vocab-size", 0, "--patience", 0),
        (*BOOK, "--valid", "book.txt", "--split", "90/5/5", "--no-strip-gutenberg"),
        (*WINDOW, "--seq-len", 64, "--embed-size", 64),
    ],
    ids=str,
)
def test_settings_with_an_effect_and_defaults_are_accepted(flags, command):
    short = ("--run", "run", "--hidden-size", 8, "--max-steps", 1, "--quiet")
    assert command("train", *flags, *short)[::2] == (0, "")


def test_files_are_checked_like_flags_unless_a_run_has_written_them(command, folder):
    (folder / "c.toml").write_text("window = 5")
    flags = (*BOOK, "--config", "c.toml", "--run", "run", *TINY)
    assert_refused(command("train", *flags), "--window 5", "--seq-len")
    flags = (*WINDOW, "--config", "c.toml", "--hidden-size", 8, "--max-steps", 1, "--quiet")
    assert command("train", *flags, "--run", "run")[0] == 0
    config = folder / "run" / "config.json"
    assert json.loads(config.read_text())["window"] == 5
    flags = ("--config", config, "--model", "gru", "--run", "other", "--quiet")
    assert command("train", *flags)[::2] == (0, "")


@pytest.mark.parametrize("name", PRESETS)
def test_settings_of_a_preset_may_be_for_other_models(name, command, folder):
    model = {"lstm": "rnn", "gru": "lstm"}.get(PRESETS[name].settings["model"], "lstm")
    size = ",".join("8" * len(PRESETS[name].settings["hidden_size"]))
    flags = ("--preset", name, *BOOK, "--model", model, "--hidden-size", size, "--embed-size", 8)
    short = ("--max-steps", 1, "--sample-length", 5, "--quiet", "--schedule", "constant")
    assert command("train", *flags, *short)[::2] == (0, "")


def test_a_resumed_run_takes_settings_with_an_effect(command, folder):
    small = ("--hidden-size", 8, "--max-steps", 1, "--quiet", "--split", "90/0/10")
    assert command("train", *BOOK, "--run", "run", *small)[0] == 0
    assert_refused(command("train", "--resume", "run", "--patience", 2), "--patience 2")
    more = ("--data-dir", ".", "--max-steps", 2, "--quiet")  # the run's text may be there
    assert command("train", "--resume", "run", *more)[::2] == (0, "")


@pytest.mark.parametrize(
    "flags, name, instead",
    [
        (("--level", "word"), "--level word", "--init-from"),
        (("--init", "uniform:0.1"), "--init", "--extend-vocab"),
        (("--output-bias", "zero"), "--output-bias", "--extend-vocab"),
        (("--level", "subword", "--tokenizer", "bpe"), "--level subword", "--init-from"),
    ],
)
def test_settings_of_new_weights_need_new_weights(flags, name, instead, command, folder):
    small = ("--hidden-size", 8, "--max-steps", 1, "--quiet")
    assert command("train", *BOOK, "--run", "old", *small)[0] == 0
    warm = (*BOOK, "--init-from", "old", "--run", "new", *small)
    assert_refused(command("train", *warm, *flags), name, instead)
    assert command("train", *warm, "--level", "char", "--init", "xavier")[::2] == (0, "")


@pytest.mark.parametrize(
    "flags, names",
    [
        ("evaluate --data book.txt --part test", ("--part", "--data")),
        ("evaluate --data book.txt --data-dir .", ("--data-dir", "--data")),
        ("evaluate --encoding latin-1", ("--encoding", "--data")),
        ("evaluate --unknown skip", ("--unknown", "--data")),
        ("evaluate --cache-theta 0.5", ("--cache-theta", "--cache")),
        ("evaluate --cache-weight 0.5", ("--cache-weight", "--cache")),
        ("evaluate --cache 9 --tune --cache-weight 0.5", ("--cache-weight", "--tune")),
        ("evaluate --dynamic-lr 0.5", ("--dynamic-lr", "--dynamic")),
        ("evaluate --dynamic-decay 0.5", ("--dynamic-decay", "--dynamic")),
        ("evaluate --dynamic-seq-len 5", ("--dynamic-seq-len", "--dynamic")),
        ("evaluate --dynamic sgd --tune --dynamic-lr 0.5", ("--dynamic-lr", "--tune")),
        ("generate --unknown skip", ("--unknown", "--prompt")),
        ("generate --dynamic sgd", ("--dynamic", "--prompt")),
        ("generate --data-dir .", ("--data-dir", "--novelty")),
        ("generate --cache-theta 0.5", ("--cache-theta", "--cache")),
        ("generate --greedy --temperature 0.5", ("--temperature", "--greedy")),
        ("generate --greedy --top-k 5", ("--top-k", "--greedy")),
        ("generate --greedy --top-p 0.5", ("--top-p", "--greedy")),
        ("generate --greedy --seed 5", ("--seed", "--greedy")),
        ("generate --greedy --samples 5", ("--samples", "--greedy")),
        ("generate --beam 5 --temperature 0.5", ("--temperature", "--beam")),
        ("generate --beam 5 --top-k 5", ("--top-k", "--beam")),
        ("generate --beam 5 --seed 5", ("--seed", "--beam")),
        ("embeddings --neighbours 5", ("--neighbours", "--near")),
        ("embeddings --near a --count 5", ("--count", "--out")),
        ("embeddings --near a --seed 5", ("--seed", "--out")),
        ("export --format onnx --out x --half", ("--half", "--format")),
    ],
)
def test_flags_of_other_commands_without_effect_are_errors(flags, names, trained, command, folder):
    name, *rest = flags.split()
    assert_refused(command(name, trained, *rest), *names)
    assert [path.name for path in folder.iterdir()] == ["book.txt"]


def test_a_single_checkpoint_has_no_last_checkpoint(trained, command):
    (checkpoint, *_) = (path for path in (trained / "checkpoints").iterdir() if path.is_dir())
    assert command("generate", checkpoint, "--length", 2)[0] == 0
    for name, *flags in (("generate",), ("evaluate",), ("embeddings",)):
        flags = (checkpoint, *flags, "--checkpoint", "last")
        assert_refused(command(name, *flags), "--checkpoint last")


def test_the_encoding_is_only_that_of_the_given_text(trained, command, folder, text_file):
    (folder / "wide.txt").write_text("the ducks went out", encoding="utf-16")
    flags = ("--data", "wide.txt", "--encoding", "utf-16", "--dynamic", "sgd", "--tune")
    own = ("--data-dir", text_file.parent)  # the validation part is the run's own
    assert command("evaluate", trained, *flags, *own)[0] == 0


@pytest.mark.parametrize(
    "command_line",
    [
        "compare --set epochs=3",
        "compare --max-steps 3",
        "compare --set sample_length=3",
        "compare --set window=5",
        "tune study --try lr=0.1/0.2 --set sample_length=3",
        "tune study --try lr=0.1/0.2 --lr 0.1",
        "tune study --try lr=0.1/0.2 --set decay=0.1",
        "tune study --try decay=0.1/0.2",
        "tune study --try window=3..5 --try model=gru/lstm",
    ],
)
def test_searches_and_comparisons_reject_settings_without_effect(command_line, command, folder):
    name, *flags = command_line.split()
    setting = flags[-1] if "--" not in flags[-2] else flags[-1].partition("=")[0]
    setting = {"3": "--max-steps", "0.1": "--lr", "model": "window"}.get(setting, setting)
    assert_refused(command(name, *flags), "--" + setting.lstrip("-").replace("_", "-"))
    assert [path.name for path in folder.iterdir()] == ["book.txt"]


def test_a_search_accepts_a_setting_that_has_an_effect_in_some_trials():
    from gluonlm.tune.__main__ import parse

    tried = ("--try", "schedule=constant/step", "--try", "decay=0.1/0.2", "--set", "decay_after=2")
    assert set(parse(["study", *tried])[2]) == {"schedule", "decay"}
    tried = ("--try", "model=gru/window", "--set", "window=9", "--set", "seq_len=9")
    assert parse(["study", *tried])[0] == {"window": 9, "seq_len": 9}


TEXTS = [item for group in GROUPS.values() for item in group.__dataclass_fields__.values()]
EMPTY = [
    *(("train", f"--{item.name.replace('_', '-')}") for item in TEXTS if "str" in str(item.type)),
    *(("train", f"--{name}") for name in ("run", "resume", "init-from", "preset", "config")),
    *(("train", "--ctx"), ("compare", "--out"), ("compare", "--data"), ("tune", "--data")),
    *(("evaluate", f"--{name}") for name in ("data", "data-dir", "encoding", "html", "per-token")),
    *(("generate", f"--{name}") for name in ("prompt", "data-dir")),
    *(("embeddings", f"--{name}") for name in ("near", "out")),
    *(("export", "--out"), ("import", "--vocab"), ("import", "--vocab-text"), ("import", "--run")),
    *(("combine", "--run"), ("corpus", "--data-dir")),
]


@pytest.mark.parametrize("name, flag", EMPTY)
def test_an_empty_value_is_an_error_that_names_the_flag(name, flag, trained, command, folder):
    begin = {
        "export": (trained, "--format", "onnx", "--out", "x"),
        "import": ("x", "--run", "x"),
        "combine": (trained, trained, "--run", "x"),
        "tune": ("study", "--try", "lr=0.1/0.2"),
    }
    own = begin.get(name, (trained,) if name in ("evaluate", "generate", "embeddings") else ())
    assert_refused(command(name, *own, flag, ""), flag)
    assert_refused(command(name, *own, f"{flag}="), flag)
    if name == "train" and flag[2:].replace("-", "_") in {item.name for item in TEXTS}:
        assert_refused(command(name, "--set", f"{flag[2:]}="), flag)
    assert [path.name for path in folder.iterdir()] == ["book.txt"]


def test_an_empty_run_is_not_the_current_folder(trained, command, monkeypatch):
    monkeypatch.chdir(trained)
    for name, *flags in (
        ("generate",),
        ("evaluate",),
        ("export", "--format", "onnx", "--out", "x"),
    ):
        assert_refused(command(name, "", *flags), "RUN")
    assert command("corpus")[0] == 0  # no name at all


@pytest.mark.parametrize("name", sorted({"run", "ctx", "threads", "preset", "init_from", "quiet"}))
def test_a_flag_in_a_file_is_an_error_that_names_the_flag(name, command, folder):
    (folder / "c.toml").write_text(f'{name} = "x"')
    result = command("train", *BOOK, "--config", "c.toml")
    assert_refused(result, "c.toml", "--" + name.replace("_", "-"), "--run", "--overwrite")
    (folder / "c.toml").write_text("batch-size = 3")
    assert_refused(command("train", *BOOK, "--config", "c.toml"), "'batch-size'", "batch_size")
