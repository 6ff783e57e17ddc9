"""Overlap of generated and training text, compared with a naive search."""

import numpy as np
import pytest
from conftest import assert_refused
from hypothesis import given
from hypothesis import strategies as st

from gluonlm.generate.novelty import GRAM, novelty

TEXTS = st.lists(st.integers(0, 2), max_size=40)


def pieces(ids, length):
    return [tuple(ids[begin : begin + length]) for begin in range(len(ids) - length + 1)]


@given(TEXTS, TEXTS)
def test_the_longest_copy_and_the_share_of_ngrams_match_a_naive_search(written, known):
    found = novelty(np.array(written, int), np.array(known, int))
    longest = max(n for n in range(41) if set(pieces(written, n)) & set(pieces(known, n)) or not n)
    assert found.longest.stop - found.longest.start == longest
    assert tuple(written[found.longest]) in pieces(known, longest)
    grams = pieces(written, GRAM)
    share = np.mean([gram in pieces(known, GRAM) for gram in grams]) if grams else 0
    assert found.grams == pytest.approx(share)


def test_large_ids_are_distinguished():
    known = np.array([0xD7FF, 0xD800, 0xDFFF, 0xE000, 10**6])
    assert novelty(known[1:4], known).longest == slice(0, 3)
    assert novelty(known[:1], known[1:]).longest == slice(0, 0)


def test_the_command_reports_copied_text(trained, text_file, command):
    flags = ("--prompt", "the ", "--length", 30, "--seed", 3)
    plain = command("generate", trained, *flags)
    folder = ("--data-dir", text_file.parent)
    code, out, err = command("generate", trained, *flags, "--novelty", *folder)
    assert code == 0
    assert out == plain[1]
    assert len(err.splitlines()) == 1
    written = out[len("the ") : -1]
    text = text_file.read_text()[: round(0.9 * len(text_file.read_text()))]
    longest = max(
        (written[a:b] for a in range(30) for b in range(a + 1, 31) if written[a:b] in text), key=len
    )
    assert err.endswith(f" {len(longest)} tokens: {longest!r}\n")


def test_the_error_names_a_missing_text(trained, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = command("generate", trained, "--length", 9, "--novelty")
    assert_refused(result, "rhyme.txt", "--data")
