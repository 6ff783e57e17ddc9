"""Embeddings: nearest neighbours and maps."""

import warnings
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from conftest import assert_refused

from gluonlm.embeddings import draw_map, nearest, project, visible
from gluonlm.evaluate.scoring import Unit
from gluonlm.models import Ensemble, RNNModel, WindowModel
from gluonlm.system import plots
from gluonlm.system.errors import InputError
from gluonlm.tune.__main__ import draw_study
from gluonlm.tune.study import Choice, Outcome
from gluonlm.vocab import Vocab

VOCAB = Vocab("word", ["<unk>", "<eos>", "up", "north", "down", "east"])
VECTORS = np.array([[0, 0], [1, 1], [0, 1], [0, 7], [0, -1], [2, 0]], np.float32)


def test_neighbours_depend_on_direction_not_length():
    found = nearest(VECTORS, VOCAB, "up", 3)
    assert found == [("north", 1.0), ("<eos>", pytest.approx(0.5**0.5)), ("<unk>", 0.0)]
    assert nearest(VECTORS, VOCAB, "up")[-1] == ("down", -1.0)
    with pytest.raises(InputError, match=r"'left' .* 6 "):
        nearest(VECTORS, VOCAB, "left")


def test_the_matrix_has_a_row_for_each_token_with_and_without_tying():
    for tied in (False, True):
        model = RNNModel("gru", 6, 7, (7,), tie_weights=tied).prepare([mx.cpu()])
        matrix, ids = model.embedding_matrix(), mx.nd.array([[3]], dtype="int32")
        assert matrix.shape == (6, 7)
        assert (matrix[3] == model.embedding(ids)[0, 0].asnumpy()).all()
    ensemble = Ensemble([RNNModel("gru", 6, 7, (7,)) for _ in range(2)]).prepare([mx.cpu()])
    first, second = (network.embedding_matrix() for network in ensemble.networks)
    assert (ensemble.embedding_matrix() == np.hstack([first, second])).all()
    with pytest.raises(InputError, match="embedding"):
        WindowModel(6, 7, 3).prepare([mx.cpu()]).embedding_matrix()


