"""Rows of CSV and JSONL files as documents."""

import csv
import json

import pytest
from conftest import TINY, assert_refused

from gluonlm.config import DataConfig
from gluonlm.corpus import load_corpus
from gluonlm.corpus.text import Text
from gluonlm.run.folder import Run
from gluonlm.system.errors import InputError

TEXTS = ["one cat", 'two "dogs", and\na rat\r\n', "", "Ωmega", "x" * 200_000]
READ = ["one cat", 'two "dogs", and\na rat\n', "Ωmega", "x" * 200_000]


def write(path, texts, name="text"):
    """Write rows with a number and a text, in the format of the suffix."""
    if path.suffix == ".jsonl":
        lines = [json.dumps({"n": n, name: text}) for n, text in enumerate(texts)]
        path.write_text("\n".join([*lines[:1], "", *lines[1:]]))
    else:
        with open(path, "w", newline="", encoding="utf-8-sig") as stream:
            rows = csv.writer(stream, "excel-tab" if path.suffix == ".tsv" else "excel")
            rows.writerows([[name, "n"], *([text, n] for n, text in enumerate(texts))])
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".CSV"])
def test_rows_are_documents(suffix, tmp_path):
    paths = [write(tmp_path / f"a{suffix}", TEXTS), write(tmp_path / f"b{suffix}", ["last"])]
    text = Text(paths, separator="<|end|>", field="text")
    assert "".join(text.pieces()) == "".join("<|end|>" + each for each in [*READ, "last"])
    assert text.longest() > len(READ) + sum(map(len, READ))
    lines = Text(paths, field="text", lower=True)
    assert "".join(lines.pieces()) == "\n".join([*READ, "last"]).lower()
    csv_limit = csv.field_size_limit()
    assert csv_limit == 131_072
    kept = Text(paths[:1], field="text", keep_line_ends=True)
    assert "".join(kept.pieces()) == "\n".join(filter(None, TEXTS))


def test_long_files_of_short_rows_are_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("gluonlm.corpus.text.PIECE", 100)
    path = write(tmp_path / "rows.jsonl", ["abcdef"] * 200)
    text = Text([path], separator="--", field="text")
    pieces = [*text.pieces()]
    assert len(pieces) > 10
    assert all(piece.startswith("--a") and piece.endswith("f") for piece in pieces)
    again = Text([path], separator="--", field="text")
    assert again.fingerprint() == text.fingerprint()  # of the bytes as they were read
    assert Text([path], field="n").fingerprint() != text.fingerprint()


@pytest.mark.parametrize(
    "name, content, fault",
    [
        ("a.csv", 'text,n\n"a', "line 2: "),
        ("a.csv", 'text,n\na,1\n"b\nc"d,2', "line 4: "),
        ("a.csv", "n,text\n1,a\n\n2\n", "line 4: no text"),
        ("a.csv", "n,txt\n1,a\n", "line 1: no column 'text'; the columns are n, txt"),
        ("a.csv", "text,text\n1,a\n", "line 1: more than one"),
        ("a.csv", "text\n", "no row"),
        ("a.jsonl", '{"text": "a"}\n\n{"text": 3}', "line 3: no text"),
        ("a.jsonl", '{"text": "a"}\n["text"]', "line 2: no text"),
        ("a.jsonl", '{"text": "a"}\n{"text": "b"', "line 2: not JSON"),
        ("a.jsonl", '{"text": "a\\u0000"}', "line 1: .*NUL"),
        ("a.jsonl", '{"text": "\\ud800"}', "line 1: .*NUL"),
        ("a.jsonl", "[" * 100_000, "line 1: not JSON"),
        ("a.jsonl", '{"text": "a--b"}', "line 1: .*`document_separator`"),
        ("a.txt", "text\na\n", "`field`.*.jsonl"),
        ("a.jsonl", "", "empty"),
    ],
)
def test_errors_name_the_line(name, content, fault, tmp_path):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=fault) as caught:
        [*Text([path], separator="--", field="text").pieces()]
    assert str(path) in str(caught.value)


def test_undecodable_rows_are_explained(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes("text\ncaf\u00e9\n".encode("latin-1"))
    with pytest.raises(InputError, match="offset 8"):
        [*Text([path], field="text").pieces()]
    text = Text([path], "latin-1", field="text")
    assert "".join(text.pieces()) == "caf\u00e9"


def test_named_corpora_have_no_rows():
    with pytest.raises(InputError, match="`field`"):
        load_corpus(DataConfig(field="text"))
    with pytest.raises(InputError, match="`strip_gutenberg`"):
        DataConfig(field="text", strip_gutenberg=True)


@pytest.mark.parametrize("level", ["char", "word", "subword"])
def test_runs_train_on_rows_and_score_others(level, tmp_path, command):
    poems = [f"The {n} cats,\nand {n * n} dogs." for n in range(1, 150)]
    data, valid = write(tmp_path / "a.jsonl", poems), write(tmp_path / "b.csv", poems[:40])
    run, flags = tmp_path / "run", ["--field", "text", "--document-separator", "<|end|>", *TINY]
    flags += ["--level", level, "--valid", valid, "--test", valid]
    assert command("train", "--data", data, "--run", run, *flags)[0] == 0
    assert command("train", "--resume", run, "--max-steps", 8, "--quiet")[0] == 0
    vocab = Run(run).load("last").vocab
    corpus = load_corpus(Run(run).load("last").config.data, vocab)
    assert (corpus.valid == vocab.index["<|end|>"]).sum() == 40
    own, rows = command("evaluate", run), command("evaluate", run, "--data", valid)
    assert (own[0], rows[0]) == (0, 0)
    assert own[1].split(" over ")[0] == rows[1].split(" over ")[0]
    other = write(tmp_path / "c.csv", poems[:40], "poem")
    assert_refused(command("evaluate", run, "--data", other), other, "line 1")
    assert (
        command("evaluate", run, "--data", other, "--field", "poem")[1].split(" over ")[0] in own[1]
    )
    assert_refused(command("evaluate", run, "--field", "poem"), "--field", "--data")
