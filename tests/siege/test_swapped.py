"""A folder of a run that is replaced by a link while it is read is never followed."""

import contextlib
import shutil

import pytest
from conftest import start

from gluonlm.run import checkpoint
from gluonlm.run.folder import Run
from gluonlm.system.errors import InputError

# swaps a folder and a link to another folder, until its standard input is closed
SWAPPING = """
import os, select, sys
path, link, kept = sys.argv[1:]
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for old, new in ((path, kept), (link, path), (path, link), (kept, path)):
        os.rename(old, new)
"""


@pytest.fixture
def outside(trained, tmp_path):
    """A copy of the run, and another run outside it with a different step."""
    run, other = (Run(shutil.copytree(trained, tmp_path / name)) for name in ("run", "outside"))
    contents = other.load("last")
    contents.progress["step"] += 1
    other.save(contents, ("best", "last"))
    folder = run.pointed("last")
    other.pointed("last").rename(other.checkpoints / folder.name)
    for pointer in ("best", "last"):
        (other.checkpoints / pointer).write_text(folder.name)
    return run, other


def swapped(path, target):
    """Start a process that swaps `path` and a link to `target` in a loop."""
    link = path.with_name("link")
    link.symlink_to(target)
    process = start("-c", SWAPPING, path, link, path.with_name("kept"), stdin=-1)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("which", ["checkpoints", "checkpoint"])
def test_a_folder_swapped_for_a_link_in_a_loop_is_not_followed(which, outside):
    run, other = outside
    step = run.load("last").progress["step"]
    path = run.checkpoints if which == "checkpoints" else run.pointed("last")
    target = other.checkpoints if which == "checkpoints" else other.pointed("last")
    process, steps = swapped(path, target), set()
    try:
        for _ in range(300):
            with contextlib.suppress(InputError):
                steps.add(run.load("last").progress["step"])
    finally:
        process.communicate("")
    assert steps <= {step}


@pytest.mark.parametrize("which", ["checkpoints", "checkpoint"])
def test_a_folder_swapped_between_two_files_is_not_followed(which, outside, monkeypatch):
    run, other = outside
    path = run.checkpoints if which == "checkpoints" else run.pointed("last")
    target = other.checkpoints if which == "checkpoints" else other.pointed("last")
    before = run.load("last")
    read = []

    def reading(file, *args, real=checkpoint.read_file, **kwargs):
        if not read:  # the manifest
            path.rename(path.with_name("kept"))
            path.symlink_to(target)
        read.append(file.name)
        return real(file, *args, **kwargs)

    monkeypatch.setattr(checkpoint, "read_file", reading)
    assert run.load("last").progress == before.progress
    assert len(read) > 1
    with pytest.raises(InputError):
        run.load("last")