def test_the_map_keeps_neighbours_together_and_depends_on_the_seed():
    groups = np.repeat(np.eye(3), 10, axis=0) + np.random.default_rng(0).normal(0, 0.01, (30, 3))
    points, again = project(groups, 30, 1), project(groups, 30, 1)
    assert points.shape == (30, 2)
    assert (points == again).all()
    distance = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag([np.inf] * 30)
    assert (distance.argmin(axis=1) // 10 == np.arange(30) // 10).all()
    assert project(groups, 12, 2).shape == (12, 2)
    assert draw_map(points[:4], ["$ N $", "\n", " ", "é"]).startswith(b"\x89PNG")


def test_the_command_line(trained, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = command("embeddings", trained, "--near", "t", "\n", "--neighbours", 2)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert (lines[0], lines[3], len(lines)) == ("t", "'\\n'", 6)
    assert not list(tmp_path.iterdir())
    code, out, err = command("embeddings", trained, "--count", 9)
    assert (code, err) == (0, "")
    assert (tmp_path / "embeddings.png").read_bytes().startswith(b"\x89PNG")
    for flags, name in ((["--near", "t", "Ω"], "'Ω'"), (["--count", 2], "--count 2")):
        assert_refused(command("embeddings", trained, *flags), name)


def test_invisible_tokens_are_shown_as_python_literals():
    shown = [visible(token) for token in ("a", "$ N", "é", " ", "\n", "\x1b", "a\tb", "")]
    assert shown == ["a", "$ N", "é", "' '", "'\\n'", "'\\x1b'", "'a\\tb'", "''"]


def test_the_map_shows_frequent_words_without_special_tokens(tmp_path, command, monkeypatch):
    from gluonlm import embeddings

    text, drawn = tmp_path / "text.txt", []
    text.write_text("one\n" + "two two\n" * 9 + "three three three\n" * 9)
    size = "--embed-size 4 --hidden-size 4 --batch-size 2 --seq-len 5 --max-steps 1 --quiet"
    train = ["--data", text, "--level", "word", "--run", tmp_path / "run", *size.split()]
    assert command("train", *train, "--split", "90/5/5")[0] == 0
    monkeypatch.setattr(embeddings, "draw_map", lambda points, words: drawn.append(words) or b"")
    out = tmp_path / "map.png"
    assert command("embeddings", tmp_path / "run", "--count", 3, "--out", out)[0] == 0
    assert drawn == [["three", "two", "one"]]
    text.write_text("a a a a b b b b\n" * 9)
    assert command("train", *train, "--overwrite")[0] == 0
    for near in ([], ["--near", "a"]):
        flags = (tmp_path / "run", "--out", tmp_path / "other.png", *near)
        assert_refused(command("embeddings", *flags), "2 tokens")
    assert not (tmp_path / "other.png").exists()


def test_seed_zero_is_valid_and_zero_neighbours_are_one_line(trained, tmp_path, command):
    assert command("embeddings", trained, "--seed", 0, "--out", tmp_path / "x.png")[0] == 0
    for flags in (["--neighbours", 0], ["--seed", -1]):
        assert_refused(command("embeddings", trained, *flags), f"{flags[0]} {flags[1]}")


def make_font(path, characters, family="Test Font"):
    """Write a font that contains a square for each of these characters."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    for place, point in enumerate([(0, 0), (0, 700), (700, 700), (700, 0)]):
        (pen.lineTo if place else pen.moveTo)(point)
    pen.closePath()
    names = [".notdef", *(f"g{ord(character):x}" for character in characters)]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(c): f"g{ord(c):x}" for c in characters})
    font.setupGlyf(dict.fromkeys(names, pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(names, (800, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable(dict(familyName=family, styleName="Regular"))
    font.setupOS2()
    font.setupPost()
    font.save(path)


@pytest.fixture
def fonts(monkeypatch, tmp_path):
    """The folder of the installed fonts, which is empty."""
    from matplotlib import font_manager

    plots._fonts_for.cache_clear()
    folder = tmp_path / "fonts"
    folder.mkdir()
    monkeypatch.setattr(
        font_manager, "findSystemFonts", lambda: [str(path) for path in folder.iterdir()]
    )
    known = list(font_manager.fontManager.ttflist)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", known)
    yield folder
    plots._fonts_for.cache_clear()


HAN, HINDI = "\u4e2d\u6587", "\u0915\u093e"


def test_labels_without_an_installed_font_are_code_points(fonts):
    (fonts / "damaged.ttf").write_bytes(b"no font")
    labels, families, missing = plots.drawable(["the", "\u00e9" + HAN, HINDI])
    assert labels == ["the", "\u00e9U+4E2DU+6587", "U+0915U+093E"]
    assert missing == HINDI + HAN
    assert families == ["sans-serif"]
    assert plots.font_to_install(HAN * 3 + HINDI) != plots.font_to_install(HINDI * 3 + HAN)


@pytest.mark.parametrize("each", [False, True])
def test_installed_fonts_with_the_glyphs_are_chosen(each, fonts):
    pieces = [HAN, HINDI] if each else [HAN + HINDI]
    for number, piece in enumerate(pieces):
        make_font(fonts / f"{number}.ttf", piece, f"Test Font {number}")
    words = ["the", HAN, HINDI]
    labels, families, missing = plots.drawable(words)
    assert (labels, missing) == (words, "")
    assert families == ["sans-serif", *(f"Test Font {n}" for n in range(len(pieces)))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw_map(np.eye(3)[:, :2], words).startswith(b"\x89PNG")


def test_a_map_of_any_script_has_one_note_and_no_warnings(fonts, tmp_path, command):
    text, out = tmp_path / "text.txt", tmp_path / "map.png"
    text.write_text((HAN + HINDI + "ab\n") * 60, encoding="utf-8")
    size = "--embed-size 4 --hidden-size 4 --batch-size 2 --seq-len 5 --max-steps 1 --quiet"
    assert command("train", "--data", text, "--run", tmp_path / "run", *size.split())[0] == 0
    code, _, err = command("embeddings", tmp_path / "run", "--out", out)
    assert (code, err.count("\n")) == (0, 1)
    assert "3 other" in err
    make_font(fonts / "font.ttf", HAN + HINDI)
    plots._fonts_for.cache_clear()
    code, _, err = command("embeddings", tmp_path / "run", "--out", out, "--overwrite")
    assert (code, err) == (0, "")


def test_labels_of_a_study_may_have_any_script(fonts):
    choice = Choice((HAN, "$x", "b"))
    outcomes = [
        Outcome(Path(str(number)), {"data": value}, (1.0 + number,), True)
        for number, value in enumerate(choice.values)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw_study(outcomes, {"data": choice}, Unit("char")).startswith(b"\x89PNG")
