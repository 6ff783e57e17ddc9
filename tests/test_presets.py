"""The presets: each matches its publication, trains, and writes to its own run."""

import json
import os

import pytest
from conftest import assert_refused

from gluonlm.config import Config
from gluonlm.config.presets import PRESETS
from gluonlm.models import build_model
from gluonlm.run.folder import Run

SYMBOLS = {
    "nietzsche": 85,
    "tinyshakespeare": 65,
    "python-docs": 103,
    "ptb": 10_000,
    "wikitext-2": 33_278,
}
PARAMETERS = {
    "nietzsche-unrolled": 85 * 30 + 256 * 31 + 256 * 257 + 85 * 257,
    "nietzsche-lstm": 85 * 500 + 4000 * (500 + 1000 + 2) + 4000 * (2000 + 2) + 85 * 1001,
    "stacked-char-lstm": 103 * 128 + 2 * 512 * (256 + 2) + 103 * 129,
    "scripts-lstm": 4096 * (65 + 1024 + 2) + 65 * 1025,
    "window-lstm": 1024 * (1 + 256 + 2) + 85 * 257,
    "ptb-lstm": 10_000 * 200 + 1024 * (456 + 2) + 512 * (384 + 2) + 10_000 * 129,
    "ptb-small": 10_000 * 301 + 2 * 1200 * 602,
    "ptb-small-200": 10_000 * 201 + 2 * 800 * 402,
    "ptb-medium": 10_000 * 401 + 3200 * 1202 + 1600 * 1202,
    "wikitext-2-small": 33_278 * 201 + 2 * 800 * 402,
    "wikitext-2": 33_278 * 201 + 2400 * (802 + 1202) + 800 * 802,
    "tinyshakespeare-gru": 65 * 64 + 1152 * (448 + 2) + 65 * 385,
}
PARAMETERS["tinyshakespeare-lstm-12min"] = 2 * (65 * 64 + 1536 * (450 + 770) + 65 * 385)
PARAMETERS["tinyshakespeare-lstm-long"] = 2 * PARAMETERS["tinyshakespeare-lstm-12min"]
PARAMETERS["ptb-ensemble"] = 4 * PARAMETERS["ptb-small"]
PARAMETERS["nietzsche-better"] = PARAMETERS["nietzsche-lstm"]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_complete_configuration_of_the_published_size(name):
    config = Config.from_dict(PRESETS[name].settings, name)
    count = build_model(config.model, SYMBOLS[config.data.data[0]]).count_parameters()
    assert count == PARAMETERS[name]
    assert PRESETS[name].about
    assert PRESETS[name].published


def small(name, text_file):
    """Return flags that make a preset cheap without changing its kind."""
    settings = PRESETS[name].settings
    sizes = ",".join("8" for _ in settings["hidden_size"])
    embed = [] if settings["model"] == "window" else ["--embed-size", 8]
    return [
        "--preset",
        name,
        "--data",
        text_file,
        "--hidden-size",
        sizes,
        *embed,
        "--max-minutes",
        0,
        "--sample-length",
        20,
    ]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_and_the_same_command_resumes_it(
    name, text_file, tmp_path, command, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    flags = small(name, text_file)
    code, _, err = command("train", *flags, "--max-steps", 2)
    assert (code, err) == (0, "")
    assert os.listdir("runs") == [name]
    code, out, err = command("train", *flags, "--max-steps", 3)
    assert (code, err) == (0, "")
    assert "resuming with max_steps 3 instead of 2" in out
    assert Run(f"runs/{name}").load("last").progress["step"] == 3
    kept = json.loads((tmp_path / "runs" / name / "config.json").read_text())
    published = json.loads(json.dumps(Config.from_dict(PRESETS[name].settings).to_dict()))
    changed = {
        "kernels",
        "data",
        "hidden_size",
        "embed_size",
        "max_minutes",
        "max_steps",
        "sample_length",
    }
    assert {setting for setting in published if kept[setting] != published[setting]} <= changed


def test_the_rate_of_a_preset_with_a_time_limit_falls_with_the_time():
    limited = {name for name, preset in PRESETS.items() if preset.settings.get("max_minutes")}
    assert limited >= {"tinyshakespeare-gru", "tinyshakespeare-lstm-12min"}
    for name in limited:
        # on a slow machine the time ends early, and the rate would have hardly fallen
        assert Config.from_dict(PRESETS[name].settings).training.horizon == "time"


def figures(out):
    return [line for line in out.splitlines() if line.startswith("ended") or "(test part)" in line]


def test_a_finished_preset_reports_again_and_a_changed_setting_is_reported(
    text_file, tmp_path, command, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    flags = [*small("stacked-char-lstm", text_file), "--max-steps", 2]
    first, again = command("train", *flags), command("train", *flags)
    assert again[0] == 0
    assert figures(first[1]) == figures(again[1])
    assert len(figures(again[1])) == 2
    assert "resuming" not in again[1]
    assert_refused(
        command("train", *flags, "--lr", 0.5), "runs/stacked-char-lstm", "lr 0.004", "0.5"
    )
    assert command("train", *flags, "--lr", 0.5, "--run", "other")[0] == 0
    assert Run("runs/stacked-char-lstm").load("last").config.training.lr == 0.004
    assert Run("other").load("last").config.training.lr == 0.5
    assert command("train", *flags, "--lr", 0.25, "--overwrite")[0] == 0
    assert Run("runs/stacked-char-lstm").load("last").config.training.lr == 0.25


def test_precedence_is_flags_then_file_then_preset(text_file, tmp_path, command):
    (tmp_path / "c.json").write_text(
        json.dumps({"lr": 0.5, "batch_size": 3, "hidden_size": 8, "data": str(text_file)})
    )
    flags = [
        "--preset",
        "nietzsche-unrolled",
        "--config",
        tmp_path / "c.json",
        "--lr",
        0.125,
        "--max-steps",
        1,
        "--run",
        tmp_path / "run",
    ]
    assert command("train", *flags, "--quiet")[0] == 0
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert [kept[name] for name in ("lr", "batch_size", "embed_size", "window_step")] == [
        0.125,
        3,
        30,
        3,
    ]


def test_presets_are_listed_with_commands_and_an_unknown_one_is_one_line(
    tmp_path, command, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, out, err = command("train", "--list-presets")
    assert (code, err) == (0, "")
    assert all(f"--preset {name}\n" in out for name in PRESETS)
    assert "121.5" in out
    assert_refused(command("train", "--preset", "ptb"), "--preset ptb: ", *PRESETS)
    assert_refused(
        command("train", "--resume", "run", "--preset", "ptb-lstm"), "--resume", "--preset"
    )
    assert os.listdir(tmp_path) == []


def test_an_old_run_of_a_preset_resumes_with_its_own_settings(
    text_file, tmp_path, command, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    flags = small("window-lstm", text_file)
    assert command("train", *flags, "--max-steps", 2, "--shuffle", "line")[0] == 0
    code, out, err = command("train", *flags, "--max-steps", 3)  # no --shuffle
    assert (code, err) == (0, "")
    assert "resuming with max_steps 3 instead of 2" in out
    config = Run("runs/window-lstm").load("last").config.training
    assert (config.shuffle, config.max_steps) == ("line", 3)
    assert_refused(
        command("train", *flags, "--max-steps", 4, "--shuffle", "mixed"), "shuffle line", "mixed"
    )
