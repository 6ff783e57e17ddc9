"""Texts of any bytes or Unicode, long lines, and memory-mapped ids."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import PEAK, ROOT, TINY, tiny
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gluonlm.config import DataConfig
from gluonlm.corpus import ids as ids_module
from gluonlm.corpus import load_corpus
from gluonlm.corpus.ids import CACHE_FOLDER, ids_of
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
@example("\u0130\u03a3 " * 100, "word")
def test_any_unicode_is_trained_on_or_rejected_and_round_trips(tmp_path_factory, text, level):
    folder = tmp_path_factory.mktemp("fuzz")
    if train_or_reject(text.encode(), folder, "--level", level) and level == "char":
        corpus = load_corpus(DataConfig(data=(str(folder / "text"),)))
        ids = np.concatenate([corpus.train, corpus.valid, corpus.test])
        assert corpus.vocab.decode(ids) == text.removeprefix("\ufeff")


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
    """A text that counts as long, so that its ids are cached in a file next to it."""
    monkeypatch.setattr(ids_module, "CACHE_FROM", 1000)
    path = tmp_path / "long.txt"
    path.write_text("a long way to go\n" * 200)
    return path


@pytest.fixture
def written(monkeypatch):
    """A list with an entry for each id file written."""
    written, real = [], ids_module._write_mapped
    monkeypatch.setattr(
        ids_module, "_write_mapped", lambda *args: (written.append(args[0]), real(*args))[1]
    )
    return written


def test_ids_of_a_long_text_are_cached_next_to_it_verified_and_rebuilt(long_text, written):
    config = DataConfig(data=(str(long_text),))
    folder = long_text.parent / CACHE_FOLDER
    corpus = load_corpus(config)
    assert is_mapped(corpus.train)
    assert corpus.train.dtype == np.int32
    assert folder.stat().st_mode & 0o077 == 0
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(kept) == 2
    assert len(written) == 1

    again = load_corpus(config)
    assert len(written) == 1
    assert (again.train == corpus.train).all()

    (path,) = [path for path in folder.iterdir() if not path.suffix]
    for damaged in (kept[path.name][:-4], kept[path.name][:-1] + b"\x07", b""):
        path.write_bytes(damaged)
        assert corpus.vocab.decode(load_corpus(config).test) == long_text.read_text()[-170:]
    path.with_suffix(".json").write_text("{")
    assert corpus.vocab.decode(load_corpus(config).test) == long_text.read_text()[-170:]
    assert len(written) == 5
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == kept

    long_text.write_text("a long way to go!" * 200)
    changed = load_corpus(config)
    assert len(written) == 6
    assert changed.fingerprint != corpus.fingerprint
    assert "!" in changed.vocab.tokens


def test_names_and_hashes_of_id_files_are_stable(long_text, monkeypatch):
    """Otherwise a new version would encode large texts again."""
    monkeypatch.setattr(ids_module.tempfile, "tempdir", "/nonexistent")  # not needed here
    text, vocab = Text([long_text]), Vocab("char", "\n aglntowy")
    ids = ids_of(text, vocab)
    key = text.fingerprint() + '{"level": "char", "tokens": ["\\n", " ", "a", "g", "l", "n", "t", '
    name = hashlib.sha256((key + '"o", "w", "y"]}').encode()).hexdigest()[:32]
    content = (long_text.parent / ".gluonlm-ids" / name).read_bytes()
    assert content == ids.tobytes() == vocab.encode(long_text.read_text()).tobytes()
    seal = json.loads((long_text.parent / CACHE_FOLDER / f"{name}.json").read_text())
    for array in (ids, ids_of(text, vocab)):  # written, then found
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert seal == {"tokens": 3400, "sha256": hashlib.sha256(content).hexdigest()}


def test_another_vocabulary_or_case_never_reuses_old_ids(long_text, written):
    for vocab in (
        Vocab("char", "\n aglntowy"),
        Vocab("char", "ywotnlga \n"),
        Vocab("word", ["<unk>"]),
    ):
        for lower in (False, True):
            text = Text([long_text], lower=lower)
            assert ids_of(text, vocab).tolist() == vocab.encode(long_text.read_text()).tolist()
    assert len(set(written)) == 6


@pytest.mark.parametrize("longest, mapped", [(999, False), (1000, True)])
def test_only_long_texts_are_mapped(long_text, longest, mapped):
    long_text.write_text("a" * (longest - 1))  # one more for the line break of another source
    ids = ids_of(Text([long_text]), Vocab("char", "a"))
    assert is_mapped(ids) == (long_text.parent / CACHE_FOLDER).exists() == mapped
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


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A separate temporary folder."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(ids_module.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def test_ids_of_a_long_text_fall_back_to_the_temporary_folder(long_text, elsewhere):
    (long_text.parent / CACHE_FOLDER).write_text("in the way")
    assert len(load_corpus(DataConfig(data=(str(long_text),))).train) == 3060
    (folder,) = elsewhere.iterdir()
    assert folder.name == f"{CACHE_FOLDER}-{os.getuid()}"
    assert len(list(folder.iterdir())) == 2
    assert folder.stat().st_mode & 0o077 == 0


def test_ids_of_a_text_without_a_file_go_to_the_temporary_folder(long_text, elsewhere):
    assert is_mapped(ids_of(Text(["ab" * 1000]), Vocab("char", "ab")))
    assert [path.name for path in elsewhere.iterdir()] == [CACHE_FOLDER]


def test_ids_are_never_cached_in_another_users_folder(long_text, elsewhere, monkeypatch):
    theirs = long_text.parent / "theirs"
    theirs.mkdir()
    os.symlink(theirs, long_text.parent / CACHE_FOLDER)
    assert is_mapped(load_corpus(DataConfig(data=(str(long_text),))).train)
    assert not list(theirs.iterdir())
    assert len(list(elsewhere.iterdir())) == 1
    shutil.rmtree(next(elsewhere.iterdir()))
    monkeypatch.setattr(ids_module.os, "getuid", lambda: os.geteuid() + 1)
    with pytest.raises(InputError, match=r"another user.*TMPDIR"):
        load_corpus(DataConfig(data=(str(long_text),)))
    assert not list(theirs.iterdir())


def test_a_long_text_trains_to_the_same_weights_as_a_short_one(long_text, tmp_path, monkeypatch):
    flags = ["--data", str(long_text), *tiny("unrolled"), "--model", "unrolled"]
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
    flags = ["--data", str(tmp_path / "big.txt"), "--run", str(tmp_path / "run"), *tiny(model)]
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
