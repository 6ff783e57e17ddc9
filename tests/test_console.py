"""Control characters: unchanged in files and pipes, visible on a terminal; errors in one line."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT, TINY, assert_refused

from gluonlm.run.load import load_model
from gluonlm.system.console import harmless, run_command, visible

PAGES = "\f\x1b[1mone two three\x07\nfour\x7f five\x9b six\n"  # separated by form feeds
CONTROLS = "\f\x1b\x07\x7f\x9b"


def test_every_control_character_is_visible():
    controls = "".join(map(chr, [*range(32), *range(127, 160)]))
    for shown in (visible(controls), harmless(controls)):
        assert [c for c in shown if not c.isprintable()] == ["\t", "\n"]
    assert visible("a\0\f\x1b\x7f\x85z") == "a␀␌␛␡\\x85z"
    assert harmless("a\0\f\x1b\x7f\x85z") == "a\\x00\\x0c\\x1b\\x7f\\x85z"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A run on a text that contains control characters."""
    from gluonlm.train.__main__ import main

    folder = tmp_path_factory.mktemp("pages")
    (folder / "text").write_text(PAGES * 60, "utf-8")
    flags = ["--data", str(folder / "text"), "--run", str(folder / "run"), *TINY]
    assert main([*flags, "--sample-temperatures", "50"]) == 0
    return folder / "run"


FLAGS = ("--prompt", PAGES, "--length", 200, "--temperature", 50)


def continuation(run):
    """Return the text that `generate` writes with FLAGS."""
    from gluonlm.generate.sampling import sample

    model, checkpoint = load_model(run)
    prompt = checkpoint.encode(PAGES)
    ids = [int(ids[0]) for ids in sample(model, prompt, 200, temperature=50.0)]
    return PAGES + checkpoint.vocab.decode(ids)


def test_generated_text_is_exact_in_pipes(pages, command):
    code, out, err = command("generate", pages, *FLAGS)
    assert (code, err) == (0, "")
    assert out == continuation(pages) + "\n"
    assert set(CONTROLS) <= set(out)


def test_generated_text_is_visible_on_a_terminal(pages):
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "gluonlm.generate", pages, *FLAGS]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen([*map(str, command)], stdout=theirs, env=env):
        os.close(theirs)
        content = b""
        while True:
            try:
                content += os.read(ours, 4096)
            except OSError:  # closed by the command
                break
    os.close(ours)
    out = content.decode().replace("\r\n", "\n")  # the terminal's own line ends
    assert out == visible(continuation(pages)) + "\n"
    assert not set(CONTROLS) & set(out)


def test_samples_are_exact(pages, tmp_path, command):
    assert set(CONTROLS) <= set((pages / "samples.txt").read_text("utf-8"))
    text = pages.parent / "text"
    flags = ("--run", tmp_path / "run", *TINY[:-1], "--sample-length", 900)
    code, out, _ = command("train", "--data", text, *flags, "--max-steps", 1)
    assert code == 0
    assert set(CONTROLS) <= set(out)


def test_views_show_control_characters_as_symbols(pages, tmp_path, command):
    text, page = pages.parent / "text", tmp_path / "page.html"
    flags = ("evaluate", pages, "--data", text, "--ansi", "--html", page)
    code, out, err = command(*flags)
    assert (code, err) == (0, "")
    for view in (out, page.read_text("utf-8")):
        assert not set("\f\x07\x7f\x9b\0") & set(view)
        assert "\\x0c" not in view
        assert {"␌", "␛", "␇", "␡"} <= set(view)
    assert "\x1b" not in page.read_text("utf-8")


def test_a_page_of_lone_surrogates_is_written(tmp_path, command):
    text = "+2AA- one two+AAo-" * 60  # UTF-7, with a lone surrogate
    (tmp_path / "text").write_text(text)
    data = ("--data", tmp_path / "text", "--encoding", "utf-7")
    assert command("train", *data, "--run", tmp_path / "run", *TINY)[0] == 0
    flags = ("evaluate", tmp_path / "run", *data, "--html", tmp_path / "page")
    assert command(*flags)[0] == 0
    assert "\\ud800" in (tmp_path / "page").read_text("utf-8")


def test_escapes_in_prompts_mean_control_characters(pages, command, tmp_path):
    for escaped, meant in (("\\f", "\f"), ("one\\n", "one\n"), ("\\none\\n", "\none\n")):
        found, expected = (
            command("generate", pages, "--prompt", prompt, "--length", 9)
            for prompt in (escaped, meant)
        )
        assert found == expected
        assert found[0] == 0
    assert_refused(command("generate", pages, "--prompt", "\\q"), "'\\\\'")
    code, out, _ = command("embeddings", pages, "--near", "\\f")
    assert code == 0
    assert out.startswith("'\\x0c'\n")


@pytest.mark.parametrize("level", ["char", "word", "subword"])
def test_a_model_of_backslashes_reads_them_literally(level, command, tmp_path):
    text = tmp_path / "code"
    text.write_text('say "one\\n two" or \\n\nto be\n' * 60)
    flags = ("--run", tmp_path / "run", "--level", level, *TINY)
    assert command("train", "--data", text, *flags)[0] == 0
    code, out, _ = command("generate", tmp_path / "run", "--prompt", "or \\n", "--length", 1)
    assert code == 0
    assert out.startswith("or \\n")


def test_prompts_on_standard_input_are_literal(pages, monkeypatch, command):
    import io

    stream = io.TextIOWrapper(io.BytesIO(b"one\\n"))
    monkeypatch.setattr(sys, "stdin", stream)
    assert_refused(command("generate", pages, "--prompt", "-"), "'\\\\'")


def test_an_allocation_that_fails_is_one_line(capfd):
    def allocate():
        bytearray(1 << 62)

    with pytest.raises(SystemExit) as ended:
        run_command(allocate)
    assert_refused((ended.value.code, *capfd.readouterr()), "memory")
