"""The evaluate command: its texts and its output."""

import argparse
import dataclasses
import json
import shutil
import subprocess
import types

import numpy as np
import pytest
from conftest import assert_refused, start

from gluonlm.corpus import load_corpus
from gluonlm.evaluate.__main__ import read_ids
from gluonlm.evaluate.scoring import score
from gluonlm.run.folder import Run
from gluonlm.run.load import load_model


def test_a_score_is_the_mean_surprise_whatever_the_segments(trained, text_file, tmp_path, command):
    table = tmp_path / "surprise.tsv"
    whole = json.loads(
        command("evaluate", trained, "--data", text_file, "--per-token", table, "--json")[1]
    )
    lines = [line.split("\t") for line in table.read_text().splitlines()]
    text = text_file.read_text()
    assert lines[0] == ["position", "token", "nats"]
    assert "".join(json.loads(line[1]) for line in lines[1:]) == text
    assert lines[1][2] == ""
    assert np.mean([float(line[2]) for line in lines[2:]]) == pytest.approx(whole["nats"], abs=1e-5)
    assert whole["tokens"] == len(text) - 1
    for length in (1, 17):
        assert json.loads(
            command("evaluate", trained, "--data", text_file, "--seq-len", length, "--json")[1]
        )["nats"] == pytest.approx(whole["nats"], abs=1e-6)
    assert_refused(
        command("evaluate", trained, "--data", text_file, "--per-token", table),
        table,
        "--overwrite",
    )
    assert "position" in table.read_text()


def test_standard_input_is_scored_and_continued(trained, tmp_path, command, monkeypatch):
    flags = ("-m", "gluonlm.evaluate", trained, "--data", "-", "--json")
    out, err = start(*flags, stdin=subprocess.PIPE).communicate("the ducks")
    assert json.loads(out)["tokens"] == 8
    assert err == ""
    (tmp_path / "prompt").write_text("the ducks")
    with open(tmp_path / "prompt") as prompt:
        monkeypatch.setattr("sys.stdin", prompt)
        code, out, err = command("generate", trained, "--prompt", "-", "--length", 5)
    assert (code, err) == (0, "")
    assert out.startswith("the ducks")
    assert len(out) == 15


def test_a_run_on_another_text_is_not_scored_or_resumed(trained, tmp_path, command, text_file):
    run = shutil.copytree(trained, tmp_path / "run")
    config = Run(run).load().config.data.data
    original = text_file.read_text()
    assert config == (str(text_file),)
    try:
        text_file.write_text(original[:-60] + original[-60:].swapcase().lower() + "the ")
        for module, *args in (
            ("evaluate", run),
            ("train", "--resume", run, "--epochs", 50, "--quiet"),
        ):
            assert_refused(command(module, *args), text_file.stem, "--data")
    finally:
        text_file.write_text(original)


@pytest.mark.parametrize("part", ["train", "valid", "test", None])
def test_the_requested_part_is_scored(part, trained, command):
    model, checkpoint = load_model(trained)
    ids = getattr(load_corpus(checkpoint.config.data, checkpoint.vocab), part or "test")
    result = json.loads(command("evaluate", trained, "--json", *(["--part", part] * bool(part)))[1])
    assert result["tokens"] == len(ids) - 1
    assert result["nats"] == pytest.approx(score(model, ids).mean(), rel=1e-6)


def test_evaluate_applies_the_encoding_and_the_data_folder(trained, tmp_path, command):
    text = "the ducks, the hills"
    (tmp_path / "wide.txt").write_bytes(text.encode("utf-16"))
    (tmp_path / "plain.txt").write_text(text)
    scores = [
        json.loads(command("evaluate", trained, "--json", "--data", *arguments)[1])["nats"]
        for arguments in ([tmp_path / "plain.txt"], [tmp_path / "wide.txt", "--encoding", "utf-16"])
    ]
    assert scores[0] == scores[1]
    arguments = argparse.Namespace(encoding=None, data_dir="there", data=None, part="test")
    asked = []
    corpus = types.SimpleNamespace(name="x", fingerprint=1, test=[7])
    with pytest.MonkeyPatch.context() as patch:
        load = lambda config, *_: asked.append(config.data_dir) or corpus  # noqa: E731
        patch.setattr("gluonlm.run.text.load_corpus", load)
        checkpoint = load_model(trained)[1]
        kept = dataclasses.replace(checkpoint, progress={"corpus": 1})
        assert read_ids(arguments, kept) == [7]
        assert asked == ["there"]


def test_the_output_is_one_mean_in_three_units(trained, command):
    model, checkpoint = load_model(trained)
    losses = score(model, load_corpus(checkpoint.config.data, checkpoint.vocab).test)
    nats = losses.mean()
    figures = f"{nats / np.log(2):.4f} bits per character, {nats:.4f} nats, perplexity"
    expected = f"{figures} {np.exp(nats):.2f}, over {losses.size:,} characters (test part)\n"
    assert command("evaluate", trained) == (0, expected, "")
    result = json.loads(command("evaluate", trained, "--json")[1])
    assert result["bits_per_character"] == pytest.approx(result["nats"] / np.log(2), rel=1e-12)
    assert result["perplexity"] == pytest.approx(np.exp(result["nats"]), rel=1e-12)


def test_empty_segments_are_one_line(trained, command):
    assert_refused(command("evaluate", trained, "--seq-len", 0), "--seq-len 0")
