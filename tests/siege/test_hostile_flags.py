"""Flags and variables that caused a traceback, a crash or nonsense are refused in one line."""

import os

import pytest
from conftest import TINY, assert_refused, start


@pytest.mark.parametrize(
    "flags, name",
    [
        (["--init", "uniform:1e39"], "--init"),
        (["--init", "uniform:1e-320"], "--init"),
        (["--lr", "1e-320"], "--lr 1e-320"),
        (["--clip", "1e-300"], "--clip 1e-300"),
        (["--dropout", "5e-324"], "--dropout 5e-324"),
        (["--optimizer-params", "wd=1e300"], "--optimizer-params 'wd=1e300'"),
        (["--optimizer-params", "eps=1e-300"], "--optimizer-params 'eps=1e-300'"),
        (["--optimizer-params", "beta1=1"], "--optimizer-params 'beta1=1'"),
        (["--optimizer-params", "beta2=-5"], "--optimizer-params 'beta2=-5'"),
        (["--optimizer-params", "begin_num_update=-5"], "'begin_num_update=-5'"),
        (["--optimizer", "adamax"], "--optimizer 'adamax'"),
        (["--optimizer", "lbsgd"], "--optimizer 'lbsgd'"),
        (["--optimizer", "dcasgd"], "--optimizer 'dcasgd'"),
        (["--optimizer", "groupadagrad"], "--optimizer 'groupadagrad'"),
        (["--optimizer", "test"], "adadelta, adagrad, adam"),
        (["--ctx", "cpu:9999999999999999"], "--ctx 'cpu:9999999999999999'"),
        (["--hidden-size", "1000000"], "--hidden-size 1000000"),
        (["--embed-size", "1000000", "--hidden-size", "1000000"], "6,000,066,000,030"),
        (["--split=-1/96/5"], "--split '-1/96/5'"),
        (["--resume", ""], "--resume: "),
        (["--init-from", ""], "--init-from: "),
        (["--preset", ""], "--preset: "),
        (["--config", ""], "--config: "),
        (["--run", ""], "--run: "),
        (["--config", "/dev/null"], "--config /dev/null"),
    ],
)
def test_impossible_training_settings_are_one_line(
    flags, name, text_file, tmp_path, command, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    begin = [] if flags[0] == "--resume" else ["--data", text_file, *TINY]
    assert_refused(command("train", *begin, *flags), name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "module, flags, name",
    [
        ("generate", ["--temperature", "5e-324"], "--temperature 5e-324"),
        ("generate", ["--beam", "1000000"], "--beam 1000000"),
        ("embeddings", ["--seed", "99999999999999999999"], "--seed 99999999999999999999"),
    ],
)
def test_an_impossible_request_is_one_line(module, flags, name, trained, command):
    assert_refused(command(module, trained, *flags), name)


@pytest.mark.parametrize("module", ["generate", "evaluate", "embeddings"])
def test_an_empty_run_name_is_one_line(module, command):
    assert_refused(command(module, ""), "empty")


def test_a_number_of_threads_that_crashes_openmp_is_one_line(trained):
    process = start("-m", "gluonlm.evaluate", trained, env={"OMP_NUM_THREADS": "abc"})
    out, err = process.communicate()
    assert_refused((process.returncode, out, err), "OMP_NUM_THREADS='abc'")


def test_a_hundred_thousand_threads_are_one_line(text_file, tmp_path, command):
    flags = ["--data", text_file, "--run", tmp_path / "run", *TINY, "--threads", 100_000]
    assert_refused(command("train", *flags), "--threads 100000")
