"""Flags and variables that caused a traceback, a crash or nonsense are refused in one line."""

import os

import pytest
from conftest import TINY, assert_refused, start


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--init", "uniform:1e39"], "--init"),
        (["--init", "uniform:1e-320"], "--init"),
        (["--lr", "1e-320"], "--lr 1e-320: must be at least"),
        (["--clip", "1e-300"], "--clip 1e-300: must be 0 or at least 1e-30"),
        (["--dropout", "5e-324"], "--dropout 5e-324: must be 0 or at least 1e-30"),
        (["--optimizer-params", "wd=1e300"], "must be 0, or from 1e-30 to 1,000,000"),
        (["--optimizer-params", "eps=1e-300"], "must be 0, or from 1e-30"),
        (["--optimizer-params", "beta1=1"], "must be at least 0 and below 1"),
        (["--optimizer-params", "beta2=-5"], "must be at least 0 and below 1"),
        (["--optimizer-params", "begin_num_update=-5"], "name=number"),
        (["--optimizer", "adamax"], "NaN at the second step"),
        (["--optimizer", "lbsgd"], "neither clips nor resumes"),
        (["--optimizer", "dcasgd"], "--optimizer 'dcasgd'"),
        (["--optimizer", "groupadagrad"], "--optimizer 'groupadagrad'"),
        (["--optimizer", "test"], "adadelta, adagrad, adam"),
        (["--ctx", "cpu:9999999999999999"], "--ctx 'cpu:9999999999999999'"),
        (["--hidden-size", "1000000"], "GB to train"),
        (["--embed-size", "1000000", "--hidden-size", "1000000"], "GB are free"),
        (["--split=-1/96/5"], "--split '-1/96/5'"),
        (["--resume", ""], "--resume: is empty"),
        (["--init-from", ""], "--init-from: is empty"),
        (["--preset", ""], "--preset: is empty"),
        (["--config", ""], "--config: is empty"),
        (["--run", ""], "--run: is empty"),
        (["--config", "/dev/null"], "not a regular file"),
    ],
)
def test_impossible_training_settings_are_one_line(
    flags, words, text_file, tmp_path, command, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    begin = [] if flags[0] == "--resume" else ["--data", text_file, *TINY]
    assert_refused(command("train", *begin, *flags), words)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "module, flags, words",
    [
        ("generate", ["--temperature", "5e-324"], "temperature must be at least 1e-10"),
        ("generate", ["--beam", "1000000"], "--beam 1000000: must be from 1 to 65,536"),
        ("embeddings", ["--seed", "99999999999999999999"], "seed from 0 to"),
    ],
)
def test_an_impossible_request_is_one_line(module, flags, words, trained, command):
    assert_refused(command(module, trained, *flags), words)


@pytest.mark.parametrize("module", ["generate", "evaluate", "embeddings"])
def test_an_empty_run_name_is_one_line(module, command):
    assert_refused(command(module, ""), "the name of the run is empty")


def test_a_number_of_threads_that_crashes_openmp_is_one_line(trained):
    process = start("-m", "gluonlm.evaluate", trained, env={"OMP_NUM_THREADS": "abc"})
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert err.count("\n") == 1
    assert "OMP_NUM_THREADS='abc': must be a number from 1 to" in err


def test_a_hundred_thousand_threads_are_one_line(text_file, tmp_path, command):
    flags = ["--data", text_file, "--run", tmp_path / "run", *TINY, "--threads", 100_000]
    _, out, err = command("train", *flags)
    assert out == ""
    assert "--threads 100000: must be from 0 to" in err
    assert err.count("\n") == 1
