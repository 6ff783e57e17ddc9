"""Texts of any bytes or Unicode, long lines, and memory-mapped ids."""

import errno
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
from conftest import PEAK, ROOT, TINY, start
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gluonlm.config import DataConfig
from gluonlm.corpus import ids as ids_module
from gluonlm.corpus import load_corpus
from gluonlm.corpus.ids import ids_of
from gluonlm.corpus.text import Text
from gluonlm.run.folder import Run
from gluonlm.system.errors import InputError
from gluonlm.train.__main__ import main as train_main
from gluonlm.vocab import Vocab


def train_or_reject(content, folder, *flags):
    """Train two steps on some bytes and return True, or False if an InputError rejects them."""
    (folder / "text").write_bytes(content)
    shutil.rmtree(folder / "run", ignore_errors=True)
    where = ["--data", str(folder / "text"), "--run", str(folder / "run")]
    try:
        return train_main([*where, *TINY, "--max-steps", "2", *flags]) == 0
    except InputError as error:
        assert "\n" not in str(error)
        return False


fuzz = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@fuzz
@given(
    st.binary(max_size=3000),
    st.sampled_from(["utf-8", "latin-1", "utf-16", "cp1252", "utf-7"]),
    st.sampled_from(["char", "word"]),
)
def test_any_bytes_are_trained_on_or_rejected(tmp_path_factory, content, encoding, level):
    folder = tmp_path_factory.mktemp("fuzz")
    if train_or_reject(content, folder, "--encoding", encoding, "--level", level):
        step = Run(folder / "run").load("last").progress["step"]
        assert step in (1, 2)  # one if the text is that short
    else:
        assert not (folder / "run").exists()


@fuzz
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=800),
    st.sampled_from(["char", "word"]),
)
@example("e\u0301\u0327 \u05e9\u05dc\u05d5\u05dd \U0001f468\u200d\U0001f469 \u202e" * 30, "char")
@example("\ufeff\ufeff\u2028\u0085\r\n\x1c\x0b" * 40, "word")
@example("one\r\ntwo\rthree\n\r\x0c" * 40, "char")
@example("\u0130\u03a3 " * 100, "word")
def test_any_unicode_is_trained_on_or_rejected_and_round_trips(tmp_path_factory, text, level):
    folder = tmp_path_factory.mktemp("fuzz")
    if train_or_reject(text.encode(), folder, "--level", level) and level == "char":
        corpus = load_corpus(DataConfig(data=(str(folder / "text"),)))
        ids = np.concatenate([corpus.train, corpus.valid, corpus.test])
        expected = io.StringIO(text.removeprefix("\ufeff"), newline=None).read()
        assert corpus.vocab.decode(ids) == expected


@pytest.mark.parametrize("level", ["char", "word"])
def test_a_line_of_ten_megabytes_and_many_distinct_tokens(tmp_path, level):
    line = (
        " ".join(f"w{i % 20_000}" for i in range(1_500_000))
        if level == "word"
        else "".join(map(chr, range(0x4E00, 0x9FFF))) * 500
    )
    assert train_or_reject(line.encode(), tmp_path, "--level", level, "--split", "99.98/0.01/0.01")


@given(st.floats(0, 100), st.floats(0, 100), st.integers(1, 400))
def test_any_split_loses_nothing(tmp_path_factory, train, valid, length):
    path = tmp_path_factory.mktemp("split") / "text"
    path.write_text("ab" * length)
    config = DataConfig(data=(str(path),), split=f"{train}/{valid}/{100 - train - valid}")
    try:
        corpus = load_corpus(config)
    except InputError as error:
        assert "split" in str(error)
        assert "90/5/5" in str(error)
        return
    parts = [corpus.train, corpus.valid, corpus.test]
    assert corpus.vocab.decode(np.concatenate(parts)) == "ab" * length
    assert abs(len(corpus.train) - 2 * length * train / 100) <= 1
    assert abs(len(corpus.test) - 2 * length * (100 - train - valid) / 100) <= 1


def is_mapped(array):
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array is not None


