"""The command lines as a user meets them: the whole way on a text, and everything that can be given wrong."""

import json
import math
import os
import shutil
import signal
import subprocess

import numpy as np
import pytest
from conftest import TINY, start

from gluonlm import sampling
from gluonlm.checkpoint import Run, load_model


def test_training_leaves_a_run_that_can_be_scored_and_written_with(trained, command):
    records = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [(r["event"], r["step"]) for r in records] == [
        ("training", 2),
        ("validation", 3),
        ("training", 4),
        ("validation", 6),
        ("training", 6),
        ("result", records[-1]["step"]),
    ]
    assert (trained / "curve.png").read_bytes().startswith(b"\x89PNG") and json.loads(
        (trained / "config.json").read_text()
    )["seq_len"] == 10
    code, out, err = command("evaluate", trained, "--json")
    result = json.loads(out)
    assert (code, err) == (0, "") and result["bits_per_character"] == pytest.approx(
        result["nats"] / math.log(2)
    )
    assert result["perplexity"] == pytest.approx(math.exp(result["nats"]))
    ended = records[-1]
    assert ended["step"] in (3, 6) and (ended["part"], ended["steps"], ended["reason"]) == (
        "test",
        6,
        "steps",
    )
    assert ended["loss"] == pytest.approx(result["nats"]) and ended["tokens"] == result["tokens"]
    assert (ended["parameters"], ended["device"]) == (
        load_model(trained)[0].count_parameters(),
        "cpu(0)",
    )
    code, out, err = command("generate", trained, "--prompt", "the ", "--length", 20, "--seed", 4)
    assert (code, err) == (0, "") and out.startswith("the ") and len(out) == 25
    assert command("generate", trained, "--prompt", "the ", "--length", 20, "--seed", 4)[1] == out


def test_training_prints_what_the_user_needs(text_file, tmp_path, command):
    code, out, _ = command(
        "train", "--data", text_file, "--run", tmp_path / "run", *TINY[:-1], "--epochs", 1
    )
    assert code == 0
    for part in (
        "parameters on cpu(0)",
        "threads",
        "valid",
        "test",
        "bits per character",
        str(tmp_path / "run" / "checkpoints"),
        "curve.png",
        "sample of 300",
    ):
        assert part in out
    sample = out.split("temperature 1:\n")[1]
    assert len(sample) == 301


def test_a_score_is_the_mean_of_the_surprises_and_does_not_depend_on_the_segments(
    trained, text_file, tmp_path, command
):
    table = tmp_path / "surprise.tsv"
    whole = json.loads(
        command("evaluate", trained, "--data", text_file, "--per-token", table, "--json")[1]
    )
    lines = [line.split("\t") for line in table.read_text().splitlines()]
    text = text_file.read_text()
    assert (
        lines[0] == ["position", "token", "nats"]
        and "".join(json.loads(line[1]) for line in lines[1:]) == text
    )
    assert lines[1][2] == "" and np.mean([float(line[2]) for line in lines[2:]]) == pytest.approx(
        whole["nats"], abs=1e-5
    )
    assert whole["tokens"] == len(text) - 1
    for length in (1, 17):
        assert json.loads(
            command("evaluate", trained, "--data", text_file, "--seq-len", length, "--json")[1]
        )["nats"] == pytest.approx(whole["nats"], abs=1e-6)
    code, _, err = command("evaluate", trained, "--data", text_file, "--per-token", table)
    assert code == 2 and "already exists" in err and "position" in table.read_text()


def test_standard_input_is_scored_and_continued(trained):
    for args, text, check in (
        (
            ("evaluate", trained, "--data", "-", "--json"),
            "the ducks",
            lambda out: json.loads(out)["tokens"] == 8,
        ),
        (
            ("generate", trained, "--prompt", "-", "--length", "5"),
            "the ducks",
            lambda out: len(out) == 15,
        ),
    ):
        process = start("-m", f"gluonlm.{args[0]}", *args[1:], stdin=subprocess.PIPE)
        out, err = process.communicate(text)
        assert check(out) and err == ""


