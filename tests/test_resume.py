"""A run continues exactly after kills, interrupts, a full disk or concurrent starts."""

import signal

import numpy as np
import pytest
from conftest import ROOT, assert_refused, start
from runs import assert_same_end, records

from gluonlm.run.checkpoint import read_checkpoint
from gluonlm.run.folder import Run

KILLER = ROOT / "tests" / "killer.py"
FLAGS = (
    "--embed-size 8 --hidden-size 12 --batch-size 4 --seq-len 10 --epochs 2 --max-steps 60 "
    "--validate-every 7 --checkpoint-every 3 --log-every 4 --dropout 0.3 --schedule plateau "
    "--patience 50 --quiet"
).split()


@pytest.fixture(scope="module", params=["auto", "mxnet"])
def whole(request, text_file, tmp_path_factory):
    """The uninterrupted run, with native kernels if there are some, and with MXNet alone."""
    from gluonlm.train.__main__ import main

    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLUONLM_KERNELS", request.param)
        assert main(["--data", str(text_file), "--run", str(folder), *FLAGS]) == 0
        yield folder


def kill_and_finish(how_and_when, text_file, run, command):
    """Kill a run in some ways, resuming it each time; return the number of kills before its end."""
    kills, fresh = 0, ["--data", text_file, "--run", run, *FLAGS]
    for how, when in how_and_when:
        named = (run / "checkpoints" / "last").exists()
        flags = ["--resume", run, "--quiet"] if named else fresh
        process = start(KILLER, how, when, *flags)
        err = process.communicate()[1]
        assert process.returncode in (-signal.SIGKILL, 0), err
        kills += process.returncode == -signal.SIGKILL
        if (run / "checkpoints" / "last").exists():
            for pointer in ("last", "best"):
                folder = Run(run).pointed(pointer)
                assert folder is None or read_checkpoint(folder).progress["step"] <= 60
    assert command("train", "--resume", run, "--quiet")[0] == 0
    return kills


@pytest.mark.long
def test_a_run_killed_anywhere_ends_like_an_uninterrupted_one(whole, text_file, tmp_path, command):
    ways = [("write", 3), ("write", 12), ("step", 5), ("write", 26), ("time", 0.02)]
    assert kill_and_finish(ways, text_file, tmp_path / "run", command) >= 4
    assert_same_end(tmp_path / "run", whole)


@pytest.mark.full
def test_a_run_killed_thirty_times_ends_like_an_uninterrupted_one(
    whole, text_file, tmp_path, command
):
    random, kills = np.random.default_rng(0), 0
    for number in range(6):
        ways = [("write", int(w)) for w in random.integers(1, 30, 3)] + [
            ("step", int(s)) for s in random.integers(1, 9, 2)
        ]
        ways += [("time", float(t)) for t in random.uniform(0, 0.2, 1)]
        run = tmp_path / f"run{number}"
        kills += kill_and_finish(
            [ways[i] for i in random.permutation(len(ways))], text_file, run, command
        )
        assert_same_end(run, whole)
    print(f"{kills} kills survived")
    assert kills >= 30


def endless(text_file, run):
    """Start a training that does not end by itself, and wait for its first validation."""
    flags = [f for f in FLAGS if f != "--quiet"]
    flags[flags.index("--max-steps") + 1] = flags[flags.index("--epochs") + 1] = "1000000"
    process = start("-u", "-m", "gluonlm.train", "--data", text_file, "--run", run, *flags)
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    return process


LIMITED = """
import os, resource, sys
from gluonlm.train import trainer
from gluonlm.system.console import run_command
from gluonlm.train.__main__ import main
limit = int(sys.argv.pop(1))
def full(self, real=trainer.Trainer._step):
    real(self)
    if self.progress.step == 20:  # from now on no file may grow beyond this
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
trainer.Trainer._step = full
run_command(lambda: main(sys.argv[1:]))
"""


