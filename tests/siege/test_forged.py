"""Forged checkpoints with valid hashes are refused in one line, before a model is built."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
from conftest import assert_refused
from safetensors.numpy import load, save
from test_checkpoint import resealed

from gluonlm.models import Ensemble, RNNModel, WindowModel
from gluonlm.run.checkpoint import MANIFEST, read_checkpoint
from gluonlm.run.folder import Run
from gluonlm.run.load import load_model
from gluonlm.system.errors import InputError


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of a trained run, for forging."""
    return Run(shutil.copytree(trained, tmp_path / "copy"))


def forge(run, name, change):
    """Change the JSON of one file in both checkpoints of a run, and update the hashes."""
    for pointer in ("best", "last"):
        folder = run.pointed(pointer)
        content = change(json.loads((folder / name).read_bytes()))
        resealed(
            folder, name, content if isinstance(content, bytes) else json.dumps(content).encode()
        )


def commands(run, command):
    """Run every command that opens a run; return exit codes and errors."""
    yield command("evaluate", run.path)
    yield command("generate", run.path, "--length", 2)
    yield command("train", "--resume", run.path, "--max-steps", 9, "--quiet")


@pytest.mark.parametrize(
    "change",
    [
        dict(step=10**400),
        dict(tokens=-1),
        dict(metrics_bytes=2**70),
        dict(loss_sum=-5.0),
        dict(best=[1]),
        dict(optimizer={"numbers": {}, "counts": {"0": -3}}),
        dict(optimizer={"numbers": {"num_update": 1e300}, "counts": {}}),
        dict(surprise=1),
    ],
)
def test_forged_progress_is_one_line(change, copy, command):
    forge(copy, "progress.json", lambda progress: {**progress, **change})
    result = command("train", "--resume", copy.path, "--max-steps", 9, "--quiet")
    assert_refused(result)
    assert len(result[2]) < 500


def test_a_number_too_large_for_a_float_in_a_manifest_is_one_line(copy):
    folder = copy.pointed("best")
    for number in ("1e999", "-1e999", "1" * 5000, "NaN"):
        (folder / MANIFEST).write_text(f'{{"x": {number}}}')
        with pytest.raises(InputError, match="manifest"):
            read_checkpoint(folder)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_every_command_refuses_weights_that_are_not_finite(bad, copy, command, tmp_path):
    for pointer in ("best", "last"):
        folder = copy.pointed(pointer)
        arrays = {
            name: array.copy()
            for name, array in load((folder / "model.safetensors").read_bytes()).items()
        }
        arrays["decoder.bias"][0] = bad
        resealed(folder, "model.safetensors", save(arrays))
    data = copy.load().config.data.data[0]
    flags = ["--init-from", copy.path, "--data", data, "--run", tmp_path / "new", "--quiet"]
    for result in (*commands(copy, command), command("train", *flags)):
        assert_refused(result, "decoder.bias")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "change",
    [
        dict(hidden_size=[1] * 20_000),
        dict(num_layers=1000),
        dict(members=1000, num_layers=1000),
        dict(hidden_size=[2**20]),
        dict(embed_size=2**20, tie_weights=False),
        dict(model="window", window=1000, hidden_size=[2**19]),
    ],
)
def test_a_forged_size_is_rejected_before_the_model_is_built(change, copy, command, monkeypatch):
    forge(copy, "config.json", lambda config: {**config, **change})
    for kind in (Ensemble, RNNModel, WindowModel):
        monkeypatch.setattr(kind, "__init__", None)  # building any model fails
    for result in commands(copy, command):
        assert_refused(result)
        assert len(result[2]) < 1000


@pytest.mark.parametrize("name", ["best", "last"])
def test_an_oversized_pointer_is_not_read(name, copy):
    with open(copy.checkpoints / name, "wb") as stream:
        stream.truncate(30 * 2**30)
    with pytest.raises(InputError, match=f"{name}: .* 100 "):
        copy.load(name)


def test_an_oversized_manifest_is_not_read(copy):
    with open(copy.pointed("best") / MANIFEST, "ab") as stream:
        stream.truncate(30 * 2**30)
    with pytest.raises(InputError, match=f"{MANIFEST}: .* 65536 "):
        copy.load("best")


def test_a_linked_checkpoint_is_not_followed(copy, tmp_path):
    folder = copy.pointed("best")
    shutil.move(folder, tmp_path / "outside")
    folder.symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match="copy/checkpoints/"):
        load_model(copy.path)


def test_a_hard_linked_metrics_file_is_not_truncated(copy, tmp_path, command):
    other = tmp_path / "somebody else's"
    shutil.copyfile(copy.metrics, other)
    copy.metrics.unlink()
    os.link(other, copy.metrics)
    content = other.read_bytes() + b"more\n"
    other.write_bytes(content)
    assert_refused(
        command("train", "--resume", copy.path, "--max-steps", 9, "--quiet"), "metrics.jsonl"
    )
    assert other.read_bytes() == content


def test_control_characters_do_not_reach_the_terminal(copy, command, tmp_path, monkeypatch):
    escape = "\x1b]0;owned\x07"

    def poison(vocab):
        return {**vocab, "tokens": ["\x1b", "\x9b", *vocab["tokens"][2:]]}

    forge(copy, "vocab.json", poison)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    code, out, err = command("generate", copy.path, "--length", 300, "--temperature", 50)
    assert code == 0
    assert "␛" in out
    assert "\\x9b" in out
    assert not {"\x1b", "\x9b"} & set(out + err)
    result = command("evaluate", tmp_path / f"no{escape}where")
    assert_refused(result, "\\x1b]0;owned\\x07")
    assert "\x1b" not in result[2]
