"""Untrusted input: hostile, damaged and forged checkpoints, and arbitrary settings."""

import contextlib
import json
import math
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import PEAK, ROOT, assert_refused, start
from hypothesis import given, settings
from hypothesis import strategies as st
from test_checkpoint import resealed

from gluonlm.config import Config
from gluonlm.evaluate.scoring import score
from gluonlm.generate.sampling import sample
from gluonlm.models import RNNModel
from gluonlm.run.checkpoint import FILES, MANIFEST
from gluonlm.run.folder import Run, new_folder
from gluonlm.run.load import load_model
from gluonlm.system.device import to_device
from gluonlm.system.errors import InputError

CONTRACT = ROOT / "tests" / "contract"


class Bomb:
    """Create a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_hostile_checkpoints_do_not_run_code_or_write_outside(trained, tmp_path, command):
    mark, outside = tmp_path / "exploded", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    bomb = pickle.dumps(Bomb(mark))

    def refused(run, *extra):
        for module, *args in (
            ("generate", run.path),
            ("evaluate", run.path),
            ("train", "--resume", run.path),
            *extra,
        ):
            assert_refused(command(module, *args))

    for name in FILES:
        run = Run(shutil.copytree(trained, tmp_path / f"bomb-{name}"))
        resealed(run.pointed("best"), name, bomb)
        (run.checkpoints / "last").write_text((run.checkpoints / "best").read_text())
        refused(run, ("generate", run.pointed("best")))
    for name in ("model.params", "data.pkl"):
        run = Run(shutil.copytree(trained, tmp_path / f"extra-{name}"))
        (run.pointed("best") / name).write_bytes(bomb)
        (run.checkpoints / "last").write_text((run.checkpoints / "best").read_text())
        refused(run)
    for number, pointer in enumerate(("../../outside", str(outside), "00000003/../../../outside")):
        run = Run(shutil.copytree(trained, tmp_path / f"pointer{number}"))
        (run.checkpoints / "last").write_text(pointer)
        (run.checkpoints / "best").unlink()
        refused(run)
    for name in ("checkpoints/last", "checkpoints"):
        run = Run(shutil.copytree(trained, tmp_path / f"link-{name.replace('/', '-')}"))
        (run.checkpoints / "best").unlink()
        target = run.path / name
        shutil.move(target, outside / target.name)
        os.symlink(outside / target.name, target)
        refused(run)
    assert not mark.exists()
    assert (outside / "precious").read_text() == "precious"


@pytest.mark.parametrize(
    "name",
    ["metrics.jsonl", "config.json", "curve.png", "checkpoints/.last.new", "checkpoints/last"],
)
def test_writes_do_not_follow_links_in_a_run(trained, tmp_path, command, name):
    run, precious = shutil.copytree(trained, tmp_path / "run"), tmp_path / "precious"
    content = (run / "checkpoints" / "last").read_bytes()
    precious.write_bytes(content)
    (run / name).unlink(missing_ok=True)
    os.symlink(precious, run / name)
    code, _, err = command("train", "--resume", run, "--max-steps", 9, "--quiet")
    assert code in (0, 2)
    assert err.count("\n") <= 1
    assert precious.read_bytes() == content


def test_a_single_checkpoint_cannot_be_resumed(trained, command):
    folder = Run(trained).pointed("last")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert_refused(command("train", "--resume", folder), f"--resume {folder}: ")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


CORRUPTIONS = """
import json, os, shutil, sys
from pathlib import Path
import numpy as np
import gluonlm
from gluonlm.run.checkpoint import FILES, MANIFEST
from gluonlm.run.folder import Run
from gluonlm.run.load import load_model
from gluonlm.system.errors import InputError
source, work, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
random, silent, unnamed = np.random.default_rng(1), 0, 0
load_model(source)
for number in range(count):
    run = Run(shutil.copytree(source, work / "run"))
    folder = run.pointed("best")
    name = [*FILES, MANIFEST][random.integers(len(FILES) + 1)]
    path, kind = folder / name, random.integers(5)
    content = bytearray(path.read_bytes())
    place = int(random.integers(len(content)))
    if kind == 0:
        content[place] ^= 1 << int(random.integers(8))
    elif kind == 1:
        del content[place:]
    elif kind == 2:
        content[place:place] = random.bytes(int(random.integers(1, 9)))
    elif kind == 3:
        end = place + int(random.integers(1, 65))
        fresh = random.bytes(len(content[place:end]))
        content[place:end] = fresh if fresh != content[place:end] else b"x"
    if kind == 4 and number % 2:
        path.unlink()
    elif kind == 4:
        name = "surplus.bin"
        (folder / name).write_bytes(b"x")
    else:
        path.write_bytes(content)
    try:
        load_model(run.path)
        silent += 1
    except InputError as error:
        unnamed += name not in str(error) or "\\n" in str(error)
    shutil.rmtree(run.path)
