"""Forged checkpoints with valid hashes are refused in one line, before a model is built."""

import json
import os
import shutil
import sys
import time

import numpy as np
import pytest
from conftest import assert_refused
from safetensors.numpy import load, save
from test_checkpoint import resealed

from gluonlm.models import Ensemble, RNNModel, WindowModel
from gluonlm.run.checkpoint import FILES, MANIFEST, read_checkpoint, seal
from gluonlm.run.folder import Run
from gluonlm.run.load import load_model
from gluonlm.system.errors import InputError
from gluonlm.system.files import hash_file


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


@pytest.mark.parametrize("key", ["self", "cls", "tokens ", "", "\x1b[2J", "x" * 5000])
@pytest.mark.parametrize("name", ["config.json", "progress.json", "vocab.json"])
def test_an_unknown_key_is_one_line(name, key, copy, command):
    forge(copy, name, lambda content: {**content, key: 1})
    for result in list(commands(copy, command))[name == "progress.json" and 2 :]:
        assert_refused(result)
        assert len(result[2]) < 1000
        assert "\x1b" not in result[2]


@pytest.mark.parametrize("nested", [{"x": "[" * 900 + "]" * 900}, {"format": "7" * 60_000}])
def test_a_deep_or_long_manifest_is_one_short_line(nested, copy):
    path = copy.pointed("best") / MANIFEST
    ((key, value),) = nested.items()
    path.write_text(f'{{"format": 1, "{key}": {value if key == "x" else json.dumps(value)}}}')
    with pytest.raises(InputError, match=MANIFEST) as error:
        read_checkpoint(path.parent)
    assert len(str(error.value)) < 1000


def test_arrays_larger_than_the_free_memory_are_not_read(copy):
    folder = copy.pointed("best")
    files = {name: hash_file(folder / name) for name in FILES}
    os.truncate(folder / "model.safetensors", 2**42)
    files["model.safetensors"] = (2**42, "0" * 64)
    (folder / MANIFEST).write_bytes(seal(files))
    with pytest.raises(InputError, match="memory"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    "change",
    [
        dict(data=[f"{number}.txt" for number in range(90_000)]),
        dict(data=["*"] * 100_000),
        dict(data=["*/x.txt"] * 9_999),
        dict(data=["*/../" * 400 + "x.txt"]),
        dict(data=["links/" + "*/" * 40 + "x.txt"]),
        dict(data=["links/" + "*/" * 4 + "x.txt"] * 9_999),
        dict(valid="links/" + "*/" * 40 + "x.txt"),
        dict(data=["sparse.txt"]),
        dict(data=["link.txt"]),
        dict(test="sparse.txt"),
        dict(data=["*.txt"]),
        dict(data=["medium.txt"] * 9_999),
        dict(data=["medium.txt", "hard*.txt"] * 2000),
        dict(data=["x" * 100_000]),
        dict(encoding="x" * 100_000),
    ],
)
def test_forged_texts_take_no_time(change, copy, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sparse.txt").touch()
    os.truncate("sparse.txt", 200 * 2**30)
    os.symlink("sparse.txt", "link.txt")
    (tmp_path / "medium.txt").write_text("ducks " * 20_000)
    os.link("medium.txt", "hard.txt")
    os.makedirs("links")
    for number in range(20):
        os.symlink(".", f"links/{number}")
    forge(copy, "config.json", lambda config: {**config, **change})
    for module, *arguments in (("evaluate", copy.path), ("train", "--resume", copy.path)):
        begin = time.process_time()
        result = command(module, *arguments)
        assert time.process_time() - begin < 5
        assert_refused(result)
        assert len(result[2]) < 6000


def test_forged_lengths_of_sparse_files_take_no_time(copy, command):
    def lengthen(progress):
        return {**progress, "metrics_bytes": 2**40}

    forge(copy, "progress.json", lengthen)
    os.truncate(copy.metrics, 2**40)
    begin = time.process_time()
    flags = ["--resume", copy.path, "--max-steps", 9, "--quiet"]
    code, _, err = command("train", *flags)
    assert (code, err.count("\n")) == (0, 1)
    assert time.process_time() - begin < 5
    lines = copy.metrics.read_text().splitlines()
    assert all(json.loads(line)["step"] > 6 for line in lines)


def test_settings_that_could_not_be_read_back_are_refused(tmp_path, text_file, command):
    folder = tmp_path / ("x" * 200)
    folder.mkdir()
    names = [folder / f"{number}.txt" for number in range(6000)]
    for name in names:
        os.link(text_file, name)
    flags = ["--max-steps", 1, "--embed-size", 4, "--hidden-size", 4, "--run", tmp_path / "run"]
    assert_refused(command("train", "--data", *names, *flags), "config.json")


@pytest.mark.parametrize(
    "name, content",
    [
        ("x.toml", f"encoding = 0x{'f' * 5000}"),
        ("x.toml", f"data = {'[' * 300}{']' * 300}"),
        ("x.toml", "lr = 1979-05-27T07:32:00Z"),
        ("x.toml", "[data]\nx = 1"),
        ("x.toml", "self = 1"),
        ("x.json", '{"self": 1}'),
        ("x.json", f'{{"lr": {"[" * 100_000}{"]" * 100_000}}}'),
        ("x.json", f'{{"data": {json.dumps(["t"] * 100_000)}}}'),
        ("x.json", f'{{"encoding": "{"x" * 500_000}"}}'),
        ("x.json", f'{{"{"x" * 500_000}": 1}}'),
        ("x.json", '{"data": "\\ud800"}'),
        ("x.json", '{"data": ["\\u0000"]}'),
        ("x.json", '{"model": {"a": [null]}}'),
    ],
)
def test_hostile_settings_files_are_one_short_line(name, content, tmp_path, command):
    (tmp_path / name).write_text(content)
    for flags in (["train"], ["tune", tmp_path / "s", "--try", "lr=1..2"], ["compare"]):
        result = command(*flags, "--config", tmp_path / name)
        assert_refused(result)
        assert len(result[2]) < 1000


@pytest.mark.parametrize(
    "vocab",
    [
        {"self": 1, "level": "char", "tokens": ["a"]},
        {"idx_to_token": {"level": "char", "tokens": "ab"}},
        {"idx_to_token": [None, "a"]},
        {"idx_to_token": [["a"]]},
        {"idx_to_token": "ab"},
        {"level": ["char"], "tokens": ["a"]},
        {"level": "word", "tokens": ["x" * 2_000_000]},
        ["a\0", "", "b"],
    ],
)
def test_hostile_vocabulary_files_are_one_short_line(vocab, tmp_path, command):
    arrays = {"0.i2h_weight": np.zeros((4, 4)), "0.h2h_weight": np.zeros((4, 4)),
              "0.i2h_bias": np.zeros(4), "0.h2h_bias": np.zeros(4),
              "embedding.weight": np.zeros((1, 4)), "decoder.weight": np.ones((1, 4)),
              "decoder.bias": np.zeros(1)}  # fmt: skip
    (tmp_path / "w.safetensors").write_bytes(save(arrays))
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    flags = ["--vocab", tmp_path / "vocab.json", "--run", tmp_path / "run"]
    result = command("import", tmp_path / "w.safetensors", *flags)
    assert_refused(result)
    assert len(result[2]) < 1000
