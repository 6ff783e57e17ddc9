"""Opening a run reads only texts that the user chose, whatever paths its settings name."""

import dataclasses
import os
import shutil
import socket
import sys
import threading

import pytest
from conftest import assert_refused, start

from gluonlm.config import DataConfig
from gluonlm.corpus import CATALOGUE, Entry, File, check_trusted
from gluonlm.run.folder import Run
from gluonlm.system.errors import InputError


@pytest.fixture
def stranger(trained, tmp_path, monkeypatch):
    """A folder with a run; returns a function that changes the texts named by the run."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("GLUONLM_DATA", str(home / "corpora"))
    contents = Run(trained).load("last")

    def name(**settings):
        shutil.rmtree("run", ignore_errors=True)
        run, data = Run.create("run"), dataclasses.replace(contents.config.data, **settings)
        config = dataclasses.replace(contents.config, data=data)
        run.save(dataclasses.replace(contents, config=config), ("last", "best"))
        run.unlock()
        return "run"

    return name


@pytest.fixture
def watched(monkeypatch):
    """The list of all paths that the package opens, lists or creates."""
    seen = []
    opening = ("open", "os.listdir", "os.scandir", "os.mkdir", "glob.glob", "socket.connect")

    def audit(event, arguments):
        if event in opening and threading.current_thread() is threading.main_thread():
            seen.append((event, str(arguments[0])))

    sys.addaudithook(audit)  # audit hooks cannot be removed; this one only appends to a list
    return seen


OUTSIDE = ["/etc/shadow", "/**", "/proc/kmsg", "/dev/zero", "../secret.txt", "/etc/*", "../*.txt"]


@pytest.mark.parametrize("text", OUTSIDE)
@pytest.mark.parametrize("setting", ["data", "valid", "test"])
def test_a_run_does_not_open_texts_outside(text, setting, stranger, command, tmp_path, watched):
    (tmp_path / "secret.txt").write_text("a secret")
    run = stranger(**{setting: (text,) if setting == "data" else text})
    for module, *arguments in (("evaluate", run), ("train", "--resume", run, "--epochs", 50)):
        watched.clear()
        assert_refused(command(module, *arguments), "--data")
        assert not [
            path for _, path in watched if path.startswith(("/etc/sh", "/proc/km", "/dev/zero"))
        ]
        assert not [path for _, path in watched if "secret" in path]
        assert ("glob.glob", text) not in watched


@pytest.mark.parametrize("text", ["link", "folder/secret.txt", "folder/*", "*", "**/*.txt"])
def test_links_to_texts_outside_are_not_followed(text, stranger, command, tmp_path, watched):
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "secret.txt").write_text("a secret")
    os.symlink(tmp_path / "else" / "secret.txt", "link")
    os.symlink(tmp_path / "else", "folder")
    watched.clear()
    assert_refused(command("evaluate", stranger(data=(text,))), "--data")
    assert ("open", "link") not in watched
    assert ("open", "folder/secret.txt") not in watched


def test_a_text_that_is_a_link_to_itself_is_one_line(stranger, command):
    os.symlink("loop", "loop")
    for setting in (dict(data=("loop",)), dict(valid="loop"), dict(data_dir="loop")):
        assert_refused(command("evaluate", stranger(**setting)))


def test_a_pipe_inside_a_run_is_not_read(stranger):
    os.mkfifo("pipe")
    process = start("-m", "gluonlm.evaluate", stranger(data=("pipe",)))
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert_refused((process.returncode, out, err), "pipe")


def test_opening_a_run_does_not_fetch_texts_or_create_folders(stranger, command, monkeypatch):
    refused = lambda *_: pytest.fail("connects")  # noqa: E731
    monkeypatch.setattr(socket, "create_connection", refused)
    for settings in (dict(data=("ptb",)), dict(data=("wikitext-2",), data_dir="made")):
        run = stranger(**settings)
        for module, *arguments in (("evaluate", run), ("train", "--resume", run)):
            assert_refused(command(module, *arguments), "gluonlm.corpus")
    assert os.listdir() == ["run"]


def test_a_text_of_the_user_is_opened(stranger, text_file, command):
    shutil.copy(text_file, "mine.txt")
    inside = command("evaluate", stranger(data=("mine.txt",)))
    assert inside[0] == 0
    os.makedirs("../texts")
    os.rename("mine.txt", "../texts/mine.txt")
    run = stranger(data=("../texts/mine.txt",))
    assert command("evaluate", run)[0] == 2
    assert command("evaluate", run, "--data-dir", "../texts") == inside
    assert command("train", "--resume", run, "--data-dir", "../texts", "--quiet")[0] == 0
    run = stranger(data=("../texts/mine.txt",))
    assert command("train", "--resume", run, "--data", "../texts/mine.txt", "--quiet")[0] == 0


def test_a_link_of_the_user_to_a_data_folder_is_followed(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.txt").write_text("a")
    monkeypatch.chdir(tmp_path / "disk")
    os.symlink(tmp_path / "disk", tmp_path / "corpora")
    os.makedirs(tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setenv("GLUONLM_DATA", str(tmp_path / "corpora"))
    named = DataConfig(data=(str(tmp_path / "corpora" / "a.txt"),))
    assert check_trusted(named, ()) == named


def test_the_root_folder_is_not_trusted(monkeypatch, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    monkeypatch.chdir("/")
    with pytest.raises(InputError, match=r"a\.txt: .*`data`"):
        check_trusted(DataConfig(data=(str(tmp_path / "a.txt"),)), ())


def test_a_named_corpus_is_found_only_in_the_users_folders(tmp_path, monkeypatch):
    monkeypatch.setitem(CATALOGUE, "play", Entry("", "", (File("play.txt", "http://nowhere"),)))
    for folder in ("home", "theirs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "theirs" / "play.txt").write_text("a play")
    monkeypatch.chdir(tmp_path / "home")
    run = DataConfig(data=("play",), data_dir=str(tmp_path / "theirs"))
    with pytest.raises(InputError, match=r"play\.txt .*gluonlm\.corpus play"):
        check_trusted(run, ())
    assert check_trusted(run, ["data_dir"]) == run
    monkeypatch.setenv("GLUONLM_DATA", str(tmp_path / "theirs"))
    assert check_trusted(run, ()) == run
    elsewhere = dataclasses.replace(run, data_dir="/srv")
    assert check_trusted(elsewhere, ()) == dataclasses.replace(run, data_dir="")
