"""Embeddings: nearest neighbours and maps."""

import mxnet as mx
import numpy as np
import pytest
from conftest import assert_refused

from gluonlm.embeddings import draw_map, nearest, project, visible
from gluonlm.models import Ensemble, RNNModel, WindowModel
from gluonlm.system.errors import InputError
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
