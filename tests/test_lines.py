"""Scoring each line of a file: `evaluate --lines`."""

import csv
import io
import json
import math
import os
import subprocess

import pytest
from conftest import TINY, assert_refused, start

from gluonlm import load_model, score_texts
from gluonlm.corpus.lines import Lines
from gluonlm.evaluate import texts as texts_module
from gluonlm.system.errors import InputError

NAMES = ["line", "tokens", "bits", "bits_per_character", "perplexity", "text"]
LINES = ["the 7 little ducks", "", "away", "t", "hills, the hills went out to play, 49 hills"]


@pytest.fixture(scope="module")
def words(text_file, tmp_path_factory):
    """A read-only run of words."""
    return train(tmp_path_factory, "--data", text_file, "--level", "word")


def train(tmp_path_factory, *flags):
    from gluonlm.train.__main__ import main

    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main([*map(str, flags), "--run", str(folder), *TINY]) == 0
    return folder


def table(out):
    """Return the rows of a table as dictionaries."""
    header, *rows = csv.reader(io.StringIO(out), "excel-tab")
    assert header == NAMES
    return [dict(zip(NAMES, row)) for row in rows]


def objects(result):
    """Return the rows of JSON lines."""
    code, out, err = result
    assert (code, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("level", ["char", "word"])
def test_each_line_has_the_score_of_a_file_with_only_this_line(
    level, trained, words, tmp_path, command
):
    run = trained if level == "char" else words
    path, single = tmp_path / "lines.txt", tmp_path / "single.txt"
    path.write_text("\n".join(LINES))  # without a final line break
    rows = objects(command("evaluate", run, "--lines", path, "--jsonl"))
    assert [list(row) for row in rows] == [NAMES] * 5
    assert [row["line"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["text"] for row in rows] == LINES
    for row in rows:
        if not row["text"]:
            assert [row[name] for name in NAMES[1:5]] == [0, 0, None, None]
            continue
        single.write_text(row["text"] + "\n")
        whole = json.loads(command("evaluate", run, "--data", single, "--json")[1])
        assert row["tokens"] == whole["tokens"]
        assert row["bits"] == pytest.approx(whole["nats"] * whole["tokens"] / math.log(2), rel=1e-6)
        for name in ("bits_per_character", "perplexity"):
            assert row[name] == pytest.approx(whole[name], rel=1e-6)


def test_a_table_contains_the_same_figures(trained, tmp_path, command):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(LINES) + "\n")
    code, out, err = command("evaluate", trained, "--lines", path)
    assert (code, err) == (0, "")
    rows = objects(command("evaluate", trained, "--lines", path, "--jsonl"))
    for found, row in zip(table(out), rows, strict=True):
        assert (int(found["line"]), int(found["tokens"])) == (row["line"], row["tokens"])
        assert found["text"] == row["text"]
        for name in ("bits", "bits_per_character", "perplexity"):
            assert (float(found[name]) if found[name] else None) == (
                row[name] if row[name] is None else pytest.approx(row[name], rel=1e-4)
            )


def test_rank_sorts_by_bits_per_character(trained, tmp_path, command):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join([*LINES, "", LINES[0]]) + "\n")
    rows = objects(command("evaluate", trained, "--lines", path, "--jsonl"))
    ranked = objects(command("evaluate", trained, "--lines", path, "--jsonl", "--rank"))
    expected = sorted(
        (row for row in rows if row["tokens"]),
        key=lambda row: (row["bits_per_character"], row["line"]),
    )
    assert ranked == [*expected, rows[1], rows[5]]
    assert [row["bits"] for row in ranked[:-2]] != sorted(row["bits"] for row in ranked[:-2])


def test_standard_input_is_scored_by_a_second_process_into_a_file(trained, tmp_path):
    out = tmp_path / "scores.tsv"
    flags = ("-m", "gluonlm", "evaluate", trained, "--lines", "-", "--out", out)
    found = start(*flags, stdin=subprocess.PIPE).communicate("\n".join(LINES))
    assert found == (f"wrote {out}\n", "")
    rows = table(out.read_text())
    assert [row["text"] for row in rows] == LINES
    model, checkpoint = load_model(trained)
    scores = score_texts(model, checkpoint.vocab, [line + "\n" for line in LINES])
    assert [row["bits"] for row in rows] == [f"{score.bits:.4f}" for score in scores]


def test_the_output_is_not_replaced_unless_asked(trained, tmp_path, command):
    path, out = tmp_path / "lines.txt", tmp_path / "scores"
    path.write_text("the hills\n")
    out.write_text("mine")
    flags = ("evaluate", trained, "--lines", path, "--out", out)
    assert_refused(command(*flags), out, "--overwrite")
    assert out.read_text() == "mine"
    path.write_text("the hills\nΩ\n")
    assert_refused(command(*flags, "--overwrite"), f"{path}: line 2", "--unknown")
    assert out.read_text() == "mine"
    path.write_text("the hills\n")
    assert command(*flags, "--overwrite")[0] == 0
    assert table(out.read_text())[0]["text"] == "the hills"


def test_windows_line_ends_and_a_byte_order_mark_do_not_change_scores(trained, tmp_path, command):
    path = tmp_path / "lines.txt"
    path.write_bytes("\n".join(LINES).encode())
    expected = command("evaluate", trained, "--lines", path)[1]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(LINES).encode())
    code, out, err = command("evaluate", trained, "--lines", path)
    assert (code, out) == (0, expected)
    assert err.count("\n") == 1
    assert str(path) in err
    path.write_bytes("\r\n".join(LINES).encode("utf-16"))
    assert command("evaluate", trained, "--lines", path, "--encoding", "utf-16")[1] == expected


