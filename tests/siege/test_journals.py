"""Damaged and forged journals of searches: continued, or refused in one line; nothing hangs."""

import json
import os
import resource
import shutil
import time
from collections import Counter

import numpy as np
import pytest
from conftest import assert_refused
from test_fuzzed_checkpoints import forged_json

from gluonlm.config import Config
from gluonlm.system.errors import InputError, WriteError
from gluonlm.tune import __main__ as tune
from gluonlm.tune.runs import check_runs
from gluonlm.tune.study import LOG, Study, read_space

LONGEST = 5  # processor seconds to open a journal
SPACE = ["lr=0.001..0.5:log", "hidden_size=4/8,8", "batch_size=2..9"]
TRIALS = ((3.0, 2.5), (3.5,), (None,), (), (2.75, 2.25, 2.0))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A search whose trials have runs, and whose last trial was killed."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # thousands take a minute
    folder = tmp_path / "search"
    study = Study(folder, read_space(SPACE), {}, factor=2)
    for losses in TRIALS:
        trial = study.ask()
        for loss in losses:
            trial.report(loss)
        write_run(trial.folder, tune.read_values(trial.values), losses)
        trial.end(whole=len(losses) > 1)
    study.ask()
    study.close()
    return folder


def write_run(folder, settings, losses):
    """Write the files of a run that a search reads."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(Config.from_dict(settings).to_dict()))
    records = [dict(event="validation", epoch=1.0, valid_loss=loss) for loss in losses]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "metrics.jsonl").write_text(lines)


def trials(folder):
    """Open a search and begin its next trial; return values and losses of the ended ones."""
    study = Study(folder, read_space(SPACE), {}, factor=2)
    try:
        check_runs(study.outcomes(), tune.read_values)
        study.ask()
        return [(outcome.values, outcome.losses) for outcome in study.outcomes()]
    finally:
        study.close()


def changed_lines(content, random):
    """Return a journal with a line removed, repeated, exchanged or inserted from elsewhere."""
    lines = content.splitlines(keepends=True)
    one, other = (int(random.integers(len(lines))) for _ in range(2))
    how = random.integers(4)
    if how == 0:
        del lines[one]
    elif how == 1:
        lines.insert(one, lines[other])
    elif how == 2:
        lines[one], lines[other] = lines[other], lines[one]
    else:
        lines.insert(one, random.bytes(int(random.integers(40))))
    return b"".join(lines)


def changed_bytes(content, random):
    """Return a journal with one to three bytes changed."""
    content = bytearray(content)
    for _ in range(random.integers(1, 4)):
        content[random.integers(len(content))] = random.integers(256)
    return bytes(content)


def changed_values(content, random):
    """Return a journal with a line whose values are forged."""
    lines = content.splitlines()
    place = int(random.integers(len(lines)))
    lines[place] = forged_json(lines[place], random)
    return b"\n".join(lines) + b"\n"


def attack(number, seed, folder):
    """Open this many changed journals; return how many were refused, continued and shortened."""
    random, counts = np.random.default_rng(seed), Counter()
    content, whole = (folder / LOG).read_bytes(), trials(folder)
    for _ in range(number):
        change = (changed_lines, changed_bytes, changed_values)[random.integers(3)]
        changed = change(content, random)
        (folder / LOG).write_bytes(changed)
        begin = time.process_time()
        try:
            found = trials(folder)
        except InputError as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 1000
            assert (folder / LOG).read_bytes() in (changed, changed[: changed.rfind(b"\n") + 1])
            counts["refused"] += 1
        else:
            for (values, losses), (same, more) in zip(found, whole):
                assert (values, losses) == (same, more[: len(losses)]), changed
            counts["continued" if len(found) == len(whole) else "shortened"] += 1
        assert time.process_time() - begin < LONGEST, changed
    return counts


def test_a_journal_cut_at_any_byte_is_continued(folder, capfd):
    content, whole = (folder / LOG).read_bytes(), trials(folder)
    for size in range(len(content)):
        (folder / LOG).write_bytes(content[:size])
        found = trials(folder)
        assert found == whole[: len(found)]
        kept = content[: content.rfind(b"\n", 0, size) + 1]
        assert (folder / LOG).read_bytes().startswith(kept)
        assert capfd.readouterr().err.count("\n") == (kept != content[:size])
    print(f"{len(content)} journals cut: all were continued")


def test_forged_journals(folder):
    counts = attack(1000, 1, folder)
    print(f"1,000 forged journals: {dict(counts)}")
    assert counts["refused"] > 500


@pytest.mark.full
def test_twenty_thousand_forged_journals(folder):
    print(f"20,000 forged journals: {dict(attack(20_000, 2, folder))}")


@pytest.mark.parametrize(
    "record",
    [
        dict(trial=5, params=dict(lr=0.6, hidden_size="4", batch_size=2)),
        dict(trial=5, params=dict(lr=0.1, hidden_size="\x1b[2J", batch_size=2)),
        dict(trial=5, params=dict(lr=0.1, hidden_size="4", batch_size=2.0)),
        dict(trial=5, params=dict(lr=0.1, hidden_size="4")),
        dict(trial=5, losses=[1.0], complete=1),
        dict(trial=5, losses=[-1.0], complete=True),
        dict(trial=5, losses=[], complete=True),
        dict(trial=True, losses=[1.0], complete=True),
        dict(trial=5, losses=[1.0], complete=True, self=1),
        dict(op_code=4, worker_id="x", study_id=0),
        [],
    ],
)
def test_an_invalid_record_is_refused_with_the_number_of_its_line(record, folder):
    lines = (folder / LOG).read_text().splitlines()
    if "params" in record:
        lines.pop()
    lines.append(json.dumps(record))
    (folder / LOG).write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=rf"trials\.log: line {len(lines)} "):
        trials(folder)


def test_losses_and_settings_are_those_of_the_runs(folder):
    metrics, config = folder / "000" / "metrics.jsonl", folder / "000" / "config.json"
    before = metrics.read_text(), config.read_text()
    metrics.write_text(before[0].replace("2.5", "0.5"))
    with pytest.raises(InputError, match=r"000/metrics\.jsonl"):
        trials(folder)
    metrics.write_text(before[0] + before[0])  # trained further by the user
    settings = json.loads(before[1])
    config.write_text(json.dumps({**settings, "epochs": 99}))
    whole = trials(folder)
    config.write_text(json.dumps({**settings, "dropout": 0.5}))
    with pytest.raises(InputError, match=r"000/config\.json: dropout is 0\.5"):
        trials(folder)
    shutil.rmtree(folder / "000")  # removed by the user
    assert trials(folder) == whole
    os.symlink(folder / "001", folder / "000")
    with pytest.raises(InputError, match="000"):
        trials(folder)


def test_a_linked_or_oversized_journal_is_not_read(folder, tmp_path):
    log = folder / LOG
    os.link(log, tmp_path / "other")
    with pytest.raises(InputError, match=LOG):
        trials(folder)
    (tmp_path / "other").unlink()
    os.truncate(log, 200 * 2**30)
    with pytest.raises(InputError, match=LOG):
        trials(folder)
    log.rename(tmp_path / "other")
    log.symlink_to(tmp_path / "other")
    with pytest.raises(InputError, match=LOG):
        trials(folder)


def test_a_full_disk_leaves_the_journal_unchanged(folder):
    study = Study(folder, read_space(SPACE), {}, factor=2)
    trial, before = study.ask(), (folder / LOG).read_bytes()
    trial.report(2.0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 9, limits[1]))
    try:
        with pytest.raises(WriteError, match=LOG):
            trial.end(whole=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (folder / LOG).read_bytes() == before
    trial.end(whole=True)
    study.close()
    assert len(trials(folder)) == len(TRIALS) + 1


FLAGS = "--hidden-size 8 --embed-size 8 --batch-size 4 --seq-len 16 --epochs 1 --threads 1".split()
FLAGS += ["--try", "lr=0.001..0.05:log", "--trials", "2"]


def test_a_search_continues_after_a_kill_and_a_full_disk(tmp_path, text_file, command):
    search = [tmp_path / "s", "--data", text_file, *FLAGS]
    code, out, _ = command("tune", *search)
    assert code == 0
    log = tmp_path / "s" / LOG
    os.symlink(f"s/{LOG}", f"{log}.lock")  # left by Optuna's own journal
    log.write_bytes(log.read_bytes()[:-7])
    code, again, err = command("tune", *search)
    assert (code, again.splitlines()[1:]) == (0, out.splitlines()[2:])
    assert err.count("\n") == 1
    assert LOG in err


def test_an_interrupted_trial_with_other_settings_is_refused_and_kept(tmp_path, text_file, command):
    search = [tmp_path / "s", "--data", text_file, *FLAGS]
    assert command("tune", *search)[0] == 0
    log = tmp_path / "s" / LOG
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    shutil.rmtree(tmp_path / "s" / "001")
    shutil.copytree(tmp_path / "s" / "000", tmp_path / "s" / "001")
    before = log.read_bytes()
    code, _, err = command("tune", *search)
    assert_refused((code, "", err), tmp_path / "s" / "001", "lr")
    assert log.read_bytes() == before


def test_a_full_disk_is_not_a_rejected_trial(tmp_path, text_file, command, monkeypatch):
    import gluonlm.run.checkpoint as module

    def full(path, content):
        raise OSError(28, "No space left on device")

    search = [tmp_path / "s", "--data", text_file, *FLAGS]
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_file", full)
        assert_refused(command("tune", *search), "No space left on device")
    code, out, err = command("tune", *search)
    assert (code, err) == (0, "")
    assert "best of 2" in out