def test_a_full_disk_is_reported_and_keeps_the_last_good_checkpoint(
    whole, text_file, tmp_path, command
):
    run = tmp_path / "run"
    arrays = max(path.stat().st_size for path in Run(whole).pointed("last").iterdir())
    assert (
        whole / "metrics.jsonl"
    ).stat().st_size < arrays - 1  # so that only a checkpoint exceeds the limit
    process = start("-c", LIMITED, arrays - 1, "--data", text_file, "--run", run, *FLAGS)
    out, err = process.communicate()
    assert_refused((process.returncode, out, err), f"{run}: ")
    assert Run(run).load("last").progress["step"] in (18, 20)
    assert command("train", "--resume", run, "--quiet")[0] == 0
    assert_same_end(run, whole)


def test_a_second_process_on_the_same_run_is_refused(text_file, tmp_path, command):
    run = tmp_path / "run"
    first = endless(text_file, run)
    for flags in (["--resume", run], ["--data", text_file, "--run", run, *FLAGS, "--overwrite"]):
        assert_refused(command("train", *flags), f"{run}: ", " process ")
    assert first.poll() is None
    first.kill()
    first.communicate()
    assert Run(run).load("last").progress["step"] > 0


def test_an_unwritable_folder_is_reported(whole, text_file, tmp_path, command, monkeypatch):
    import gluonlm.run.folder as module

    def readonly(*args, **kwargs):
        raise PermissionError(13, "Permission denied", "there")

    monkeypatch.setattr(module.Path, "mkdir", readonly)
    assert_refused(
        command("train", "--data", text_file, "--run", tmp_path / "run", *FLAGS),
        f"--run {tmp_path / 'run'}: ",
        "Permission denied",
    )
    monkeypatch.undo()
    monkeypatch.setattr(module.tempfile, "TemporaryDirectory", readonly)
    assert_refused(
        command("train", "--data", text_file, "--run", tmp_path / "run", *FLAGS),
        "Permission denied",
    )


def test_samples_do_not_affect_training_and_recur_after_a_kill(whole, text_file, tmp_path, command):
    flags = [*FLAGS, "--sample-temperatures", "0.5,1", "--sample-length", 20]
    assert command("train", "--data", text_file, "--run", tmp_path / "calm", *flags)[0] == 0
    assert_same_end(tmp_path / "calm", whole)
    run = tmp_path / "run"
    process = start(
        KILLER, "write", 40, "--data", text_file, "--run", run, *flags
    )  # in the checkpoint of the first validation
    assert process.communicate()[1] == ""
    assert process.returncode == -signal.SIGKILL
    assert (
        (run / "samples.txt").stat().st_size > Run(run).load("last").progress["samples_bytes"] == 0
    )
    assert command("train", "--resume", run, "--quiet")[0] == 0
    text = (run / "samples.txt").read_text()
    assert text == (tmp_path / "calm" / "samples.txt").read_text()
    assert not (whole / "samples.txt").exists()
    headers = [line for line in text.splitlines() if line.startswith("== ")]
    assert headers[:3] == [
        f"== step {s}, epoch {e}, temperature {t}"
        for s, e, t in ((7, "0.05", 0.5), (7, "0.05", 1), (14, "0.10", 0.5))
    ]
    assert len(text) == sum(len(header) + 1 + 20 + 2 for header in headers)


def test_training_starts_from_another_runs_weights(whole, text_file, tmp_path, command):
    small = "--batch-size 4 --seq-len 10 --max-steps 1 --lr 1e-30 --dropout 0".split()
    begin = ["--init-from", whole, "--data", text_file]
    code, out, err = command("train", *begin, "--run", tmp_path / "run", *small)
    assert (code, err) == (0, "")
    assert "optimizer and progress are reset" in out
    ours, theirs = Run(tmp_path / "run").load("last"), Run(whole).load("best")
    assert ours.progress["step"] == 1
    assert ours.config.model.hidden_size == (12,)
    for name, array in theirs.parameters.items():
        np.testing.assert_allclose(ours.parameters[name], array, atol=1e-20)
    flags = ["--run", tmp_path / "other", *FLAGS]
    assert_refused(command("train", *begin, *flags, "--hidden-size", 13), "decoder.weight", "13")
    assert not (tmp_path / "other").exists()
    foreign = tmp_path / "foreign.txt"
    foreign.write_text("Ωmega " * 100)
    begin[-1] = foreign
    assert_refused(command("train", *begin, *flags), "'Ω' at position 0")