def test_words_are_trained_and_written_as_words(tmp_path, command):
    text = tmp_path / "text"
    text.write_text(
        "it is n't $ N , said the company 's chief .\n <unk> wo n't buy ( or sell ) N % of it .\n"
        * 60
    )
    run = tmp_path / "run"
    code, out, _ = command(
        "train", "--data", text, "--level", "word", "--split", "90/10/0", "--run", run, *TINY[:-1]
    )
    assert (
        code == 0 and "train perplexity" in out and "valid perplexity" in out and "words/s" in out
    )
    sample = out.split("temperature 1:\n")[1]
    assert " n't" not in sample and " ," not in sample and "$ " not in sample and "%" in sample
    ended = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert (ended["event"], ended["part"]) == (
        "result",
        "valid",
    ) and f"valid perplexity {math.exp(ended['loss']):.2f}" in out
    vocab = load_model(run)[1].vocab
    code, out, _ = command("generate", run, "--prompt", "it is n't $ N ,", "--length", 40)
    ids = [
        int(i[0]) for i in sampling.sample(load_model(run)[0], vocab.encode("it is n't $ N ,"), 40)
    ]
    assert out == "it isn't $N," + vocab.typeset(ids, vocab.index[","]) + "\n"


@pytest.mark.parametrize("model", ["unrolled", "rnn", "lstm", "gru", "window", "gru --members 2"])
@pytest.mark.parametrize("level", ["char", "word"])
def test_every_model_trains_on_characters_and_words(model, level, text_file, tmp_path, command):
    run = tmp_path / "run"
    code, _, err = command(
        "train",
        "--data",
        text_file,
        "--run",
        run,
        "--model",
        *model.split(),
        "--level",
        level,
        *TINY,
    )
    assert (code, err) == (0, "")
    loaded, checkpoint = load_model(run)
    assert (
        checkpoint.config.model.model == model.split()[0]
        and checkpoint.progress["best"] < math.log(len(checkpoint.vocab)) + 0.1
    )
    code, out, err = command("generate", run, "--length", 12, "--greedy")
    assert (code, err) == (0, "") and (
        level == "char" or len(out.replace("\n", " \n ").split(" ")) > 6
    )


def test_habitual_names_underscores_and_equals_signs(text_file, tmp_path, command):
    code, _, err = command(
        "train",
        f"--data={text_file}",
        "--run",
        tmp_path / "run",
        "--nhid=9",
        "--emsize",
        9,
        "--nlayers",
        2,
        "--bptt",
        7,
        "--batch_size=3",
        "--tied",
        "--max_steps",
        1,
        "--quiet",
    )
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (code, err) == (0, "")
    assert [
        settings[k]
        for k in ("hidden_size", "embed_size", "num_layers", "seq_len", "batch_size", "tie_weights")
    ] == [[9], 9, 2, 7, 3, True]
    for habit in ("--cuda", "--gpu"):
        code, _, err = command("train", habit, "--max-steps", 1)
        assert code == 2 and "CPU build" in err


@pytest.mark.parametrize(
    "name, content",
    [
        ("c.toml", 'hidden_size = 9\ndata = ["{}"]\nlr = 1\n'),
        ("c.json", '{{"hidden_size": [9], "data": "{}", "lr": 1}}'),
    ],
)
def test_settings_from_a_file_and_flags_over_them(name, content, text_file, tmp_path, command):
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
    assert (code, err) == (0, "") and (settings["hidden_size"], settings["lr"]) == ([9], 0.5)
    code, _, err = command(
        "train",
        "--config",
        tmp_path / "run" / "config.json",
        "--run",
        tmp_path / "again",
        "--quiet",
    )
    assert (code, err) == (0, "") and (tmp_path / "again" / "config.json").read_text() == (
        tmp_path / "run" / "config.json"
    ).read_text()


