"""The train command, from text to run."""

import json
import math
import os
import re
import shutil

import numpy as np
import pytest
from conftest import TINY, assert_refused, tiny
from runs import assert_same_end, records

from gluonlm.generate import sampling
from gluonlm.generate.sampling import sample
from gluonlm.run.folder import Run
from gluonlm.run.load import load_model
from gluonlm.train.trainer import Trainer

LENGTH = 30


def test_training_creates_a_run_that_scores_and_generates(trained, command):
    records = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [(r["event"], r["step"]) for r in records] == [
        ("training", 2),
        ("validation", 3),
        ("training", 4),
        ("validation", 6),
        ("training", 6),
        ("result", records[-1]["step"]),
    ]
    assert (trained / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((trained / "config.json").read_text())["seq_len"] == 10
    code, out, err = command("evaluate", trained, "--json")
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert result["bits_per_character"] == pytest.approx(result["nats"] / math.log(2))
    assert result["perplexity"] == pytest.approx(math.exp(result["nats"]))
    ended = records[-1]
    assert ended["step"] in (3, 6)
    assert (ended["part"], ended["steps"], ended["reason"]) == ("test", 6, "steps")
    assert ended["loss"] == pytest.approx(result["nats"])
    assert ended["tokens"] == result["tokens"]
    assert (ended["parameters"], ended["device"]) == (
        load_model(trained)[0].count_parameters(),
        "cpu(0)",
    )
    code, out, err = command("generate", trained, "--prompt", "the ", "--length", 20, "--seed", 4)
    assert (code, err) == (0, "")
    assert out.startswith("the ")
    assert len(out) == 25
    assert command("generate", trained, "--prompt", "the ", "--length", 20, "--seed", 4)[1] == out


def test_training_prints_its_progress_and_results(text_file, tmp_path, command):
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
    sample = out.split("temperature 1:\n")[1].split("\nnext:\n")[0]
    assert len(sample) == 301


def test_a_word_model_trains_and_generates_words(tmp_path, command):
    text = tmp_path / "text"
    text.write_text(
        "it is n't $ N , said the company 's chief .\n <unk> wo n't buy ( or sell ) N % of it .\n"
        * 60
    )
    run = tmp_path / "run"
    code, out, _ = command(
        "train", "--data", text, "--level", "word", "--split", "90/10/0", "--run", run, *TINY[:-1]
    )
    assert code == 0
    assert "train perplexity" in out
    assert "valid perplexity" in out
    assert "words/s" in out
    sample = out.split("temperature 1:\n")[1].split("\nnext:\n")[0]
    assert " n't" not in sample
    assert " ," not in sample
    assert "$ " not in sample
    assert "%" in sample
    ended = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert (ended["event"], ended["part"]) == ("result", "valid")
    assert f"\nperplexity {math.exp(ended['loss']):.2f}, {ended['loss']:.4f} nats, " in out
    assert f"over {ended['tokens']:,} words (validation part)\n" in out
    vocab = load_model(run)[1].vocab
    code, out, _ = command("generate", run, "--prompt", "it is n't $ N ,", "--length", 40)
    ids = [
        int(i[0]) for i in sampling.sample(load_model(run)[0], vocab.encode("it is n't $ N ,"), 40)
    ]
    assert out == "it isn't $N," + vocab.typeset(ids, vocab.index[","]) + "\n"


@pytest.mark.parametrize(
    "model", ["unrolled", "rnn", "lstm", "gru", "window", "gru --members 2", "mingru", "minlstm"]
)
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
        *tiny(model),
    )
    assert (code, err) == (0, "")
    loaded, checkpoint = load_model(run)
    assert checkpoint.config.model.model == model.split()[0]
    assert checkpoint.progress["best"] < math.log(len(checkpoint.vocab)) + 0.2
    code, out, err = command("generate", run, "--length", 12, "--greedy")
    assert (code, err) == (0, "")
    assert level == "char" or len(out.replace("\n", " \n ").split(" ")) > 6


