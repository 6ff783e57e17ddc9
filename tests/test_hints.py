"""Hints printed after training on a user's own text."""

import re
import shlex

import pytest
from conftest import TINY, assert_resume_hint

from gluonlm.train.hints import _has_punctuation, on_parts

LOUD = [flag for flag in TINY if flag != "--quiet"]


def flags_of(line):
    return shlex.split(line.partition("    #")[0])[4:]


def test_words_with_attached_punctuation_are_recognised():
    words = ["end.", "(so", "a.b", "...", "so", "\u2028", " "]
    assert [word for word in words if _has_punctuation(word)] == ["end.", "(so"]


@pytest.mark.parametrize(
    "flags, hint",
    [
        (["--max-steps", 6], "--max-steps 12    # stopped by --max-steps"),
        (["--max-steps", 0, "--epochs", 1], "--epochs 2    # stopped by --epochs"),
        (["--max-steps", 0, "--max-minutes", 1e-9], "--max-minutes 2e-09    # "),
        (["--max-steps", 0, "--patience", 1, "--lr", 1e-30], "--patience 0    # "),
    ],
)
def test_the_final_commands_can_be_pasted(flags, hint, text_file, tmp_path, command):
    """The resume command names the text, because it is outside the user's folders."""
    book = tmp_path / "my book.txt"
    book.write_text(text_file.read_text())
    code, out, err = command("train", "--data", book, "--run", tmp_path / "a run", *LOUD, *flags)
    assert (code, err) == (0, "")
    generate, evaluate, more = out.split("\nnext:\n")[1].splitlines()
    assert hint in more
    assert command("generate", *flags_of(generate), "--length", 3)[::2] == (0, "")
    place = [str(book) if word == "FILE" else word for word in flags_of(evaluate)]
    assert command("evaluate", *place)[::2] == (0, "")
    code, out, err = command("train", *flags_of(more), "--max-steps", 20)
    assert (code, err) == (0, "")
    assert "ended by" in out


def test_unique_words_and_attached_punctuation_are_reported(tmp_path, command):
    text = tmp_path / "text"
    rare = " ".join(f"rare{n}," for n in range(60))
    text.write_text("the cat sat and the dog sat down by the cow\n" * 200 + rare + "\n")
    flags = ["--data", text, "--level", "word", "--split", "90/10/0", "--run", tmp_path / "run"]
    code, out, err = command("train", *flags, *LOUD)
    assert (code, err) == (0, "")
    assert re.search(r"<unk> replaces 0.0% of training, \d\d?\.\d% of validation", out)
    assert "--tokenizer punctuation" not in out
    assert "--vocab-size" not in out  # rare words late
    text.write_text(rare + "\n" + text.read_text())
    out = command("train", *flags, *LOUD, "--overwrite")[1]
    assert re.search("60 of 70 words .*: --vocab-size 10 ", out)
    assert re.search("60 of 70 words .* 'rare0,': --tokenizer punctuation", out)
    out = command("train", *flags, *LOUD, "--overwrite", "--vocab-size", 10)[1]
    assert "--vocab-size" not in out
    assert "<unk> replaces 2.6% of training" in out
    out = command("train", *flags, *LOUD, "--overwrite", "--tokenizer", "punctuation")[1]
    assert "--tokenizer punctuation splits" not in out


@pytest.mark.parametrize("mark, hinted", [("\u093f", False), ("\u0301", False), (".", True)])
def test_combining_marks_are_not_attached_punctuation(mark, hinted, tmp_path, command):
    text = tmp_path / "text"
    text.write_text(" ".join(f"क{n}{mark}" for n in range(90)) + "\n")
    flags = ["--data", text, "--level", "word", "--split", "90/10/0", "--run", tmp_path / "run"]
    code, out, err = command("train", *flags, *LOUD)
    assert (code, err) == (0, "")
    assert ("--tokenizer punctuation" in out) == hinted


THAI = "สวัสดีครับผมชื่อสมชาย วันนี้อากาศดีมากครับ\n"
JAPANESE = "私は日本語を勉強しています。今日はいい天気ですね。\n"