def test_runs_get_names_of_their_own(text_file, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert command("train", "--data", text_file, *TINY)[0] == 0
    assert sorted(os.listdir(tmp_path / "runs")) == ["gru-rhyme", "gru-rhyme-2"]


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--model", "transformer"], "--model"),
        (["--data", "nosuch"], "neither a file nor a corpus"),
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
        (["--ctx", "gpu"], "CPU build"),
        (["--ctx", "gpu:7"], "CPU build"),
        (["--ctx", "tpu"], "--ctx 'tpu'"),
        (["--nosuchflag"], "--nosuchflag"),
        (["--split", "90/5"], "--split"),
        (["--optimizer", "magic"], "--optimizer"),
        (["--init", "ones"], "--init"),
        (["--seed", "-1"], "--seed"),
        (["--batch-size", "6000"], "cannot cut"),
        (["--config", "nosuch.toml"], "cannot read"),
        (["--resume", "nosuch"], "nosuch"),
        (["--threads", "-2"], "--threads"),
        (["--max-minutes", "-1"], "--max-minutes"),
        (["--encoding", "klingon"], "--encoding"),
        (["--tie-weights"], "--tie-weights"),
        (["--valid", "nosuch"], "cannot read nosuch"),
    ],
)
def test_bad_flags_are_one_line_and_leave_no_trace(
    flags, message, text_file, tmp_path, command, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, out, err = command("train", "--data", text_file, "--run", tmp_path / "run", *TINY, *flags)
    if flags[0] == "--resume":
        code, out, err = command("train", *flags)
    assert (
        code == 2
        and message in err
        and err.startswith("gluonlm: error: ")
        and err.count("\n") == 1
        and out == ""
    )
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "neither a file nor a corpus"),
        (b"", "is empty"),
        (b"x", "cannot cut 1 tokens"),
        (b"too short", "tokens"),
        (bytes(range(256)) * 20, "offset 128"),
        (b"\x7fELF\0\0\0" * 200, "binary"),
        (b"caf\xe9 " * 200, "offset 3 is not utf-8"),
    ],
)
def test_bad_texts_are_one_line_and_leave_no_trace(content, message, tmp_path, command):
    path = tmp_path / "text"
    if content is not None:
        path.write_bytes(content)
    code, out, err = command("train", "--data", path, "--run", tmp_path / "run", *TINY)
    assert (
        code == 2
        and message in err
        and err.count("\n") == 1
        and out == ""
        and not (tmp_path / "run").exists()
    )


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("c.toml", "lr = ", "not valid TOML"),
        ("c.json", "{", "not valid JSON"),
        ("c.json", "[1]", "settings by name"),
        ("c.toml", "learning_rate = 1", "unknown setting 'learning_rate'"),
        ("c.toml", "lr = 'fast'", "--lr 'fast'"),
        ("c.toml", "batch_size = 1.5", "--batch-size 1.5"),
        ("c.json", '{"lr": NaN}', "--lr nan"),
        ("c.toml", "tie_weights = 1", "--tie-weights 1"),
        ("c.json", '{"data": [[1]]}', "--data"),
    ],
)
def test_bad_configurations_are_one_line(name, content, message, tmp_path, command):
    (tmp_path / name).write_text(content)
    code, _, err = command("train", "--config", tmp_path / name, "--run", tmp_path / "run")
    assert code == 2 and message in err and err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_existing_runs_are_kept_unless_told(text_file, trained, tmp_path, command):
    run = shutil.copytree(trained, tmp_path / "run")
    before = sorted((p, p.stat().st_mtime_ns) for p in run.rglob("*"))
    code, _, err = command("train", "--data", text_file, "--run", run, *TINY)
    assert (
        code == 2
        and "--overwrite" in err
        and sorted((p, p.stat().st_mtime_ns) for p in run.rglob("*")) == before
    )
    code, _, err = command(
        "train", "--data", text_file, "--run", run, *TINY, "--overwrite", "--model", "rnn"
    )
    assert code == 0 and load_model(run)[1].config.model.model == "rnn"


def test_an_unwritable_place_is_told(text_file, tmp_path, command):
    (tmp_path / "file").write_text("x")
    code, _, err = command("train", "--data", text_file, "--run", tmp_path / "file" / "run", *TINY)
    assert code == 2 and "cannot write there" in err and err.count("\n") == 1


def test_damaged_checkpoints_are_told_by_every_command(trained, tmp_path, command):
    run = Run(shutil.copytree(trained, tmp_path / "run"))
    path = run.pointed("best") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    for module, *args in (
        ("generate", run.path),
        ("evaluate", run.path),
        ("train", "--resume", run.path),
    ):
        code, _, err = command(module, *args)
        assert code == 2 and "model.safetensors" in err and err.count("\n") == 1


def test_a_run_on_another_text_is_not_scored_or_resumed(trained, tmp_path, command, text_file):
    run = shutil.copytree(trained, tmp_path / "run")
    config = Run(run).load().config.data.data
    original = text_file.read_text()
    assert config == (str(text_file),)
    try:
        text_file.write_text(original[:-60] + original[-60:].swapcase().lower() + "the ")
        for module, *args in (("evaluate", run), ("train", "--resume", run, "--epochs", 50)):
            code, _, err = command(module, *args)
            assert code == 2 and "not the one" in err and err.count("\n") == 1
    finally:
        text_file.write_text(original)


