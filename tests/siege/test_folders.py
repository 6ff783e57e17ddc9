"""A run writes only into its own folder, and removes only files that it has written."""

import os
import shutil

import pytest
from test_checkpoint import contents

from gluonlm.run.folder import Run
from gluonlm.system.errors import InputError


def test_a_run_whose_folder_was_moved_stops_writing(tmp_path):
    first = Run.create(tmp_path / "run")
    first.save(contents(1))
    os.rename(tmp_path / "run", tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"run: .*`resume`"):
        first.save(contents(2))
    assert not (tmp_path / "run").exists()
    second = Run.create(tmp_path / "run")
    second.save(contents(7, 7.0))
    with pytest.raises(InputError, match=r"run: .*`resume`"):
        first.save(contents(3))
    assert second.load("last").progress["step"] == 7
    assert sorted(os.listdir(second.checkpoints)) == ["00000007", "last"]
    assert Run(tmp_path / "elsewhere").load("last").progress["step"] == 1


def test_a_removed_run_stops_writing(tmp_path):
    run = Run.create(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(InputError, match=r"run: .*`resume`"):
        run.save(contents(1))
    assert os.listdir(tmp_path) == []


def users_own(checkpoints):
    """Create user folders next to the checkpoints; return their contents."""
    for name in ("keep-this", ".git", "20240101", ".writing-notes"):
        (checkpoints / name).mkdir()
        (checkpoints / name / "thesis.txt").write_text(name)
    (checkpoints / "notes.txt").write_text("notes")
    return sorted(path for path in checkpoints.rglob("*.txt"))


def test_user_folders_are_not_pruned(tmp_path):
    run = Run.create(tmp_path / "run")
    run.save(contents(1))
    kept = users_own(run.checkpoints)
    for step in (2, 3):
        run.save(contents(step))
    assert sorted(run.checkpoints.rglob("*.txt")) == kept
    assert not (run.checkpoints / "00000002").exists()
    assert run.load("last").progress["step"] == 3


@pytest.mark.parametrize("name", ["keep-this", ".git", "20240101", ".writing-notes", "notes.txt"])
def test_a_run_with_user_files_is_not_overwritten(name, tmp_path):
    run = Run.create(tmp_path / "run")
    run.save(contents(1))
    users_own(run.checkpoints)
    for other in run.checkpoints.iterdir():
        if other.name not in (name, "last", "00000001"):
            shutil.rmtree(other) if other.is_dir() else other.unlink()
    run.unlock()
    with pytest.raises(InputError, match="`overwrite`"):
        Run.create(tmp_path / "run", overwrite=True)
    assert (run.checkpoints / name).exists()
    assert run.load("last").progress["step"] == 1


@pytest.mark.parametrize("before", [False, True])
def test_a_full_disk_reports_whether_a_checkpoint_is_left(before, tmp_path, monkeypatch):
    import gluonlm.run.checkpoint as module

    def full(path, content):
        raise OSError(28, "No space left on device")

    run = Run.create(tmp_path / "run")
    if before:
        run.save(contents(0))
    monkeypatch.setattr(module, "write_file", full)
    remaining = "intact" if before else "no earlier one"
    with pytest.raises(InputError, match=f"step 1 .*No space left on device.* {remaining}$"):
        run.save(contents(1))
