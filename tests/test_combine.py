"""Separately trained runs combine into one run with averaged probabilities."""

import re

import numpy as np
import pytest
from conftest import assert_refused

from gluonlm.evaluate.scoring import score
from gluonlm.run.folder import Run
from gluonlm.run.load import load_model

SMALL = "--max-steps 3 --hidden-size 5 --embed-size 4 --batch-size 4 --seq-len 10 --quiet".split()


@pytest.fixture
def trained_apart(text_file, tmp_path, command):
    def train(name, *flags, data=text_file):
        run = tmp_path / name
        assert command("train", "--data", data, "--run", run, *SMALL, *flags)[0] == 0
        return run

    return train


def test_probabilities_are_the_mean_of_all_networks(trained_apart, text_file, tmp_path, command):
    one = trained_apart("one", "--seed", 1)
    two = trained_apart("two", "--seed", 2, "--members", 2, "--dropout", 0.3)
    code, out, err = command("combine", one, two, "--run", tmp_path / "all")
    assert (code, err) == (0, "")
    assert "all: 3 networks" in out
    model, checkpoint = load_model(tmp_path / "all")
    ids = checkpoint.encode("ducks out to play")
    chances = [np.exp(-score(load_model(run)[0], ids)) for run in (one, two)]
    expected = -np.log((chances[0] + 2 * chances[1]) / 3)
    np.testing.assert_allclose(score(model, ids), expected, rtol=1e-5)
    code, out, err = command("evaluate", tmp_path / "all")
    assert (code, err) == (0, "")
    assert "(test part)" in out
    warm = ("--init-from", tmp_path / "all", "--data", text_file, "--run", tmp_path / "on")
    assert command("train", *warm, *SMALL)[0] == 0
    assert Run(tmp_path / "on").load("last").config.model.members == 3


def squares(run):
    """Return Adam's mean squared gradient of each weight, by name."""
    model, checkpoint = load_model(run)
    return {
        name: checkpoint.training[f"optimizer.{number}.1"]
        for number, name in enumerate(model.parameters())
    }


def test_squared_gradients_stay_with_their_weights(trained_apart, tmp_path, command):
    adam = ("--optimizer", "adam")
    one = trained_apart("one", "--seed", 1, *adam)
    eleven = trained_apart("eleven", "--seed", 2, *adam, "--members", 11)
    assert command("combine", one, eleven, "--run", tmp_path / "all")[0] == 0
    expected = {f"networks.0.{name}": array for name, array in squares(one).items()}
    for name, array in squares(eleven).items():
        _, number, part = name.split(".", 2)
        expected[f"networks.{int(number) + 1}.{part}"] = array
    found = squares(tmp_path / "all")
    assert found.keys() == expected.keys()
    assert all((found[name] == array).all() and array.any() for name, array in expected.items())
    code, out, _ = command("evaluate", tmp_path / "all", "--dynamic", "rms")
    assert code == 0
    assert "dynamic (rule rms" in out


def test_squared_gradients_are_dropped_unless_all_runs_have_them(trained_apart, tmp_path, command):
    one = trained_apart("one", "--optimizer", "adam")
    other = trained_apart("other", "--optimizer", "sgd", "--seed", 2)
    assert command("combine", one, other, "--run", tmp_path / "all")[0] == 0
    assert_refused(
        command("evaluate", tmp_path / "all", "--dynamic", "rms"), "--dynamic rms", "sgd"
    )


def test_a_combined_run_cannot_be_resumed(trained_apart, text_file, tmp_path, command):
    one, two = (trained_apart(str(seed), "--seed", seed) for seed in (1, 2))
    assert command("combine", one, two, "--run", tmp_path / "all")[0] == 0
    result = command("train", "--resume", tmp_path / "all", "--data", text_file)
    assert_refused(result, "--resume", "--init-from")


@pytest.mark.parametrize(
    "flags, fault",
    [
        (("--hidden-size", 6), "--hidden-size .*6.* 5 .*one"),
        (("--model", "rnn"), "--model .*rnn.* gru .*one"),
        (("--split", "80/20/0"), "--split .*80/20/0.* 90/5/5 .*one"),
    ],
)
def test_the_error_names_differing_settings(trained_apart, tmp_path, command, flags, fault):
    one, other = trained_apart("one"), trained_apart("other", *flags)
    result = command("combine", one, other, "--run", tmp_path / "all")
    assert_refused(result)
    assert re.search(fault, result[2]), result[2]
    assert not (tmp_path / "all").exists()


def test_runs_on_another_text_cannot_be_scored(trained_apart, tmp_path, text_file, command):
    text = text_file.read_text()
    longer, swapped = tmp_path / "longer", tmp_path / "swapped"
    longer.write_text(text + "Ω" * 9, encoding="utf-8")
    swapped.write_text(text[::-1], encoding="utf-8")
    one = trained_apart("one")
    for data, fault in ((longer, " vocabulary "), (swapped, " text ")):
        other = trained_apart(data.name + "-run", data=data)
        assert_refused(command("combine", one, other, "--run", tmp_path / "all"), other, one, fault)
        assert not (tmp_path / "all").exists()


def test_combining_needs_two_runs_and_an_output_folder(trained_apart, tmp_path, command):
    one, two = trained_apart("one"), trained_apart("two", "--seed", 2)
    for runs in ((one,), (one, one)):
        assert_refused(command("combine", *runs, "--run", tmp_path / "all"), " two ")
    before = sorted(file.name for file in two.iterdir())
    assert_refused(command("combine", one, two, "--run", two), f"--run {two}", "--overwrite")
    assert sorted(file.name for file in two.iterdir()) == before
    assert_refused(
        command("combine", one, tmp_path / "none", "--run", tmp_path / "all"), tmp_path / "none"
    )