@pytest.mark.parametrize(
    "args, message",
    [
        (["--prompt", "Ωmega"], "'Ω' at position 0"),
        (["--prompt", ""], "--prompt"),
        (["--temperature", "0"], "temperature 0"),
        (["--temperature", "nan"], "temperature nan"),
        (["--top-p", "0"], "top-p 0"),
        (["--top-k", "-1"], "top-k -1"),
        (["--length", "0"], "--length 0"),
        (["--beam", "0"], "--beam 0"),
        (["--checkpoint", "worst"], "--checkpoint"),
        (["--prompt", "Ω", "--unknown", "skip"], "holds nothing"),
    ],
)
def test_bad_requests_to_write_are_one_line(args, message, trained, command):
    code, out, err = command("generate", trained, *args)
    assert code == 2 and message in err and err.count("\n") == 1 and out == ""


def test_unknown_characters_can_be_skipped(trained, command):
    code, out, err = command(
        "generate", trained, "--prompt", "theΩ ", "--unknown", "skip", "--length", 3
    )
    assert (code, err) == (0, "") and out.startswith("the ") and len(out) == 8


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_training_with_a_checkpoint_and_resume_finishes_it(
    number, code, text_file, tmp_path, command
):
    run, flags = tmp_path / "run", [f for f in TINY if f != "--quiet"]
    flags[flags.index("--max-steps") + 1] = "400"
    flags[flags.index("--validate-every") + 1] = "50"
    process = start(
        "-u", "-m", "gluonlm.train", "--data", text_file, "--run", run, "--epochs", 100, *flags
    )
    for line in process.stdout:
        if line.startswith("epoch"):
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=60)
    assert process.returncode == code and "--resume" in err and "Traceback" not in err
    stopped = Run(run).load("last").progress["step"]
    assert 50 <= stopped < 400
    assert command("train", "--resume", run, "--quiet")[0] == 0
    assert (
        command(
            "train",
            "--data",
            text_file,
            "--run",
            tmp_path / "whole",
            "--epochs",
            100,
            *flags,
            "--quiet",
        )[0]
        == 0
    )
    parts, whole = Run(run).load("last"), Run(tmp_path / "whole").load("last")
    assert parts.progress["step"] == whole.progress["step"] == 400
    for name, array in whole.parameters.items():
        assert (array == parts.parameters[name]).all(), name
    lines = [
        [
            {k: v for k, v in json.loads(line).items() if "seconds" not in k and "second" not in k}
            for line in (r / "metrics.jsonl").read_text().splitlines()
        ]
        for r in (run, tmp_path / "whole")
    ]
    assert lines[0] == lines[1]


def test_resuming_keeps_the_settings_that_must_stay(trained, tmp_path, command):
    run = shutil.copytree(trained, tmp_path / "run")
    code, _, err = command("train", "--resume", run, "--hidden-size", 13)
    assert code == 2 and "hidden_size was (12,) and is now (13,)" in err
    code, out, err = command("train", "--resume", run, "--max-steps", 9)
    assert code == 0 and Run(run).load("last").progress["step"] == 9
    code, _, err = command("train", "--resume", run, "--run", tmp_path / "other")
    assert code == 2 and "leave out --run" in err


def test_a_flag_for_threads_wins_over_the_environment(text_file, tmp_path):
    flags = ["--data", text_file, "--run", tmp_path / "run", *(f for f in TINY if f != "--quiet")]
    out, err = start(
        "-m", "gluonlm.train", *flags, "--threads", 2, env={"OMP_NUM_THREADS": "1"}
    ).communicate()
    assert "2 threads" in out and err == ""


def test_what_is_no_regular_file_is_refused(tmp_path, command):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        code, _, err = command("train", "--data", path, "--run", tmp_path / "run", *TINY)
        assert code == 2 and "not a regular file" in err and err.count("\n") == 1


def test_prompts_are_lowered_as_the_text_was(text_file, tmp_path, command):
    assert (
        command("train", "--data", text_file, "--lower", "--run", tmp_path / "run", *TINY)[0] == 0
    )
    code, out, err = command("generate", tmp_path / "run", "--prompt", "THE", "--length", 2)
    assert (code, err) == (0, "") and out.startswith("the")


def test_help_shows_every_flag_with_its_default(command, capfd):
    code, out, _ = command("train", "--help")
    out = " ".join(out.split())
    assert (
        code == 0
        and "--hidden-size" in out
        and "(default: 256)" in out
        and "habit" in out
        and "--nhid" in out
    )
