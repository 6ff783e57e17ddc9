"""Short texts: the error names settings that work."""

import re

import pytest
from conftest import TINY, assert_refused

from gluonlm.system.device import get_ctx
from gluonlm.system.errors import InputError
from gluonlm.train.start import FreshStart, begin

LENGTHS = (*range(1, 14), 20, 40, 41, 64, 71, 100, 200)


def begun(settings, folder):
    """Return whether training can begin: its Training, or the error."""
    start = FreshStart({"hidden_size": 4, "embed_size": 4, **settings}, folder, True)
    try:
        return begin(start, get_ctx("cpu"))
    except InputError as error:
        return str(error)
    finally:
        start.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "gru"},
        {"model": "gru", "batch_size": 5, "split": "50/25/25"},
        {"model": "window"},
        {"model": "unrolled", "window": 40},
        {"model": "rnn", "level": "word"},
        {"model": "rnn", "level": "subword", "batch_size": 100},
    ],
    ids=str,
)
def test_the_settings_in_the_error_work_for_every_length(settings, tmp_path):
    text, refused = tmp_path / "text", 0
    words = "the cat sat on the mat, and the dog sat in a box. " * 4
    for length in LENGTHS:
        text.write_text(words[:length])
        given = {**settings, "data": str(text)}
        error = begun(given, tmp_path / "run")
        if isinstance(error, str):
            refused += 1
            found = re.findall(r"`(split|batch_size|window)` ([\d/]+)", error.partition(": use")[2])
            assert found or "more text" in error
            if found:
                read = {name: value if "/" in value else int(value) for name, value in found}
                training = begun({**given, **read, "max_steps": 1}, tmp_path / "run")
                assert not isinstance(training, str), (length, error, training)
                assert training.trainer.fit() == "steps"
            else:
                assert length < 5
    assert refused
    assert not isinstance(error, str) or settings.get("level") or settings.get("window")


def test_the_command_accepts_the_flags_of_the_error(tmp_path, command):
    (tmp_path / "text").write_text("Hello world!")
    flags = ["--data", tmp_path / "text", "--run", tmp_path / "run", "--max-steps", 1]
    result = command("train", *flags)
    assert_refused(result, "--batch-size")
    advice = re.search(r", or (--.*)", result[2])[1].split()
    assert command("train", *flags, *advice, "--quiet")[0] == 0


def test_a_short_validation_file_is_named(text_file, tmp_path, command):
    (tmp_path / "valid").write_text("t")
    flags = ["--data", text_file, "--valid", tmp_path / "valid", "--run", tmp_path / "run"]
    assert_refused(command("train", *flags, *TINY), "--valid", " 2")