@pytest.fixture
def long_text(tmp_path, monkeypatch):
    """A text that counts as long, so that its ids are cached in a file."""
    monkeypatch.setattr(ids_module, "CACHE_FROM", 1000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "text" / "long.txt"
    path.parent.mkdir()
    path.write_text("a long way to go\n" * 200)
    return path


@pytest.fixture
def written(monkeypatch):
    """A list with an entry for each id file written."""
    written, real = [], ids_module._write
    monkeypatch.setattr(
        ids_module, "_write", lambda *args: (written.append(args[1].name), real(*args))[1]
    )
    return written


def cached():
    """Return the only file of the cache."""
    (path,) = ids_module.cache_folder().iterdir()
    return path


def test_ids_of_a_long_text_are_cached_verified_and_rebuilt(long_text, written):
    config = DataConfig(data=(str(long_text),))
    corpus = load_corpus(config)
    assert is_mapped(corpus.train)
    assert corpus.train.dtype == np.int32
    assert os.listdir(long_text.parent) == ["long.txt"]
    path, folder = cached(), ids_module.cache_folder()
    assert (folder.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    assert len(written) == 1

    again = load_corpus(config)
    assert len(written) == 1
    assert (again.train == corpus.train).all()
    with pytest.raises(ValueError, match="read-only"):
        again.train[0] = 1

    kept = path.read_bytes()
    for damaged in (kept[:-4], kept[4:], kept[:-1] + b"\x07", b"\x01" + kept[1:], kept * 2, b""):
        path.write_bytes(damaged)
        assert corpus.vocab.decode(load_corpus(config).test) == long_text.read_text()[-170:]
        assert cached().read_bytes() == kept
    assert len(written) == 7

    long_text.write_text("a long way to go!" * 200)
    changed = load_corpus(config)
    assert len(written) == 8
    assert changed.fingerprint != corpus.fingerprint
    assert "!" in changed.vocab.tokens


def sealed(path, ids):
    """Return the content of a file of ids, with a valid SHA-256."""
    content = np.array(ids, np.int32).tobytes()
    return content + hashlib.sha256(path.name.encode() + content).digest()


@pytest.mark.parametrize("ids", [[0, 10], [-1, 0], [2**31 - 1]])
def test_cached_ids_outside_the_vocabulary_are_rebuilt(ids, long_text):
    text, vocab = Text([long_text]), Vocab("char", "\n aglntowy")
    expected = ids_of(text, vocab).copy()
    path = cached()
    assert path.read_bytes() == sealed(path, expected)
    path.write_bytes(sealed(path, ids))
    assert (ids_of(text, vocab) == expected).all()


def test_files_next_to_the_text_are_ignored_and_kept(long_text):
    """Earlier versions cached ids there, and anybody can put a file next to a text."""
    folder = long_text.parent / ".gluonlm-ids"
    folder.mkdir()
    vocab = Vocab("char", "\n aglntowy")
    key = Text([long_text]).fingerprint() + json.dumps(vocab.to_dict())
    forged, name = bytes(4 * 3400), hashlib.sha256(key.encode()).hexdigest()[:32]
    (folder / name).write_bytes(forged)
    seal = {"tokens": 3400, "sha256": hashlib.sha256(forged).hexdigest()}
    (folder / f"{name}.json").write_text(json.dumps(seal))
    assert ids_of(Text([long_text]), vocab).any()
    assert (folder / name).read_bytes() == forged
    assert sorted(os.listdir(folder)) == [name, f"{name}.json"]


HANGING = """
import sys
from pathlib import Path
from gluonlm.corpus import ids
from gluonlm.corpus.text import Text
from gluonlm.vocab import Vocab
ids.CACHE_FROM = 1000
print(ids.ids_of(Text([Path(sys.argv[1])]), Vocab("char", "\\n aglntowy")).sum())
"""


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "link"])
def test_a_cached_file_that_is_not_regular_is_not_read(kind, long_text, tmp_path):
    expected = ids_of(Text([long_text]), Vocab("char", "\n aglntowy"))
    path = cached()
    content = path.read_bytes()
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(os.path.relpath(path))  # 108 bytes at most
    elif kind == "folder":
        path.mkdir()
    else:
        (tmp_path / "elsewhere").write_bytes(content)
        path.symlink_to(tmp_path / "elsewhere")
    process = start("-c", HANGING, long_text)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (out, err) == (f"{expected.sum()}\n", "")
    if kind != "folder":
        assert cached().lstat().st_size == len(content)  # replaced by a regular file


def test_another_vocabulary_case_or_version_never_reuses_old_ids(long_text, written, monkeypatch):
    for version in ("1", "2"):
        monkeypatch.setattr(ids_module, "__version__", version)
        for vocab in (
            Vocab("char", "\n aglntowy"),
            Vocab("char", "ywotnlga \n"),
            Vocab("word", ["<unk>"]),
        ):
            for lower in (False, True):
                text = Text([long_text], lower=lower)
                assert ids_of(text, vocab).tolist() == vocab.encode(long_text.read_text()).tolist()
    assert len(set(written)) == 12


@pytest.mark.parametrize("longest, mapped", [(999, False), (1000, True)])
def test_only_long_texts_are_mapped(long_text, longest, mapped):
    long_text.write_text("a" * (longest - 1))  # one more for the line break of another source
    ids = ids_of(Text([long_text]), Vocab("char", "a"))
    assert is_mapped(ids) == ids_module.cache_folder().exists() == mapped
    assert ids.tolist() == [0] * (longest - 1)


