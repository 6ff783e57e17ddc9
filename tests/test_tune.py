"""Searches over settings: trials, early stopping and interruptions."""

import json
import signal
import sys

import pytest
from conftest import assert_refused, start

from gluonlm.run.folder import Run
from gluonlm.system.errors import InputError
from gluonlm.tune import __main__ as tune
from gluonlm.tune.study import Choice, Range, Study, read_space

FLAGS = "--hidden-size 8 --embed-size 8 --num-layers 1 --batch-size 4 --seq-len 16".split()
FLAGS += ["--epochs", "4", "--threads", "1"]
LRS = {"lr": Choice(("0.1", "0.2"))}


@pytest.mark.parametrize(
    "text, name, part",
    [
        ("lr=0.001..0.5", "lr", Range(0.001, 0.5, False, False)),
        ("--lr=1e-4..1:log", "lr", Range(1e-4, 1.0, False, True)),
        ("lr=.01..1:log", "lr", Range(0.01, 1.0, False, True)),
        ("batch-size=2..8", "batch_size", Range(2, 8, True, False)),
        ("hidden-size=256/384/256,128", "hidden_size", Choice(("256", "384", "256,128"))),
        ("tie_weights=true/false", "tie_weights", Choice(("true", "false"))),
    ],
)
def test_a_search_space_consists_of_ranges_and_choices(text, name, part):
    assert read_space([text]) == {name: part}


@pytest.mark.parametrize(
    "texts, message",
    [
        (["speed=1..2"], "'speed'"),
        (["data=a/b"], "'data'"),
        (["lr=1..x"], "`try` lr=1..x: "),
        (["batch_size=1.5..2"], "`try` batch_size=1.5..2: "),
        (["lr=2..1"], "`try` lr=2..1: "),
        (["lr=0..1:log"], "`try` lr=0..1:log: .* 0$"),
        (["optimizer=1..2"], "`try` optimizer=1..2: "),
        (["model=gru"], "`try` model=gru: "),
        (["model=gru/gru"], "`try` model=gru/gru: "),
        (["tie_weights=true/maybe"], "`try` tie_weights=true/maybe: "),
        (["lr=1..2", "lr=1..3"], "`try` lr=1..3: "),
        ([], "`try`"),
    ],
)
def test_an_invalid_search_space_is_refused(texts, message):
    with pytest.raises(InputError, match=message):
        read_space(texts)


def test_values_become_training_settings():
    values = {"hidden_size": "8,4", "tie_weights": "false", "variational": "true", "lr": 0.5}
    settings = dict(hidden_size=(8, 4), tie_weights=False, variational=True, lr=0.5)
    assert tune.read_values(values) == settings


def test_the_better_of_two_trials_continues(tmp_path):
    study = Study(tmp_path / "s", LRS, {}, first=1, factor=2)
    first = study.ask()
    assert [first.report(loss) for loss in (3.0, 2.0, 1.0)] == [False] * 3
    first.end(whole=True)
    second = study.ask()
    assert second.report(4.0)  # worse than the first after one validation
    second.end(whole=False)
    third = study.ask()
    assert not third.report(2.5)
    assert third.report(2.2)  # better after one, worse after two
    outcome = third.end(whole=False)
    assert (outcome.loss, outcome.losses, outcome.whole) == (2.2, (2.5, 2.2), False)
    assert [outcome.whole for outcome in study.outcomes()] == [True, False, False]
    study.close()


def test_the_trial_of_a_killed_process_is_repeated_first_in_its_folder(tmp_path):
    space = read_space(["lr=0.001..1:log"])
    study = Study(tmp_path / "s", space, {})
    killed = study.ask()
    killed.report(3.0)
    study.close()
    study = Study(tmp_path / "s", space, {})
    again = study.ask()
    assert (again.values, again.folder, again.losses) == (killed.values, killed.folder, [])
    again.report(3.0)
    again.end(whole=True)
    assert [outcome.folder.name for outcome in study.outcomes()] == ["000"]
    assert study.ask().values != again.values
    study.close()


@pytest.mark.parametrize("loss", [None, float("nan"), float("inf")])
def test_a_non_finite_loss_is_the_worst(loss, tmp_path):
    study = Study(tmp_path / "s", LRS, {}, first=1, factor=2)
    broken = study.ask()
    broken.report(loss)
    assert broken.end(whole=True).loss == float("inf")
    assert not study.ask().report(9.0)
    study.close()


def test_a_search_locks_its_folder_and_settings(tmp_path):
    folder = tmp_path / "s"
    study = Study(folder, LRS, {"seed": 1})
    with pytest.raises(InputError, match=" process "):
        Study(folder, LRS, {"seed": 1})
    study.close()
    for changed, what in (((LRS, {"seed": 2}), "settings"), (({}, {"seed": 1}), "try")):
        with pytest.raises(InputError, match=rf" {what}\b"):
            Study(folder, *changed)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("x")
    with pytest.raises(InputError, match="other: "):
        Study(tmp_path / "other", LRS, {})
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file: "):
        Study(tmp_path / "file", LRS, {})


