"""The map of surprise: its contents, and the escaping of the text."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import assert_refused

from gluonlm.batchify.slicing import rnn_batch
from gluonlm.evaluate.__main__ import main as evaluate
from gluonlm.evaluate.scoring import score, score_columns
from gluonlm.evaluate.surprise import BACKGROUNDS, SHADES, Span, page, shade, spans, terminal
from gluonlm.run.load import load_model
from gluonlm.system.errors import InputError
from gluonlm.vocab import Vocab

HOSTILE = "</pre><script>alert(1)</script> & \x1b[2J\r\x9b \"'\n"


class Reader(HTMLParser):
    """Parse a page: its text inside <pre>, and its tags."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.inside, self.text, self.hints = [], False, "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.inside = self.inside or tag == "pre"
        self.hints += [float(value) for name, value in attributes if name == "title"]

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "pre"

    def handle_data(self, data):
        self.text += data * self.inside


def test_a_page_contains_the_text_and_every_surprise_escaped():
    vocab = Vocab.build([HOSTILE])
    ids = vocab.encode(HOSTILE)
    losses = np.linspace(0.01, 9, len(ids) - 1)
    read = Reader("".join(page("<run>", "a & b", vocab, spans(vocab, ids, losses))))
    shown = HOSTILE.replace("\x1b", "␛").replace("\r", "␍").replace("\x9b", "\\x9b")
    assert read.text == shown.replace("\n", "↵\n")
    assert read.hints == pytest.approx(losses / np.log(2), abs=0.006)
    assert set(read.tags) == {"html", "meta", "title", "style", "h1", "p", "pre", "i"}


def test_a_page_makes_no_requests():
    text = "".join(page("run", "", Vocab("char", "ab"), iter([Span("a", 1.0)])))
    assert "default-src 'none'" in text
    assert not re.search(r"https?:|src=|href=|url\(|@import", text)


def test_a_page_shows_each_line_in_the_direction_of_its_script():
    text = "".join(page("שלום", "", Vocab("char", "ש"), iter([Span("ש", 1.0)])))
    assert '<pre dir="auto">' in text
    assert '<h1 dir="auto">' in text


def test_shades_range_from_zero_to_twice_a_blind_guess():
    assert [shade(bits, 16, SHADES) for bits in (None, 0, 0.49, 0.5, 4, 7.9, 8, 99, np.inf)] == (
        [0, 0, 0, 1, 8, 15, 15, 15, 15]
    )
    assert shade(float("nan"), 16, SHADES) == 0
    assert shade(1.0, 1, 10) == 5


def test_escape_sequences_in_the_text_do_not_reach_the_terminal():
    vocab = Vocab.build([HOSTILE])
    ids = vocab.encode(HOSTILE)
    out = "".join(terminal(vocab, spans(vocab, ids, np.full(len(ids) - 1, 50.0))))
    last = f"\x1b[38;5;16;48;5;{BACKGROUNDS[-1]}m"
    assert out.count(last) == len(ids) - 1
    assert out.endswith(f"{last}↵\x1b[0m\n")
    plain = out.replace(last, "").replace("\x1b[0m", "").replace("↵", "")
    assert "\x1b" not in plain
    assert "\r" not in plain
    assert plain.replace("␛", "\x1b").replace("␍", "\r").replace("\\x9b", "\x9b") == HOSTILE
    calm = "".join(terminal(vocab, spans(vocab, ids, np.zeros(len(ids) - 1))))
    assert "\x1b" not in calm
    assert calm.endswith("'\n")


def test_words_are_coloured_with_their_spaces():
    vocab = Vocab("word", ["<unk>", "<eos>", "it", ","])
    found = list(spans(vocab, np.array([2, 2, 3, 1]), np.log([2.0, 4.0, 8.0])))
    assert [span.text for span in found] == ["it", " it", ",", "\n"]
    assert found[0].bits is None
    assert [s.bits for s in found[1:]] == pytest.approx([1, 2, 3])


def test_evaluate_writes_the_page_once_and_prints_the_map(trained, text_file, tmp_path, command):
    place = tmp_path / "map.html"
    flags = [trained, "--data", text_file, "--html", place]
    code, out, err = command("evaluate", *flags)
    assert (code, err) == (0, "")
    assert Reader(place.read_text("utf-8")).text.replace("↵", "") == text_file.read_text()
    before = place.read_bytes()
    assert_refused(command("evaluate", *flags), place, "--overwrite")
    assert place.read_bytes() == before
    assert command("evaluate", *flags, "--overwrite")[0] == 0
    code, colours, err = command("evaluate", trained, "--data", text_file, "--ansi")
    assert (code, err) == (0, "")
    score, wrote = out.splitlines()
    assert str(place) in wrote
    assert colours.endswith(f"{score}\n")
    assert "\x1b[38;5;16;48;5;" in colours


@pytest.mark.parametrize(
    "flags, name",
    [
        (["--streams", 0], "--streams 0"),
        (["--streams", 3, "--ansi"], "--streams"),
        (["--streams", 3, "--html", "x"], "--streams"),
        (["--streams", 99999], "--streams 99999"),
        (["--ansi", "--json"], "--ansi and --json"),
    ],
)
def test_contradictory_flags_are_refused(flags, name, trained, text_file, command):
    assert_refused(command("evaluate", trained, "--data", text_file, *flags), name)


def test_columns_are_scored_like_pytorchs_example(trained, text_file, capfd):
    """Each column starts from a zero state; only complete segments count."""
    model, checkpoint = load_model(trained)
    ids = checkpoint.encode(text_file.read_text())
    data = rnn_batch(ids, 7)  # (T, 7)
    rows = (len(data) - 1) // 20 * 20
    expected = [score(model, data[: rows + 1, column]) for column in range(7)]
    losses = score_columns(model, ids, 7, 20)
    assert losses.size == 7 * rows
    assert losses.size < 7 * (len(data) - 1)
    np.testing.assert_allclose(losses.reshape(rows, 7).T, np.stack(expected), atol=1e-5)
    evaluate([str(trained), "--data", str(text_file), "--streams", "7", "--seq-len", "20"])
    out = capfd.readouterr().out
    assert f"{losses.mean():.4f} nats" in out
    assert f"over {7 * rows:,} characters" in out


def test_window_models_do_not_support_columns(trained):
    from types import SimpleNamespace

    with pytest.raises(InputError, match="`streams` 2"):
        score_columns(SimpleNamespace(window=3), np.arange(100), 2, 3)