def test_a_text_that_grows_while_it_is_read_is_rejected(tmp_path, monkeypatch):
    path = tmp_path / "log"
    path.write_text("abc")
    text = Text([path])
    monkeypatch.setattr(text, "longest", lambda: 2)
    with pytest.raises(InputError, match="changed"):
        ids_of(text, Vocab("char", "abc"))
    monkeypatch.setattr(text, "longest", lambda: 3)
    assert ids_of(text, Vocab("char", "abc")).tolist() == [0, 1, 2]


def full(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("obstacle", ["file", "link", "readable", "owner", "full", "homeless"])
def test_without_a_private_cache_folder_ids_stay_in_memory(
    obstacle, long_text, tmp_path, monkeypatch
):
    folder = ids_module.cache_folder()
    (tmp_path / "theirs").mkdir(mode=0o700)
    folder.parent.mkdir()
    if obstacle == "file":
        folder.write_text("in the way")
    elif obstacle == "link":
        folder.symlink_to(tmp_path / "theirs")
    elif obstacle == "readable":
        folder.mkdir()
        folder.chmod(0o750)
    elif obstacle == "owner":
        monkeypatch.setattr(ids_module.os, "geteuid", lambda real=os.geteuid: real() + 1)
    elif obstacle == "full":
        monkeypatch.setattr(ids_module, "_write", full)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")
        monkeypatch.setenv("HOME", "nowhere")
        monkeypatch.chdir(tmp_path)
    ids = ids_of(Text([long_text]), Vocab("char", "\n aglntowy"))
    assert not is_mapped(ids)
    assert Vocab("char", "\n aglntowy").decode(ids) == long_text.read_text()
    assert not list((tmp_path / "theirs").iterdir())
    assert not (tmp_path / "nowhere").exists()
    assert not folder.is_dir() or not list(folder.iterdir())


def test_ids_that_fit_neither_on_the_disk_nor_in_memory_are_one_line(long_text, monkeypatch):
    def too_large(*args):
        raise MemoryError

    monkeypatch.setattr(ids_module, "_write", full)
    monkeypatch.setattr(ids_module, "_in_memory", too_large)
    with pytest.raises(InputError, match=r"No space left.*XDG_CACHE_HOME"):
        ids_of(Text([long_text]), Vocab("char", "\n aglntowy"))


def test_several_processes_cache_the_same_text(long_text):
    processes = [start("-c", HANGING, long_text) for _ in range(4)]
    results = [process.communicate(timeout=120) for process in processes]
    assert len({*results}) == 1
    assert results[0][1] == ""
    assert (
        results[0][0]
        == f"{ids_of(Text([long_text]), Vocab('char', chr(10) + ' aglntowy')).sum()}\n"
    )
    assert cached().stat().st_size == 4 * 3400 + 32


def test_ids_in_the_default_cache_folder(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert str(ids_module.cache_folder()) == "/home/me/.cache/gluonlm"


def test_a_long_text_trains_to_the_same_weights_as_a_short_one(long_text, tmp_path, monkeypatch):
    flags = ["--data", str(long_text), *TINY, "--model", "unrolled"]
    assert train_main([*flags, "--run", str(tmp_path / "mapped")]) == 0
    monkeypatch.undo()
    assert train_main([*flags, "--run", str(tmp_path / "plain")]) == 0
    mapped, plain = (Run(tmp_path / name).load("last").parameters for name in ("mapped", "plain"))
    assert all((mapped[name] == array).all() for name, array in plain.items())


@pytest.mark.full
@pytest.mark.parametrize("model", ["gru", "unrolled"])
def test_a_text_of_one_gigabyte_trains_in_three_gigabytes_of_memory(tmp_path, model):
    line = "".join(chr(32 + i * 7 % 90) for i in range(1000)) + "\n"
    with open(tmp_path / "big.txt", "w") as stream:
        for _ in range(1_000_000):
            stream.write(line)
    code = (
        PEAK + "import sys; from gluonlm.train.__main__ import main; main(sys.argv[1:]); "
        "print('megabytes', peak())"
    )
    flags = ["--data", str(tmp_path / "big.txt"), "--run", str(tmp_path / "run"), *TINY]
    flags += ["--max-steps", "2", "--model", model, "--split", "99.9998/0.0001/0.0001"]
    done = subprocess.run(
        [sys.executable, "-c", code, *flags],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    peak = float(done.stdout.rsplit("megabytes ", 1)[1]) / 1024
    print(f"{model}: peak {peak:.2f} GiB")
    assert done.stderr == ""
    assert peak < 3
