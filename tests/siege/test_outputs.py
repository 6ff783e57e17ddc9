"""Commands never overwrite files that they should keep."""

import errno
import os
import signal

import pytest
from conftest import assert_refused, start

from gluonlm import compare
from gluonlm.compare import Place, Timing
from gluonlm.system import files
from gluonlm.system.errors import InputError
from gluonlm.system.files import PART, output_file


@pytest.fixture(params=["embeddings", "compare", "evaluate"])
def writing(request, trained, text_file, command, monkeypatch):
    """Run a command that writes a file, with extra flags; return its exit code and output."""
    timings = [Timing(Place("cpu", 1), 1.0, 1.0, 1.0, 1.0)]
    monkeypatch.setattr(compare, "places", lambda: ([Place("cpu", 1)], []))
    monkeypatch.setattr(compare, "measure", lambda *arguments: (timings, []))
    begin = {
        "embeddings": ["embeddings", trained, "--count", 3, "--out"],
        "compare": ["compare", "--data", text_file, "--out"],
        "evaluate": ["evaluate", trained, "--data", text_file, "--per-token"],
    }[request.param]

    def run(path, *flags):
        return command(*begin, path, *flags)

    return run


def test_an_existing_file_is_kept_unless_overwriting_is_allowed(writing, tmp_path):
    path = tmp_path / "mine"
    path.write_text("thesis")
    assert_refused(writing(path), path, "--overwrite")
    assert path.read_text() == "thesis"
    assert writing(path, "--overwrite")[::2] == (0, "")
    assert path.read_bytes() != b"thesis"
    assert os.listdir(tmp_path) == ["mine"]


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_links_are_not_followed_and_only_regular_files_are_replaced(writing, tmp_path, flags):
    target = tmp_path / "target"
    target.write_text("thesis")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(os.listdir(tmp_path))
    for name in ("link", "dangling", "folder", "pipe"):
        assert_refused(writing(tmp_path / name, *flags), tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == before
    assert target.read_text() == "thesis"
    assert (tmp_path / "link").is_symlink()
    assert not (tmp_path / "nowhere").exists()
    assert_refused(writing("/dev/null", *flags), "/dev/null")
    assert not os.path.isfile("/dev/null")


def test_a_missing_folder_is_one_line(writing, tmp_path):
    path = tmp_path / "nowhere" / "x"
    assert_refused(writing(path), path)
    assert not os.listdir(tmp_path)


def test_files_are_written_atomically(tmp_path):
    path = tmp_path / "x"
    with pytest.raises(ZeroDivisionError), output_file(path) as stream:
        stream.write(b"half")
        assert not path.exists()
        _ = 1 / 0
    assert os.listdir(tmp_path) == []
    with pytest.raises(InputError, match="`overwrite`"), output_file(path) as stream:
        stream.write(b"late")
        path.write_bytes(b"somebody was faster")
    assert path.read_bytes() == b"somebody was faster"
    assert os.listdir(tmp_path) == ["x"]


KILLED = """
import os, signal, sys
from gluonlm.convert import check
from gluonlm.convert.export import main
check.check_written = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
main(sys.argv[1:])
"""


@pytest.mark.parametrize("kind", ["onnx", "torch", "html"])
def test_files_of_a_killed_export_are_removed_by_the_next_one(kind, trained, command, tmp_path):
    process = start("-c", KILLED, trained, "--format", kind, "--out", tmp_path / "killed.bin")
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 1 + (kind == "torch")
    code, _, err = command("export", trained, "--format", "onnx", "--out", tmp_path / "out.onnx")
    assert (code, err) == (0, "")
    assert os.listdir(tmp_path) == ["out.onnx"]


def test_only_unfinished_files_of_killed_processes_are_removed(tmp_path):
    (tmp_path / "kept").write_text("thesis")
    unfinished = ".01234567" + PART
    (tmp_path / unfinished).write_text("half")
    names = [PART, "0123456" + PART, ".0123456x" + PART, unfinished + "x", "." + unfinished]
    for name in names:
        (tmp_path / name).write_text("not ours")
    (tmp_path / (".11111111" + PART)).symlink_to("kept")
    (tmp_path / (".22222222" + PART)).mkdir()
    os.mkfifo(tmp_path / (".33333333" + PART))
    others = {"kept", *names, *(f".{n * 8}{PART}" for n in "123")}
    with output_file(tmp_path / "one") as first, output_file(tmp_path / "two") as second:
        first.write(b"1")
        second.write(b"2")
        assert len(os.listdir(tmp_path)) == len(others) + 2
    assert set(os.listdir(tmp_path)) == {*others, "one", "two"}
    assert [(tmp_path / name).read_bytes() for name in ("one", "two")] == [b"1", b"2"]


WRITING = """
import sys
from pathlib import Path
from gluonlm.system.files import output_file
for _ in range(100):
    with output_file(Path(sys.argv[1]), overwrite=True) as stream:
        stream.write(sys.argv[2].encode() * 1000)
"""


def test_several_processes_replace_one_file(tmp_path):
    processes = [start("-c", WRITING, tmp_path / "x", letter) for letter in "abcd"]
    for process in processes:
        assert process.communicate(timeout=120) == ("", "")
        assert process.returncode == 0
    assert os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x").read_text() in [letter * 1000 for letter in "abcd"]


def test_a_file_system_without_locks_is_written_and_nothing_is_removed(tmp_path, monkeypatch):
    def without_locks(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    (tmp_path / (".01234567" + PART)).write_text("half")
    monkeypatch.setattr(files.fcntl, "flock", without_locks)
    with output_file(tmp_path / "x") as stream:
        stream.write(b"1")
    assert sorted(os.listdir(tmp_path)) == [".01234567" + PART, "x"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_outputs_have_the_users_usual_mode(mask, tmp_path):
    before = os.umask(mask)
    try:
        with output_file(tmp_path / "x"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~mask