def test_kept_line_ends_are_scored(tmp_path, tmp_path_factory, command):
    path = tmp_path / "crlf.txt"
    path.write_bytes(b"the hills\r\nthe ducks went\r\n" * 60)
    run = train(tmp_path_factory, "--data", path, "--keep-line-ends")
    path.write_bytes(b"the ducks\r\nthe hills")
    rows = objects(command("evaluate", run, "--lines", path, "--jsonl"))
    for row in rows:
        path.write_bytes(row["text"].encode() + b"\r\n")
        whole = json.loads(command("evaluate", run, "--data", path, "--json")[1])
        assert row["tokens"] == whole["tokens"] == len(row["text"]) + 1
        assert row["perplexity"] == pytest.approx(whole["perplexity"], rel=1e-6)


def test_a_line_end_that_the_vocabulary_lacks_is_left_out(tmp_path, tmp_path_factory, command):
    path = tmp_path / "long.txt"
    path.write_text("the hills and the ducks " * 60)
    run = train(tmp_path_factory, "--data", path)
    path.write_text("the ducks\nhills\n")
    rows = objects(command("evaluate", run, "--lines", path, "--jsonl"))
    assert [row["tokens"] for row in rows] == [8, 4]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"the hills\nthe \xce\xa9\n", ("line 2", "'Ω'", "--unknown")),
        (b"the hills\nthe\n\xe4 hill\n", ("line 3", "0xe4", "--encoding")),
        ("the hills\n".encode("utf-16"), ("line 1", "--encoding utf-16")),
        (b"the\n\nhil\0ls\n", ("line 3", "NUL")),
        (b"", ("empty",)),
    ],
)
def test_invalid_lines_are_one_error_with_the_line(content, names, trained, tmp_path, command):
    path = tmp_path / "lines.txt"
    path.write_bytes(content)
    assert_refused(command("evaluate", trained, "--lines", path), path, *names)
    with open(path) as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", stream)
        assert_refused(command("evaluate", trained, "--lines", "-"), "standard input", *names)


def test_unknown_characters_can_be_skipped(trained, tmp_path, command):
    path = tmp_path / "lines.txt"
    path.write_text("the hΩills\nthe hills\nΩΩ\n")
    rows = objects(command("evaluate", trained, "--lines", path, "--unknown", "skip", "--jsonl"))
    assert rows[0]["bits"] == rows[1]["bits"]
    assert [row["text"] for row in rows] == ["the hΩills", "the hills", "ΩΩ"]
    assert [row["tokens"] for row in rows] == [9, 9, 0]


def test_lines_are_read_again_from_the_first_and_only_as_needed(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes(b"one\ntwo\r\nthree\rfour\n" + b"x" * 10**5 + b"\xff\n")
    lines = Lines(str(path))
    for _ in range(2):
        reading = iter(lines)
        found = [next(reading) for _ in range(4)]
        assert found == [("one", "\n"), ("two", "\n"), ("three", "\n"), ("four", "\n")]
        with pytest.raises(InputError, match="line 5"):
            next(reading)
    kept = iter(Lines(str(path), keep_line_ends=True))
    assert [next(kept)[1] for _ in range(4)] == ["\n", "\r\n", "\r", "\n"]


@pytest.mark.parametrize("encoding", ["nonsense", "hex", "utf-16"])
def test_another_encoding_is_one_error(encoding, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes(b"one\n")
    with pytest.raises(InputError, match="`encoding`"):
        list(Lines(str(path), encoding))


def test_lines_are_scored_in_pools(trained, tmp_path, command, monkeypatch):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join([*LINES * 40, "the Ω"]) + "\n")
    whole = objects(command("evaluate", trained, "--lines", path, "--unknown", "skip", "--jsonl"))
    monkeypatch.setattr(texts_module, "POOLED", 1000)
    code, out, err = command("evaluate", trained, "--lines", path, "--jsonl")
    assert code == 2  # after the pools before the last one
    assert "line 201" in err
    rows = [json.loads(line) for line in out.splitlines()]
    assert 100 < len(rows) < 201
    for row, other in zip(rows, whole):
        assert row["text"] == other["text"]
        assert row["bits"] == pytest.approx(other["bits"], rel=1e-6)


@pytest.mark.parametrize(
    "flags",
    [
        ("--data", "x"),
        ("--part", "valid"),
        ("--json",),
        ("--streams", 2),
        ("--windows", 2),
        ("--html", "x.html"),
        ("--cache", 10),
        ("--dynamic", "sgd"),
    ],
)
def test_flags_of_one_text_have_no_effect_on_lines(flags, trained, command):
    assert_refused(command("evaluate", trained, "--lines", "x", *flags), flags[0], "--lines")


@pytest.mark.parametrize("flags", [("--rank",), ("--jsonl",), ("--out", "x")])
def test_flags_of_lines_need_lines(flags, trained, command):
    assert_refused(command("evaluate", trained, *flags), flags[0], "--lines")


@pytest.mark.long
def test_lines_take_a_twentieth_of_the_time_of_a_process_for_each(trained, tmp_path):
    def seconds(count):
        path = tmp_path / f"{count}.txt"
        path.write_text("".join(f"the {n} little ducks went out\n" for n in range(count)))
        child = start("-m", "gluonlm", "evaluate", trained, "--lines", path, "--out", f"{path}.tsv")
        _, status, used = os.wait4(child.pid, 0)
        assert status == 0
        return used.ru_utime + used.ru_stime

    assert 1000 * seconds(1) > 20 * seconds(1000)
