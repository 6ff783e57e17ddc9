"""Texts with other line ends than `\\n` give the same vocabulary, model and score."""

import io
import json
import shutil

import numpy as np
import pytest
from conftest import TINY, assert_refused
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from networks_of_each_kind import checkpoint_of
from runs import assert_same_end
from test_checkpoint import resealed
from test_page import run_in_node

from gluonlm.config import DataConfig
from gluonlm.convert.page import build
from gluonlm.corpus import ids as ids_module
from gluonlm.corpus import load_corpus
from gluonlm.corpus import text as text_module
from gluonlm.corpus.gutenberg import has_header
from gluonlm.corpus.ids import ids_of
from gluonlm.corpus.text import Text, read_text
from gluonlm.run.folder import Run
from gluonlm.vocab import Vocab

LINES = "".join(f"row {n} of {n * n}\n\nand the next, {n % 7}\n" for n in range(60))
ENDS = ["\r\n", "\r"]


def with_ends(text, end):
    return text.replace("\n", end).encode()


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The same text with three kinds of line ends."""
    monkeypatch.chdir(tmp_path)
    for name, end in (("lf", "\n"), ("crlf", "\r\n"), ("cr", "\r")):
        (tmp_path / name).write_bytes(with_ends(LINES, end))
    return tmp_path


def corpus_of(*names, **settings):
    return load_corpus(DataConfig(data=names, **settings))


def parts(corpus):
    return [part.tolist() for part in (corpus.train, corpus.valid, corpus.test)]


@pytest.mark.parametrize("level", ["char", "word", "subword"])
@pytest.mark.parametrize("name", ["crlf", "cr"])
def test_every_kind_of_line_end_gives_the_same_ids(files, level, name):
    expected, found = corpus_of("lf", level=level), corpus_of(name, level=level)
    assert found.vocab == expected.vocab
    assert parts(found) == parts(expected)
    assert (expected.converted, found.converted) == (False, True)


def test_several_files_and_parts_are_converted(files):
    expected = corpus_of("lf", "lf", valid="lf", test="lf")
    found = corpus_of("crlf", "cr", valid="cr", test="crlf")
    assert found.vocab == expected.vocab
    assert parts(found) == parts(expected)
    assert corpus_of("lf", test="cr").converted


@pytest.mark.parametrize("end", ENDS)
def test_headers_of_books_with_any_line_end_are_removed(tmp_path, end):
    book = "title\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\none\ntwo\n"
    book += "*** END OF THE PROJECT GUTENBERG EBOOK X ***\nlicence\n"
    path = tmp_path / "book"
    path.write_bytes(with_ends(book, end))
    assert "".join(Text([path], strip_gutenberg=True).pieces()) == "one\ntwo\n"
    assert has_header(path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(st.sampled_from("\r\nab \t\x0b\x85\u2028Σ")), min_size=1, max_size=3),
    st.sampled_from(["anywhere", "word", "space", "line"]),
    st.integers(1, 5),
    st.booleans(),
)
@example(["a\r\nb\r\rc\n\r\n", "\r", "\n"], "anywhere", 2, True)
def test_line_ends_are_read_as_in_pythons_text_mode(tmp_path, texts, cut, piece, lower):
    """At every position of the boundary between two blocks, in files and strings."""
    expected = "\n".join(io.StringIO(text, newline=None).read() for text in texts)
    sources = []
    for number, text in enumerate(texts):
        path = tmp_path / str(number)
        path.write_text(text, "utf-8", newline="")
        sources.append(path if text and number != 1 else text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "PIECE", piece)
        text = Text(sources, "utf-8", lower, cut)
        pieces = list(text.pieces())
        kept = "".join(Text(sources, "utf-8", False, cut, keep_line_ends=True).pieces())
    assert "".join(pieces) == (expected.lower() if lower else expected)
    assert all(pieces)
    assert text.converted == any("\r" in each for each in texts)
    assert kept == "\n".join(texts)


def test_ids_of_kept_line_ends_are_never_reused(files, monkeypatch):
    monkeypatch.setattr(ids_module, "CACHE_FROM", 100)
    for vocab in (
        Vocab.build([LINES, "\r"]),
        Vocab.build([LINES]),
        Vocab.build([LINES], "subword"),
    ):
        for keep in (True, False, True):
            if keep and vocab.level == "char" and "\r" not in vocab.index:
                continue
            text = Text([files / "crlf"], keep_line_ends=keep)
            expected = vocab.encode(LINES.replace("\n", "\r\n") if keep else LINES)
            assert ids_of(text, vocab).tolist() == expected.tolist()


@pytest.fixture
def train(files, command):
    """Train a run on a file of this folder."""

    def run(name, data, *flags):
        code, out, err = command("train", "--data", data, "--run", name, *TINY[:-1], *flags)
        assert code == 0, err
        return out

    return run


def test_training_reports_converted_line_ends_once(train):
    outputs = {name: train(f"run-{name}", name) for name in ("lf", "crlf", "cr")}
    counts = {name: out.count("--keep-line-ends") for name, out in outputs.items()}
    assert counts == {"lf": 0, "crlf": 1, "cr": 1}
    assert "--keep-line-ends" not in train("run-words", "crlf", "--level", "word")
    last = [Run(f"run-{name}").load("last") for name in outputs]
    for other in last[1:]:
        assert other.vocab == last[0].vocab
        assert all((other.parameters[k] == a).all() for k, a in last[0].parameters.items())


@pytest.mark.parametrize("level", ["char", "word", "subword"])
def test_texts_and_prompts_are_read_as_in_training(train, command, level):
    train("run", "lf", "--level", level)
    code, expected, err = command("evaluate", "run", "--data", "lf", "--json")
    assert (code, err) == (0, "")
    for name in ("crlf", "cr"):
        code, out, err = command("evaluate", "run", "--data", name, "--json")
        assert (code, out) == (0, expected)
        assert err.count("\n") == (level != "word")
    prompts = [command("generate", "run", "--prompt", f"row 1{end}row") for end in ("\n", *ENDS)]
    assert len({out for _, out, _ in prompts}) == 1
    assert prompts[0][2] == ""


def test_a_prompt_on_standard_input_is_converted(train, command, monkeypatch):
    train("run", "lf")
    found = []
    for end in ("\n", *ENDS):
        stream = io.TextIOWrapper(io.BytesIO(with_ends("row 1\nrow", end)))
        monkeypatch.setattr(text_module.sys, "stdin", stream)
        found.append(command("generate", "run", "--prompt", "-"))
    assert [code for code, _, _ in found] == [0, 0, 0]
    assert len({out for _, out, _ in found}) == 1


def test_kept_line_ends_are_kept_everywhere(train, command, files):
    train("run", "crlf", "--keep-line-ends")
    vocab = Run("run").load("best").vocab
    assert "\r" in vocab.index
    assert vocab.decode(Run("run").load("best").encode("a\r\nd\r")) == "a\r\nd\r"
    corpus = corpus_of("crlf", keep_line_ends=True)
    assert vocab.decode(np.concatenate(parts(corpus))) == LINES.replace("\n", "\r\n")
    assert read_text(files / "crlf", keep_line_ends=True) == LINES.replace("\n", "\r\n")
    assert command("evaluate", "run", "--data", "crlf")[2] == ""
    assert command("evaluate", "run", "--data", "lf")[2].count("\n") == 1
    train("warm", "crlf", "--init-from", "run")
    assert Run("warm").load("best").config.data.keep_line_ends
    result = command("train", "--resume", "run", "--no-keep-line-ends")
    assert_refused(result, "keep_line_ends")


def test_runs_with_other_line_ends_are_not_combined(train, command):
    train("one", "lf")
    train("two", "lf", "--keep-line-ends")
    assert_refused(command("combine", "one", "two", "--run", "both"), "--keep-line-ends", "two")


def as_before(name):
    """Copy a run without the setting, as earlier versions wrote it."""
    run = Run(shutil.copytree(name, f"{name}-old"))
    for pointer in ("best", "last"):
        folder = run.pointed(pointer)
        values = json.loads((folder / "config.json").read_bytes())
        values.pop("keep_line_ends", None)
        resealed(folder, "config.json", json.dumps(values).encode())
    return run.path


@pytest.mark.parametrize("level", ["char", "word", "subword"])
@pytest.mark.parametrize("data", ["lf", "crlf"])
def test_old_runs_score_and_resume_unchanged(train, command, data, level):
    train("run", data, "--level", level, "--keep-line-ends", "--schedule", "constant")
    old = as_before("run")
    assert command("evaluate", old) == command("evaluate", "run")
    assert command("evaluate", old, "--data", data) == command("evaluate", "run", "--data", data)
    for run in ("run", old):
        assert command("train", "--resume", run, "--max-steps", 12, "--quiet")[0] == 0
    assert_same_end(old, Run("run").path)


@pytest.mark.parametrize("level", ["char", "word"])
def test_old_runs_on_line_feeds_read_every_line_end(train, command, level):
    train("run", "lf", "--level", level, "--keep-line-ends")
    train("new", "lf", "--level", level)
    old = as_before("run")
    expected = command("evaluate", old, "--data", "lf", "--json")[1]
    assert command("evaluate", old, "--data", "crlf", "--json")[:2] == (0, expected)
    train("warm", "crlf", "--init-from", old)
    assert command("combine", old, "new", "--run", "both")[0] == 0


def test_the_page_reads_line_ends_as_the_run(files):
    texts = ["a\r\nb\rc\n", "a\nb\nc\n"]
    for vocab in (Vocab("char", "\n\rabc"), Vocab.build(["a\nb\nc\n"], "word")):
        _, checkpoint = checkpoint_of("gru", vocab)
        found = run_in_node(build(checkpoint, "run"), [], texts)["split"]
        assert found[0] == found[1]
        assert [piece["id"] for piece in found[0]] == checkpoint.encode(texts[0]).tolist()
    settings = dict(model="gru", hidden_size=(5,), keep_line_ends=True)
    _, checkpoint = checkpoint_of(settings, Vocab("char", "\n\rabc"))
    found = run_in_node(build(checkpoint, "run"), [], texts)["split"]
    assert [piece["text"] for piece in found[0]] == list(texts[0])


def test_imported_vocabularies_keep_the_line_ends_they_contain(train, command, files):
    """Weights of other programs, trained on `\\r\\n`, need it."""
    train("run", "crlf", "--keep-line-ends")
    train("plain", "lf")
    for name, keep in (("run", True), ("plain", False)):
        checkpoint = Run(name).load("best")
        (files / "vocab.json").write_text(json.dumps(checkpoint.vocab.tokens))
        out = f"{name}.safetensors"
        assert command("export", name, "--format", "torch", "--out", out)[0] == 0
        flags = ("import", out, "--vocab", "vocab.json", "--run", f"{name}-imported")
        code, _, err = command(*flags)
        assert code == 0, err
        assert Run(f"{name}-imported").load("best").config.data.keep_line_ends is keep
    built = ("import", "run.safetensors", "--vocab-text", "crlf", "--level", "char", "--run", "x")
    assert_refused(command(*built), "--keep-line-ends")
    assert command(*built, "--keep-line-ends")[0] == 0
    assert Run("x").load("best").vocab == Run("run").load("best").vocab