def test_a_missing_optuna_is_one_line_with_a_remedy(tmp_path, command, monkeypatch, text_file):
    monkeypatch.setitem(sys.modules, "optuna", None)
    search = [tmp_path / "s", "--data", text_file, *FLAGS, "--try", "lr=0.1/0.2"]
    assert_refused(command("tune", *search), "'gluonlm[tune]'")
    assert not (tmp_path / "s").exists()


def results(folder):
    """Return the journal of a search, and the losses in the metrics of each run."""
    kept = [json.loads(line) for line in (folder / "trials.log").read_text().splitlines()]
    runs = {}
    for run in sorted(path for path in folder.iterdir() if path.is_dir()):
        lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        runs[run.name] = [line["valid_loss"] for line in lines if line["event"] == "validation"]
        assert Run(run).load("last").progress["step"]
    return kept, runs


@pytest.fixture(scope="module")
def searched(text_file, tmp_path_factory):
    """An uninterrupted search of five trials: its folder and its output."""
    folder = tmp_path_factory.mktemp("tune") / "search"
    process = start("-m", "gluonlm.tune", *arguments(folder, text_file))
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    return folder, out


def arguments(folder, text_file):
    tried = ["--try", "lr=0.0001..0.05:log", "--try", "dropout=0/0.2", "--trials", "5"]
    return [folder, "--data", text_file, *FLAGS, *tried]


def test_a_search_trains_stops_bad_trials_and_names_the_best(
    searched, text_file, command, tmp_path
):
    folder, out = searched
    lines = out.splitlines()
    _, runs = results(folder)
    assert [line.split()[0] for line in lines[:5]] == list(runs) == [f"{n:03d}" for n in range(5)]
    cut = [line.split()[0] for line in lines[:5] if "stopped early" in line]
    assert cut
    assert "000" not in cut
    assert all(("(4 validations)" in line) == ("stopped early" not in line) for line in lines[:5])
    assert all((len(losses) < 4) == (name in cut) for name, losses in runs.items())
    best = min(runs, key=lambda name: min(runs[name]))
    assert lines[5].startswith("best of 5 trials")
    assert lines[6].startswith(best)
    assert f"{folder / best}/config.json" in lines[7]
    assert (folder / "study.png").read_bytes().startswith(b"\x89PNG")
    # a trial is an ordinary run: the same settings train to the same losses
    flags = ["--config", folder / best / "config.json", "--run", tmp_path / "again", "--quiet"]
    assert command("train", *flags)[0] == 0
    lines = map(json.loads, (tmp_path / "again" / "metrics.jsonl").read_text().splitlines())
    losses = [line["valid_loss"] for line in lines if line["event"] == "validation"]
    assert losses[: len(runs[best])] == runs[best]
    # finished trials are not trained again
    code, again, _ = command("tune", *arguments(folder, text_file))
    assert (code, again.splitlines()) == (0, out.splitlines()[5:])


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_search_ends_like_an_uninterrupted_one(
    number, searched, text_file, tmp_path
):
    folder = tmp_path / "search"
    process = start("-m", "gluonlm.tune", *arguments(folder, text_file))
    process.stdout.readline(), process.stdout.readline()  # two trials are done, the third runs
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130}[number]
    assert err.count("\n") == (number == signal.SIGINT)
    process = start("-m", "gluonlm.tune", *arguments(folder, text_file))
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert results(folder) == results(searched[0])
    assert out.splitlines()[-4].split("best")[1] == searched[1].splitlines()[-4].split("best")[1]


def test_an_impossible_trial_is_skipped(text_file, tmp_path, command):
    size = FLAGS.index("--hidden-size")
    flags = ["--data", text_file, *FLAGS[:size], *FLAGS[size + 2 :]]
    tried = ["--tie-weights", "--try", "hidden-size=8/16", "--trials", 4, "--seed", 2]
    code, out, err = command("tune", tmp_path / "s", *flags, *tried)
    assert (code, err) == (0, "")
    assert "rejected: --tie-weights" in out
    assert "best of 4" in out
    tried[2] = "hidden-size=16/32"
    assert_refused(command("tune", tmp_path / "t", *flags, *tried), "--tie-weights")


def test_a_search_needs_a_validation_part(text_file, tmp_path, command):
    tried = ["--try", "lr=0.1/0.2", "--split", "95/0/5"]
    assert_refused(
        command("tune", tmp_path / "s", "--data", text_file, *FLAGS, *tried), "--split: "
    )


@pytest.mark.parametrize(
    "flags, name",
    [
        (["--try", "lr=-1..1"], "--lr -1.0: "),
        (["--try", "model=gru/rnm"], "'rnm'"),
        (["--try", "lr=1..2", "--trials", "0"], "--trials 0: "),
        (["--try", "lr=1..2", "--factor", "1"], "--factor 1: "),
        (["--try", "lr=1..2", "--data", "missing.txt"], "missing.txt"),
    ],
)
def test_bad_flags_are_one_line_and_create_no_folder(flags, name, tmp_path, command, text_file):
    assert_refused(command("tune", tmp_path / "s", "--data", text_file, *FLAGS, *flags), name)
    assert not (tmp_path / "s").exists()