print(json.dumps({"silent": silent, "unnamed": unnamed, "megabytes": peak()}))
"""


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.full)])
def test_corruption_is_reported_without_crashes_or_much_memory(trained, tmp_path, count):
    out, err = start("-c", PEAK + CORRUPTIONS, trained, tmp_path, count).communicate()
    found = json.loads(out)
    assert (found["silent"], found["unnamed"], err) == (0, 0, "")
    assert found["megabytes"] < 1024


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(hidden_size=[2**20]), "config.json: .* 3,298,597,798,158 "),
        (dict(hidden_size=[10**12]), "`hidden_size`: "),
        (dict(num_layers=10**9), "`num_layers` 1000000000: "),
        (dict(num_layers=1000), "config.json: .* 936,486 "),
        (dict(embed_size=2**20), "config.json: .* 69,206,910 "),
        (dict(model="unrolled", context=10**9), "`window` 1000000000: "),
        (dict(lr=10**400), "`lr` inf: "),
        (dict(epochs=10**400), "`epochs`: "),
        (dict(tie_weights=True), "`tie_weights`: .*`hidden_size`, 12, .*`embed_size`, 8"),
    ],
)
def test_forged_sizes_are_refused_before_they_are_allocated(trained, tmp_path, change, message):
    run = Run(shutil.copytree(trained, tmp_path / "run"))
    folder = run.pointed("best")
    content = {**json.loads((folder / "config.json").read_bytes()), **change}
    resealed(folder, "config.json", json.dumps(content).encode())
    with pytest.raises(InputError, match=message):
        load_model(run.path)


@pytest.mark.parametrize(
    "change",
    [
        dict(step="x"),
        dict(step=None),
        dict(step=2.5),
        dict(step=-1),
        dict(tokens=0.5),
        dict(stale=True),
        dict(seconds=[1]),
        dict(optimizer=3),
        dict(surprise=1),
        dict(best="low"),
    ],
)
def test_forged_progress_is_refused(trained, tmp_path, command, change):
    run = Run(shutil.copytree(trained, tmp_path / "run"))
    folder = run.pointed("last")
    content = {**json.loads((folder / "progress.json").read_bytes()), **change}
    resealed(folder, "progress.json", json.dumps(content).encode())
    assert_refused(command("train", "--resume", run.path, "--max-steps", 8, "--quiet"), "progress")


@pytest.mark.parametrize(
    "name, content",
    [
        ("vocab.json", b'{"level": "char", "tokens": [["a"]]}'),
        ("vocab.json", b'{"level": 3, "tokens": ["a"]}'),
        ("config.json", b'{"lr": NaN}'),
        ("config.json", b'{"hidden_size": []}'),
        ("progress.json", b"{}"),
        ("progress.json", b"[" * 100_000),
        (
            "model.safetensors",
            b'\x38\0\0\0\0\0\0\0{"w":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}    \0\0',
        ),
        (
            "model.safetensors",
            b'\x40\0\0\0\0\0\0\0{"w":{"dtype":"F32","shape":[99999999999],'
            b'"data_offsets":[0,4]}}   \0\0\0\0',
        ),
        ("training.safetensors", b""),
    ],
)
def test_forged_files_are_one_line(trained, tmp_path, command, name, content):
    run = Run(shutil.copytree(trained, tmp_path / "run"))
    resealed(run.pointed("best"), name, content)
    assert_refused(command("generate", run.path))


def test_a_checkpoint_of_version_1_loads_with_the_same_meaning():
    """tests/contract was written in format 1 (see its README); its meaning must not change."""
    model, checkpoint = load_model(CONTRACT / "run")
    expected = json.loads((CONTRACT / "expected.json").read_text())
    assert checkpoint.vocab.tokens == expected["tokens"]
    assert checkpoint.progress["step"] == expected["step"]
    losses = score(model, checkpoint.vocab.encode(expected["text"]))
    np.testing.assert_allclose(losses, expected["nats"], atol=1e-5)


def test_a_checkpoint_of_version_1_resumes(tmp_path, command):
    run = shutil.copytree(CONTRACT / "run", tmp_path / "run")
    (tmp_path / "text").write_text(json.loads((CONTRACT / "expected.json").read_text())["corpus"])
    code, _, err = command(
        "train", "--resume", run, "--data", tmp_path / "text", "--max-steps", 6, "--quiet"
    )
    assert (code, err) == (0, "")
    assert Run(run).load("last").progress["step"] == 6


values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.lists(st.integers() | st.text(max_size=3), max_size=3)
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted(Config().to_dict())) | st.text(max_size=8), values, max_size=4
    )
)
def test_settings_are_valid_or_refused(entries):
    try:
        config = Config.from_dict(entries)
    except InputError as error:
        assert "\n" not in str(error).replace(repr(entries), "")
        return
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    for follow in (
        config.model.layer_sizes,
        config.data.fractions,
        lambda: config.largest_operation(),
        lambda: new_folder(config),
    ):
        with contextlib.suppress(InputError):
            follow()
    numbers = [v for v in config.to_dict().values() if isinstance(v, (int, float))]
    assert all(math.isfinite(v) for v in numbers)


def test_ids_outside_the_vocabulary_never_reach_the_network():
    import mxnet as mx

    model = RNNModel("gru", 5, 4, (6,)).prepare([mx.cpu()])
    for ids in ([0, 5, 1], [0, -1, 1]):
        with pytest.raises(InputError, match="0 to 4"):
            score(model, np.array(ids, np.int32))
        with pytest.raises(InputError, match="0 to 4"):
            next(sample(model, ids, 1))
        with pytest.raises(InputError, match="0 to 4"):
            to_device(np.array(ids), 5, mx.cpu())


def test_only_files_named_in_the_manifest_are_opened(trained, tmp_path):
    run = Run(shutil.copytree(trained, tmp_path / "run"))
    opened, real = [], os.open
    try:
        os.open = lambda path, *args, **kwargs: (
            opened.append(Path(path).name),
            real(path, *args, **kwargs),
        )[1]
        run.load("best")
    finally:
        os.open = real
    folders = ["run", "checkpoints", run.pointed("best").name]
    assert sorted(opened) == sorted([*folders, "best", MANIFEST, *FILES])