def test_resuming_reports_changed_settings_and_refuses_fixed_ones(
    whole, tmp_path, text_file, command
):
    import shutil

    run = shutil.copytree(whole, tmp_path / "run")
    code, out, _ = command("train", "--resume", run, "--max-steps", 63, "--patience", 40)
    assert code == 0
    assert "resuming with max_steps 63 instead of 60" in out
    assert "patience 40 instead of 50" in out
    for flags, name in (
        (["--dropout", 0.4], "dropout"),
        (["--lr", 1], "lr"),
        (["--seed", 2], "seed"),
        (["--level", "word"], "level"),
    ):
        assert_refused(
            command("train", "--resume", run, *flags), f" {name} ", flags[1], "--init-from"
        )
    moved = tmp_path / "moved.txt"
    moved.write_bytes(text_file.read_bytes())
    assert command("train", "--resume", run, "--data", moved, "--max-steps", 64)[0] == 0


def test_a_run_interrupted_repeatedly_equals_an_uninterrupted_one(
    whole, text_file, tmp_path, command
):
    """Twenty clean interruptions in this process."""
    from gluonlm.train import trainer

    run, real = tmp_path / "run", trainer.Trainer._step
    flags = ["--data", text_file, "--run", run, *FLAGS]
    try:
        for _ in range(20):

            def stopping(self, real=real):
                real(self)
                if self.progress.step % 3 == 2:
                    self.stop("interrupted")

            trainer.Trainer._step = stopping
            assert command("train", *flags)[0] == 130
            flags = ["--resume", run, "--quiet"]
    finally:
        trainer.Trainer._step = real
    assert command("train", *flags)[0] == 0
    assert_same_end(run, whole)


def test_a_run_that_ended_between_validations_resumes_exactly(whole, text_file, tmp_path, command):
    run, flags = tmp_path / "run", list(FLAGS)
    for end in (20, 33):
        flags[flags.index("--max-steps") + 1] = end
        begin = ["--resume", run] if run.exists() else ["--data", text_file, "--run", run]
        assert command("train", *begin, *flags)[0] == 0
        assert Run(run).load("last").progress["step"] == end
    assert command("train", "--resume", run, "--max-steps", 60, "--quiet")[0] == 0
    ours, theirs = Run(run).load("last"), Run(whole).load("last")
    assert all((ours.parameters[name] == array).all() for name, array in theirs.parameters.items())
    assert records(run) == records(whole)


def test_truncated_metrics_are_reported(whole, tmp_path, command):
    import shutil

    run = shutil.copytree(whole, tmp_path / "run")
    content = (run / "metrics.jsonl").read_bytes()
    (run / "metrics.jsonl").write_bytes(content[:200])
    code, _, err = command("train", "--resume", run, "--max-steps", 63, "--quiet")
    assert code == 0
    assert err.count("\n") == 1
    assert "metrics.jsonl" in err
    assert records(run)[0]["step"] == 4


def test_another_runs_weights_bring_their_text_settings(text_file, tmp_path, command):
    size = "--embed-size 4 --hidden-size 4 --batch-size 2 --seq-len 5 --max-steps 1 --quiet"
    first = ["--data", text_file, "--level", "word", "--lower", *size.split()]
    assert command("train", *first, "--run", tmp_path / "first")[0] == 0
    begin = ["--init-from", tmp_path / "first", "--data", text_file, "--max-steps", 1, "--quiet"]
    code, _, err = command("train", *begin, "--batch-size", 2, "--run", tmp_path / "second")
    assert (code, err) == (0, "")
    config = Run(tmp_path / "second").load("last").config
    assert (config.data.level, config.data.lower) == ("word", True)
    assert (config.model.embed_size, config.training.batch_size) == (4, 2)
    assert config.training.seq_len == 64  # not the other run's training settings
