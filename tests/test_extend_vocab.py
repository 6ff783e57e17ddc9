"""Continue from another run's weights on a text with more tokens."""

import numpy as np
import pytest
from conftest import assert_refused

from gluonlm.run.folder import Run
from gluonlm.vocab import Vocab


@pytest.mark.parametrize("model", [("gru",), ("minlstm", "--members", 2), ("unrolled",)])
def test_a_vocabulary_grows_by_the_new_tokens_of_a_text(text_file, tmp_path, command, model):
    small = "--batch-size 4 --max-steps 1 --lr 1e-30 --quiet --hidden-size 9".split()
    old, new, foreign = tmp_path / "old", tmp_path / "new", tmp_path / "foreign.txt"
    foreign.write_text("Ωmega little ducks; αlpha went out to play. " * 40, encoding="utf-8")
    assert command("train", "--data", text_file, "--run", old, *small, "--model", *model)[0] == 0
    flags = ("--init-from", old, "--data", foreign, "--run", new, *small)
    assert command("train", *flags)[0] == 2
    assert not new.exists()
    assert command("train", *flags, "--extend-vocab")[0] == 0
    ours, theirs = Run(new).load("last"), Run(old).load("best")
    known = len(theirs.vocab)
    assert ours.vocab.tokens[:known] == theirs.vocab.tokens
    assert ours.vocab.tokens[known:] == [";", "g", "m", "Ω", "α"]
    for name, array in theirs.parameters.items():
        grown = ours.parameters[name]
        rows = known if array.shape[0] == known else len(array)
        assert len(grown) == len(array) + 5 * (array.shape[0] == known), name
        np.testing.assert_allclose(grown[:rows], array, atol=1e-20, err_msg=name)
        assert "bias" in name or (grown[rows:] != 0).all()
    text = command("generate", new, "--prompt", "Ω", "--length", 5)
    assert text[0] == 0
    assert command("generate", old, "--prompt", "Ω")[0] == 2


@pytest.mark.parametrize("flags, name", [((), "--init-from"), (("--init-from",), "--extend-vocab")])
def test_extending_a_fixed_vocabulary_is_an_error(text_file, tmp_path, command, flags, name):
    small = "--batch-size 4 --seq-len 10 --max-steps 1 --quiet --hidden-size 9".split()
    old, level = tmp_path / "old", ("--level", "subword", "--vocab-size", 60)
    assert command("train", "--data", text_file, "--run", old, *small, *level)[0] == 0
    flags = (*flags, old) if flags else ()
    new = tmp_path / "new"
    flags = (*flags, "--extend-vocab", "--data", text_file, "--run", new, "--quiet")
    assert_refused(command("train", *flags), name)
    assert not new.exists()


def test_new_words_are_added_after_known_words():
    old, new = (Vocab.build([text], "word") for text in ("to be or not\n", "or to see , to go\n"))
    grown = old.extended(new)
    assert grown.tokens[: len(old)] == old.tokens
    assert set(grown.tokens) == {*old.tokens, *new.tokens}
    assert grown.encode("to see\n").tolist()[0] == old.index["to"]