@pytest.mark.parametrize(
    "text, flags, phrases",
    [
        ("天地玄黄宇宙洪荒，日月盈昃辰宿列张。\n", (), True),
        ("白日依山尽，\n黄河入海流。\n", ("--tokenizer", "punctuation"), True),
        (JAPANESE, ("--vocab-size", 1), True),
        (THAI, (), True),
        ("ຂ້ອຍມັກກິນເຂົ້າຫຼາຍໆ ມື້ນີ້ອາກາດດີ\n", (), True),
        ("ខ្ញុំស្រឡាញ់ភាសាខ្មែរណាស់ ថ្ងៃនេះអាកាសធាតុល្អ។\n", (), True),
        (
            THAI + "the cat sat and the dog sat down by the old grey cow in the field\n" * 2,
            (),
            False,
        ),
        ("天地 玄黄 宇宙 洪荒 日月 盈 昃\n", (), False),
        ("สวัสดี ครับ ผม ชื่อ สมชาย และ ผม ชอบ กิน ข้าว\n", (), False),
        ("나는 한국어를 공부합니다 오늘 날씨가 좋네요\n", (), False),
        ("Donaudampfschifffahrt Kraftfahrzeughaftpflicht\n", (), False),
    ],
)
def test_words_of_a_text_without_spaces_are_reported(text, flags, phrases, tmp_path, command):
    path = tmp_path / "text"
    path.write_text(text * 90, encoding="utf-8")
    code, out, err = command(
        "train", "--data", path, "--level", "word", *flags, "--run", tmp_path / "run", *LOUD
    )
    assert (code, err) == (0, "")
    assert ("--level subword or --level char" in out) == phrases


@pytest.mark.parametrize(
    "content, encoding, remedy",
    [
        ("cp1252", "latin-1", "--encoding cp1252"),
        ("utf-8", "latin-1", "--encoding utf-8"),
        ("c1", "utf-8", "cp1252 as latin-1"),
        ("cp1252", "cp1252", None),
        ("utf-8", "utf8", None),
    ],
)
@pytest.mark.parametrize("level", ["char", "word"])
def test_control_characters_of_a_wrong_encoding_are_reported(
    content, encoding, remedy, level, tmp_path, command
):
    text = "it\u2019s \u201cfine\u201d, really\n" * 40
    if content == "c1":
        text, content = text.encode("cp1252").decode("latin-1"), "utf-8"
    (tmp_path / "a.txt").write_bytes(text.encode(content))
    flags = ["--data", tmp_path / "*.txt", "--encoding", encoding, "--level", level]
    code, out, err = command("train", *flags, "--run", tmp_path / "run", *LOUD)
    assert (code, err) == (0, "")
    assert ("control characters" in out) == (remedy is not None)
    assert (remedy or "") in out


@pytest.mark.parametrize(
    "sizes, flags, hint",
    [
        ([50, 30, 20], [], "c.txt, the last of 3"),
        ([50, 48, 2], [], "b.txt, file 2 of 3"),
        ([100], [], None),
        ([50, 30, 20], ["--split", "100/0/0"], None),
        ([50, 30, 20], ["--valid", "a.txt"], None),
    ],
)
def test_the_files_of_the_held_out_parts_are_reported(
    sizes, flags, hint, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    for name, size in zip("abc", sizes):
        (tmp_path / f"{name}.txt").write_text("the little ducks\n" * 5 * size)
    flags = ["--data", *sorted(f"{name}.txt" for name in "abc"[: len(sizes)]), *flags]
    code, out, err = command("train", *flags, "--run", "run", *LOUD)
    assert (code, err) == (0, "")
    assert ("as one text" in out) == (hint is not None)
    assert (hint or "") in out


def test_a_missing_header_is_reported(text_file, tmp_path, command):
    flags = ["--data", text_file, "--strip-gutenberg", "--run", tmp_path / "run", *LOUD]
    assert "--strip-gutenberg: no header" in command("train", *flags)[1]


def test_differing_parts_are_reported():
    assert on_parts(1.0, 1.14) == on_parts(1.0, 0.88) == on_parts(None, 1.0) == []
    assert "40% above" in on_parts(2.0, 2.8)[0]
    assert "20% below" in on_parts(1.0, 0.8)[0]


def test_an_interrupted_training_prints_how_to_resume(text_file, tmp_path, monkeypatch, command):
    from gluonlm.train.trainer import Trainer

    monkeypatch.setattr(Trainer, "_why_stop", lambda trainer: "interrupted")
    code, _, err = command("train", "--data", text_file, "--run", tmp_path / "run", *TINY)
    place = tmp_path / "run"
    assert code == 130
    assert_resume_hint(err, place)
    book = tmp_path / "book.txt"
    book.write_text(text_file.read_text())
    monkeypatch.chdir(tmp_path.parent)
    place = tmp_path / "other"
    code, _, err = command("train", "--data", book, "--run", place, *TINY)
    assert code == 130
    assert_resume_hint(err, place)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    code, _, err = command("train", "--data", book, "--run", tmp_path / "third", *TINY)
    assert code == 130
    assert_resume_hint(err, f"{tmp_path / 'third'} --data {book}")