def test_runs_get_unique_names(text_file, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert command("train", "--data", text_file, *TINY)[0] == 0
    assert sorted(os.listdir(tmp_path / "runs")) == ["gru-rhyme", "gru-rhyme-2"]


def test_existing_runs_are_kept_unless_overwritten(text_file, trained, tmp_path, command):
    run = shutil.copytree(trained, tmp_path / "run")
    before = sorted((p, p.stat().st_mtime_ns) for p in run.rglob("*"))
    assert_refused(command("train", "--data", text_file, "--run", run, *TINY), "--overwrite")
    assert sorted((p, p.stat().st_mtime_ns) for p in run.rglob("*")) == before
    code, _, err = command(
        "train", "--data", text_file, "--run", run, *TINY, "--overwrite", "--model", "rnn"
    )
    assert code == 0
    assert load_model(run)[1].config.model.model == "rnn"


def test_an_unwritable_folder_is_reported(text_file, tmp_path, command):
    (tmp_path / "file").write_text("x")
    assert_refused(
        command("train", "--data", text_file, "--run", tmp_path / "file" / "run", *TINY),
        f"--run {tmp_path / 'file' / 'run'}: ",
    )


def test_every_command_reports_damaged_checkpoints(trained, tmp_path, command):
    run = Run(shutil.copytree(trained, tmp_path / "run"))
    path = run.pointed("best") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    for module, *args in (
        ("generate", run.path),
        ("evaluate", run.path),
        ("train", "--resume", run.path),
    ):
        assert_refused(command(module, *args), "model.safetensors")


def test_resuming_keeps_fixed_settings(trained, tmp_path, command):
    run = shutil.copytree(trained, tmp_path / "run")
    assert_refused(
        command("train", "--resume", run, "--hidden-size", 13), "hidden_size", "(12,)", "(13,)"
    )
    code, out, err = command("train", "--resume", run, "--max-steps", 9)
    assert code == 0
    assert Run(run).load("last").progress["step"] == 9
    assert_refused(
        command("train", "--resume", run, "--run", tmp_path / "other"), "--resume", "--run"
    )


def test_a_printed_training_loss_is_the_mean_since_the_previous_line(text_file, tmp_path, command):
    for every in (1, 2):
        flags = [*TINY, "--log-every", every, "--max-steps", 6, "--validate-every", 3]
        assert command("train", "--data", text_file, "--run", tmp_path / str(every), *flags)[0] == 0
    steps = [record["train_loss"] for record in records(tmp_path / "1", "training")]
    assert len(set(steps)) == 6
    pairs = [record["train_loss"] for record in records(tmp_path / "2", "training")]
    assert pairs == pytest.approx(np.reshape(steps, (3, 2)).mean(axis=1), rel=1e-9)
    validations = [record["train_loss"] for record in records(tmp_path / "2", "validation")]
    assert validations == pytest.approx(np.reshape(steps, (2, 3)).mean(axis=1), rel=1e-9)


def test_samples_are_drawn_at_their_temperatures(text_file, tmp_path, command):
    run = tmp_path / "run"
    flags = [*TINY, "--sample-temperatures", "1e-9,1,50", "--sample-length", LENGTH]
    assert command("train", "--data", text_file, "--run", run, *flags)[0] == 0
    model, checkpoint = load_model(run, "last")
    prompt = checkpoint.vocab.default_prompt()
    drawn = [int(ids[0]) for ids in sample(model, prompt, LENGTH, greedy=True)]
    likeliest = checkpoint.vocab.typeset(drawn, prompt[-1])
    header = r"== step (\d+), epoch \S+, temperature (\S+)\n"
    _, *written = re.split(header, (run / "samples.txt").read_text())
    every = zip(written[::3], written[1::3], written[2::3])
    texts = {(int(step), float(t)): text.removesuffix("\n\n") for step, t, text in every}
    assert list(texts) == [(3, 1e-9), (3, 1), (3, 50), (6, 1e-9), (6, 1), (6, 50)]
    assert texts[6, 1e-9] == likeliest
    assert len({likeliest, texts[6, 1], texts[6, 50]}) == 3


def test_the_last_sample_depends_on_its_step_and_the_seed(text_file, tmp_path, command):
    texts = []
    for seed in (1, 1, 2):
        flags = [flag for flag in TINY if flag != "--quiet"]
        place = ["--run", tmp_path / "run", "--overwrite", "--sample-length", 40, "--lr", 1e-30]
        code, out, err = command("train", "--data", text_file, *flags, *place, "--seed", seed)
        assert (code, err) == (0, "")
        texts.append(out.partition("temperature 1:\n")[2].partition("\nnext:")[0])
    assert len(texts[0]) == 41
    assert texts[0] == texts[1] != texts[2]


def test_resuming_a_finished_run_keeps_its_checkpoint(trained, tmp_path, command):
    run = Run(shutil.copytree(trained, tmp_path / "run"))
    folder, inode = run.pointed("last"), run.pointed("last").stat().st_ino
    assert command("train", "--resume", run.path, "--quiet")[0] == 0
    assert run.pointed("last") == folder
    assert folder.stat().st_ino == inode


@pytest.mark.parametrize("validated", [True, False])
def test_a_diverging_training_names_the_remaining_checkpoint(
    validated, text_file, tmp_path, command
):
    run, flags = tmp_path / "run", [*TINY, "--max-steps", 50, "--lr", 1e6, "--clip", 0]
    every = 1 if validated else 50
    flags += ["--optimizer", "sgd", "--validate-every", every, "--checkpoint-every", 1]
    code, _, err = command("train", "--data", text_file, "--run", run, *flags)
    name = "best" if validated else "last"
    assert code == 3
    assert err.count("\n") == 1
    assert "--lr" in err
    assert "--clip" in err
    assert f" {name} " in err
    assert err.endswith(f" {Run(run).pointed(name)}\n")


@pytest.mark.parametrize("model", ["gru", "unrolled"])
def test_training_prints_the_number_of_validation_streams(model, text_file, tmp_path, command):
    flags = [flag for flag in tiny(model) if flag != "--quiet"]
    place = ["--data", text_file, "--run", tmp_path / "run", "--model", model]
    code, out, _ = command("train", *place, *flags)
    assert code == 0
    assert ("validation reads 4 streams" in out) == (model == "gru")


def test_a_printed_speed_is_measured_since_the_previous_line(
    text_file, tmp_path, command, monkeypatch
):
    import time

    now = iter(range(10**9))  # every clock reading takes a second
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    flags = [*TINY, "--max-steps", 6, "--log-every", 2]
    assert command("train", "--data", text_file, "--run", tmp_path / "run", *flags)[0] == 0
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    speeds = [line["tokens_per_second"] for line in lines if line["event"] == "training"]
    assert speeds == [40, 40, 40]  # 2 steps of 4 x 10 in 2 seconds


def test_a_time_limit_prints_its_end_and_resumes_exactly(text_file, tmp_path, command, monkeypatch):
    now, killed = [0.0], False
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    step = Trainer._step

    def timed(trainer):
        step(trainer)
        now[0] += 1 if trainer.progress.step < 20 else 0.5
        if killed and trainer.progress.step == 43:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_step", timed)
    flags = [*TINY[:-1], "--max-steps", 0, "--epochs", 100, "--max-minutes", 1]
    code, out, _ = command("train", "--data", text_file, "--run", tmp_path / "whole", *flags)
    assert code == 0
    assert "\nexpected end: step 60, epoch 0.45, after 60 s\n" in out
    assert re.search(r"  step 3 of 60  .*  step 99 of 10\d  ", out, re.DOTALL)
    assert "ended by minutes at step 101, 60 s" in out
    now[0], killed = 0.0, True
    assert command("train", "--data", text_file, "--run", tmp_path / "run", *flags)[0] == 130
    assert Run(tmp_path / "run").load("last").progress["step"] == 42
    killed = False
    flags = ["--resume", tmp_path / "run", "--data", text_file]
    code, out, _ = command("train", *flags)
    assert code == 0
    assert_same_end(tmp_path / "run", tmp_path / "whole")
    rates = [record["lr"] for record in records(tmp_path / "run", "training")]
    assert rates[-1] < 0.012 * 0.004


@pytest.mark.parametrize("test_part", [True, False])
def test_the_final_figure_is_the_test_loss_or_else_the_validation_loss(
    test_part, text_file, tmp_path, command
):
    run, flags = tmp_path / "run", [flag for flag in TINY if flag != "--quiet"]
    split = "90/5/5" if test_part else "95/5/0"
    code, out, _ = command("train", "--data", text_file, "--run", run, "--split", split, *flags)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert code == 0
    assert last["part"] == ("test" if test_part else "valid")
    part = ["--part", last["part"]]
    scored = json.loads(command("evaluate", run, "--json", *part)[1])
    assert command("evaluate", run, *part)[1] in out  # the same line
    assert last["loss"] == pytest.approx(scored["nats"], rel=1e-9)
    assert last["tokens"] == scored["tokens"]
    assert f"\n{last['loss'] / np.log(2):.4f} bits per character" in out
