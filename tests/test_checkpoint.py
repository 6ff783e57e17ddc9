"""Runs on disk: round trips, damage and refusals."""

import json
import os
import shutil

import numpy as np
import pytest

from gluonlm.config import Config
from gluonlm.run.checkpoint import FILES, MANIFEST, Checkpoint, read_checkpoint
from gluonlm.run.folder import Run
from gluonlm.run.load import load_model
from gluonlm.system.errors import InputError
from gluonlm.vocab import Vocab


def contents(step=1, value=1.0):
    return Checkpoint(
        Config(),
        Vocab("char", "ab\u00e9"),
        {"w": np.full((2, 3), value, np.float32)},
        {"s": np.arange(4.0)},
        {"step": step, "best": 0.1},
    )


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of a trained run, for damaging."""
    return Run(shutil.copytree(trained, tmp_path / "copy"))


def test_checkpoints_round_trip(tmp_path):
    run = Run.create(tmp_path / "run")
    run.save(contents(7), ("best", "last"))
    back = run.load("best")
    assert back.config == Config()
    assert back.vocab.tokens == ["a", "b", "\u00e9"]
    assert back.progress == {"step": 7, "best": 0.1}
    assert (back.parameters["w"] == 1).all()
    assert back.training["s"].tolist() == [0, 1, 2, 3]


def test_best_and_last_are_kept_and_the_rest_removed(tmp_path):
    run = Run.create(tmp_path / "run")
    for step in (1, 2, 3, 4):
        run.save(contents(step, step), ("best", "last") if step == 2 else ("last",))
    (run.checkpoints / ".writing-dead").mkdir()
    run.save(contents(4, 5.0))
    assert run.load("best").progress["step"] == 2
    assert (run.load("last").parameters["w"] == 5).all()
    assert sorted(os.listdir(run.checkpoints)) == ["00000002", "00000004a", "best", "last"]


def test_flipped_bytes_and_truncations_are_reported_with_the_file(copy):
    folder, random = copy.pointed("best"), np.random.default_rng(0)
    for name in (*FILES, MANIFEST):
        path = folder / name
        whole = path.read_bytes()
        for place in {0, len(whole) - 1, *random.integers(0, len(whole), 6)}:
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(random.integers(8))
            for content in (bytes(damaged), whole[:place]):
                path.write_bytes(content)
                with pytest.raises(InputError, match=name):
                    read_checkpoint(folder)
        path.write_bytes(whole)
    assert read_checkpoint(folder).progress["step"] > 0


def test_missing_extra_and_linked_files_are_reported(copy, tmp_path):
    folder = copy.pointed("best")
    (folder / "extra").write_text("x")
    with pytest.raises(InputError, match="/extra: "):
        read_checkpoint(folder)
    (folder / "extra").unlink()
    os.rename(folder / "vocab.json", tmp_path / "vocab.json")
    with pytest.raises(InputError, match=r"vocab\.json: "):
        read_checkpoint(folder)
    os.symlink(tmp_path / "vocab.json", folder / "vocab.json")
    with pytest.raises(InputError, match=r"vocab\.json: "):
        read_checkpoint(folder)


def resealed(folder, name, content):
    """Write a file and update the manifest to match it, as an attacker would."""
    import gluonlm.run.checkpoint as module

    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    del manifest["sha256"]
    manifest["files"][name] = {"size": len(content), "sha256": module._digest(content)}
    (folder / MANIFEST).write_bytes(
        module._canonical({**manifest, "sha256": module._digest(module._canonical(manifest))})
    )


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("vocab.json", lambda v: {**v, "tokens": v["tokens"][:-1]}, r"decoder\.bias"),
        ("vocab.json", lambda v: {**v, "tokens": v["tokens"] + [v["tokens"][0]]}, "31 tokens, 30 "),
        ("vocab.json", lambda v: [], r"vocab\.json: "),
        ("config.json", lambda c: {**c, "hidden_size": [13]}, r"decoder\.weight"),
        ("config.json", lambda c: {**c, "model": "lstm"}, r"layers\.0\."),
        ("config.json", lambda c: {**c, "pickle": "x"}, "'pickle'"),
        ("config.json", lambda c: {**c, "embed_size": "8"}, "`embed_size`"),
    ],
)
def test_inconsistent_parts_are_refused(copy, name, change, message):
    folder = copy.pointed("best")
    resealed(folder, name, json.dumps(change(json.loads((folder / name).read_bytes()))).encode())
    with pytest.raises(InputError, match=message):
        load_model(copy.path)


@pytest.mark.parametrize("pointer", ["../../../etc", "/tmp", "", "00000006/../..", "x"])
def test_pointers_outside_the_run_are_refused(copy, pointer):
    (copy.checkpoints / "best").write_text(pointer)
    with pytest.raises(InputError, match="checkpoints/best: "):
        load_model(copy.path)


def test_a_forged_manifest_is_refused(copy):
    import gluonlm.run.checkpoint as module

    path = copy.pointed("best") / MANIFEST
    for files in (
        [],
        None,
        dict.fromkeys(FILES),
        dict.fromkeys(FILES, {"size": "1"}),
        {"../x": {}},
    ):
        manifest = {"format": 1, "files": files}
        path.write_bytes(
            module._canonical({**manifest, "sha256": module._digest(module._canonical(manifest))})
        )
        with pytest.raises(InputError, match="manifest"):
            load_model(copy.path)
    path.write_bytes(b'{"format": 2}')
    with pytest.raises(InputError, match="format 2"):
        load_model(copy.path)


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    import gluonlm.run.checkpoint as module

    run = Run.create(tmp_path / "run")
    run.save(contents(1))
    real = module.write_file

    def full(path, content):
        if path.name == "progress.json":
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(module, "write_file", full)
    with pytest.raises(InputError, match="No space left"):
        run.save(contents(2))
    assert run.load("last").progress["step"] == 1
    assert sorted(os.listdir(run.checkpoints)) == ["00000001", "last"]


@pytest.mark.parametrize("flipped", [False, True])
def test_a_file_that_was_not_written_correctly_never_becomes_current(
    flipped, tmp_path, monkeypatch
):
    import gluonlm.run.checkpoint as module

    run = Run.create(tmp_path / "run")
    run.save(contents(1))
    real = module.write_arrays

    def changed(arrays, path):
        real(arrays, path)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content if flipped else content[:-1])

    monkeypatch.setattr(module, "write_arrays", changed)
    with pytest.raises(InputError, match="step 2 "):
        run.save(contents(2))
    assert run.load("last").progress["step"] == 1


def test_existing_folders_are_refused_and_only_runs_overwritten(tmp_path):
    run = Run.create(tmp_path / "run")
    run.save(contents(1))
    (run.checkpoints / ".of-this-moment").mkdir()  # as if a training were writing here
    for overwrite in (False, True):
        with pytest.raises(InputError, match=" process "):
            Run.create(tmp_path / "run", overwrite)
    (run.checkpoints / ".of-this-moment").rmdir()
    run.unlock()
    with pytest.raises(InputError, match="`overwrite`"):
        Run.create(tmp_path / "run")
    assert run.load("last").progress["step"] == 1
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match=r"precious: .*`overwrite`"):
        Run.create(tmp_path / "precious", overwrite=True)
    assert (tmp_path / "precious" / "thesis.txt").exists()
    foreign = tmp_path / "work"
    (foreign / "checkpoints").mkdir(parents=True)
    (foreign / "thesis.txt").write_text("x")
    lost = Run.create(tmp_path / "lost")
    lost.save(contents(1), ("best", "last"))
    (lost.checkpoints / "last").unlink()
    lost.unlock()
    for path in (foreign, lost.path):
        with pytest.raises(InputError, match=f"{path.name}: .*`overwrite`"):
            Run.create(path)
    with pytest.raises(InputError, match=r"work: .*`overwrite`"):
        Run.create(foreign, overwrite=True)
    assert (foreign / "thesis.txt").exists()
    assert lost.load("best").progress["step"] == 1
    assert not list(Run.create(tmp_path / "run", overwrite=True).checkpoints.iterdir())


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path):
    run = Run.create(tmp_path / "run")
    (run.checkpoints / "00000000").mkdir()
    (run.checkpoints / ".writing-x").mkdir()
    run.unlock()
    assert not list(Run.create(tmp_path / "run").checkpoints.iterdir())


def test_a_pointer_written_by_hand_is_read(copy):
    name = (copy.checkpoints / "best").read_text()
    (copy.checkpoints / "last").write_text(name + "\n")
    assert copy.load("last").progress["step"] == copy.load("best").progress["step"]


def test_a_missing_run_is_reported(tmp_path):
    with pytest.raises(InputError, match="nowhere: "):
        load_model(tmp_path / "nowhere")


def test_a_released_run_can_be_locked_again(tmp_path):
    run, other = Run.create(tmp_path / "run"), Run(tmp_path / "run")
    for _ in range(2):
        run.lock()  # already locked: no effect
        with pytest.raises(InputError, match=" process "):
            other.lock()
        run.unlock()
        other.lock()
        with pytest.raises(InputError, match=" process "):
            run.lock()
        other.unlock()
        run.lock()


def test_a_file_at_the_path_of_a_run_is_kept(tmp_path):
    path = tmp_path / "notes"
    path.write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"`run` .*notes: .*`overwrite`"):
            Run.create(path, overwrite)
    assert path.read_text() == "mine"


def test_settings_missing_from_a_checkpoint_have_their_old_defaults(copy):
    folder = copy.pointed("best")
    config = json.loads((folder / "config.json").read_bytes())
    assert config.pop("shuffle") == "mixed"
    assert config.pop("window") == 3
    assert config.pop("output_bias")
    resealed(folder, "config.json", json.dumps({**config, "context": 7}).encode())
    kept = read_checkpoint(folder).config
    assert kept.training.shuffle == "line"
    assert kept.model.window == 7
    assert kept.model.output_bias == "zero"
    fresh = Config.from_dict(config)
    assert fresh.training.shuffle == "mixed"
    assert fresh.model.output_bias == "frequency"


def test_the_best_checkpoint_is_loaded_by_default(tmp_path):
    run = Run.create(tmp_path / "run")
    run.save(contents(1), ("best", "last"))
    run.save(contents(2))
    assert run.load().progress["step"] == 1
    assert run.load("last").progress["step"] == 2


@pytest.mark.parametrize(
    "pointers, found", [(("best", "last"), "best or last"), (("last",), "last")]
)
def test_an_unknown_checkpoint_is_refused(pointers, found, tmp_path):
    run = Run.create(tmp_path / "run")
    for path in (run.path, run.save(contents(1), pointers)):
        for name in ("bset", "00000001", "", None):
            with pytest.raises(InputError, match=repr(name)):
                load_model(path, name)
    with pytest.raises(InputError, match=f"be {found}$"):
        load_model(run.path, "bset")
