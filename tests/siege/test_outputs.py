"""Commands never overwrite files that they should keep."""

import os

import pytest
from conftest import assert_refused

from gluonlm import compare
from gluonlm.compare import Place, Timing
from gluonlm.system.errors import InputError
from gluonlm.system.files import output_file


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
