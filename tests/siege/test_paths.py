"""A path of the wrong kind is one line for every flag that takes a path; nothing waits for it."""

import contextlib
import os
import shutil
import signal
import socket

import pytest
from conftest import TINY, assert_refused

LIMIT = 60  # seconds after which a command counts as waiting forever
KINDS = ("pipe", "socket", "device", "folder", "file", "dangling", "loop", "missing", "inside")


class Waiting(BaseException):
    """Raised by the alarm; a BaseException, because the commands handle all OSErrors."""


@pytest.fixture(autouse=True)
def alarm():
    """Interrupt a command that waits for a pipe or reads a device."""

    def interrupt(number, frame):
        raise Waiting

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def make(kind, folder):
    """Return a relative path of this kind in a folder; unix sockets have short paths."""
    path = folder / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(kind)
    elif kind == "device":
        return "/dev/zero"
    elif kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_bytes(b"\0\1")
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "inside":
        (folder / "regular").write_bytes(b"\0\1")
        return "regular/inside"
    return kind


INPUTS = [  # each is rejected, whatever its kind
    "train --data PATH",
    "train --data TEXT --valid PATH",
    "train --data TEXT --test PATH",
    "train --data TEXT --config PATH",
    "train --resume PATH",
    "train --init-from PATH --data TEXT",
    "train --data TEXT --preset PATH",
    "evaluate PATH",
    "evaluate RUN --data PATH",
    "generate PATH",
    "export PATH --format onnx --out out",
    "embeddings PATH",
    "combine PATH RUN --run new",
    "import PATH --vocab vocab.json --run new",
    "import PATH --vocab-text TEXT --level char --run new",
    "import weights.safetensors --vocab PATH --run new",
    "import weights.safetensors --vocab-text PATH --level char --run new",
    "compare --data TEXT --config PATH",
    "tune study --try lr=0.001..0.01 --config PATH",
    "tune study --try lr=0.001..0.01 --data PATH",
]
OUTPUTS = [  # rejected unless nothing is there
    "export RUN --format onnx --out PATH",
    "export RUN --format torch --out PATH",
    "export RUN --format html --out PATH",
    "evaluate RUN --html PATH",
    "evaluate RUN --per-token PATH",
    "evaluate RUN --overwrite --html PATH",
    "embeddings RUN --count 3 --out PATH",
    "compare --data TEXT --out PATH",
    "combine RUN RUN --run PATH",
    "train --data TEXT --run PATH",
    "train --data TEXT --run PATH --overwrite",
    "tune PATH --try lr=0.001..0.01 --data TEXT",
]


@pytest.fixture
def refused(trained, text_file, tmp_path, monkeypatch, command):
    """Run a command line with a path of some kind; assert that it is refused in one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLUONLM_DATA", str(text_file.parent))
    (tmp_path / "vocab.json").write_text('["a", "b"]')
    shutil.copy(trained / "checkpoints" / "00000006" / "model.safetensors", "weights.safetensors")
    words = {"TEXT": str(text_file), "RUN": str(trained)}
    before = os.listdir(tmp_path)

    def run(line, kind):
        words["PATH"] = make(kind, tmp_path)
        module, *arguments = (words.get(word, word) for word in line.split())
        flags = TINY if module == "train" else []
        assert_refused(command(module, *arguments, *flags))
        created = {kind, "regular"} if kind != "device" else set()
        assert set(os.listdir(tmp_path)) <= {*before, *created}
        with contextlib.suppress(OSError):
            assert not os.path.isdir(tmp_path / "folder") or not os.listdir(tmp_path / "folder")

    return run


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("line", INPUTS)
def test_an_input_of_the_wrong_kind_is_one_line(line, kind, refused):
    refused(line, kind)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("missing", "dangling")])
@pytest.mark.parametrize("line", OUTPUTS)
def test_an_output_of_the_wrong_kind_is_one_line(line, kind, refused):
    replaced = kind == "file" and "--overwrite --html" in line
    used = kind == "folder" and ("--run" in line or "tune" in line)
    if replaced or used:
        pytest.skip("accepted")
    refused(line, kind)


@pytest.mark.parametrize("out", [".", "..", "/", "folder/", "folder/.."])
@pytest.mark.parametrize("kind", ["onnx", "torch", "html"])
def test_a_model_is_not_exported_to_a_folder(kind, out, trained, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert_refused(command("export", trained, "--format", kind, "--out", out), "regular file")
    assert os.listdir(tmp_path) == ["folder"]


@pytest.fixture
def evaluated(trained, command, tmp_path, monkeypatch):
    """Score in a folder that contains a link to itself; return the two outputs' result."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    monkeypatch.setenv("GLUONLM_DATA", "/")

    def run(html, per_token, *flags):
        (tmp_path / "text").write_text("the little ducks")
        data = ["--data", "text", "--html", html, "--per-token", per_token]
        return command("evaluate", trained, *data, *flags)

    return run


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
@pytest.mark.parametrize(
    "one, other",
    [
        ("x", "x"),
        ("x", "./x"),
        ("folder/../x", "x"),
        ("folder/x", "link/x"),
        ("link/../link/x", "folder//x"),
        ("x", "{cwd}/x"),
    ],
)
def test_two_outputs_of_one_path_are_one_line(one, other, flags, evaluated, tmp_path):
    one, other = (name.format(cwd=tmp_path) for name in (one, other))
    for pair in ((one, other), (other, one)):
        assert_refused(evaluated(*pair, *flags), "the same file")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "link", "text"]


def test_two_outputs_with_one_name_in_two_folders_are_written(evaluated, tmp_path):
    assert evaluated("x", "link/x")[0] == 0
    assert (tmp_path / "x").read_text().startswith("<!doctype html>")
    assert (tmp_path / "folder" / "x").read_text().startswith("position\ttoken")


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "device"])
@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints/last", "checkpoints/best"])
def test_a_file_of_a_run_of_the_wrong_kind_is_one_line(
    name, kind, trained, text_file, command, tmp_path, monkeypatch
):
    run = shutil.copytree(trained, tmp_path / "run")
    monkeypatch.chdir((run / name).parent)
    (run / name).unlink()
    made = make(kind, (run / name).parent)
    (run / name).symlink_to(made) if kind == "device" else os.rename(made, (run / name).name)
    monkeypatch.chdir(tmp_path)
    if name != "metrics.jsonl":
        best = ["--checkpoint", name.partition("/")[2]]
        assert_refused(command("evaluate", run, "--data", text_file, *best), name)
    if name != "checkpoints/best":
        resumed = command("train", "--resume", run, "--data", text_file, "--quiet")
        assert_refused(resumed, name)
        assert "None" not in resumed[2]
