"""The arithmetic of the speed benchmark: what is counted, and which way round the ratios are."""

import runpy
import sys

import pytest
from conftest import ROOT

SPEED = ROOT / "benchmarks" / "speed"


@pytest.fixture
def speed(monkeypatch):
    """The benchmark's names, without running it."""
    monkeypatch.syspath_prepend(str(SPEED))
    yield runpy.run_path(str(SPEED / "__main__.py"))
    sys.modules.pop("workloads")


def test_operations_are_those_of_the_matrix_products(speed):
    work = speed["WORKLOADS"]["train ptb 256-128"]
    forward = 2 * 1200 * (4 * 256 * (200 + 256) + 4 * 128 * (256 + 128) + 128 * 10_000)
    assert work.tokens == 1200 and work.operations() == 3 * forward
    assert speed["WORKLOADS"]["generate gru 2x256"].operations() == 2 * (
        3 * 256 * (128 + 256 + 256 + 256) + 256 * 85
    )
    unrolled = speed["WORKLOADS"]["train unrolled 256"]
    assert unrolled.tokens == 32 and unrolled.operations() == 3 * 2 * 32 * (
        3 * 30 * 256 + 2 * 256 * 256 + 256 * 85
    )


def test_a_ratio_above_one_means_that_ours_is_faster_and_bars_stand_beside(speed):
    def record(seconds, peak):
        return [{"seconds": seconds, "peak": peak * 2**20}] * 3

    name = "train ptb 256-128"
    sides = {
        "ours": record(0.1, 300),
        "peer": record(0.2, 200),
        "peer, malloc": record(0.15, 200),
        "tutorial": record(0.4, 100),
    }
    found = {(name, side): records for side, records in sides.items()}
    (row,) = speed["speed_rows"](found, [name])
    assert row == f"| {name} | 12,000 | 6,000 | **2.00** (≥ 1.3) | 1.50 | 4.00 (≥ 2) |"
    (row,) = speed["limit_rows"](found, [name], 2e11)
    done = speed["WORKLOADS"][name].operations() / 0.1
    share = f"{done / 1e9:.1f} ({100 * done / 2e11:.0f} %)"
    assert row == f"| {name} | 300 / 200 = 1.50 | {share} |"


def test_the_tables_keep_to_the_width_of_the_page_and_replace_those_before(
    speed, monkeypatch, tmp_path
):
    names = list(speed["WORKLOADS"])
    figure = {"seconds": 0.0123, "peak": 1408 * 2**20}
    sides = [(name, side) for name in names for side in speed["SIDES"]]
    found = {(name, side): [figure] for name, side in sides if speed["applies"](side, name)}
    known = {"sgemm": 1.21e11, "encode": 509.0, "rnn_batch": 2e-6, "first step": 2.6}
    extras = {**known, **{f"step {size}": 0.055 for size in (1, 10, 100)}}
    monkeypatch.setitem(speed["table"].__globals__, "version", lambda name: "2.13.0+cpu")
    text = speed["table"](found, [extras], names, 5)
    assert max(map(len, text.splitlines())) <= 100 and text.count("\n| train ") == 12
    assert "sides alternating; sgemm 2048 x 2048 in the same run: 121 GFLOP/s." in " ".join(
        text.split()
    )
    assert "| a step of 32 x 64 on a corpus of | 1 MB 55 ms, 10 MB 55 ms, 100 MB 55 ms |" in text
    page = tmp_path / "performance.md"
    page.write_text("before\n<!-- measured -->\nold\n<!-- end -->\nafter\n")
    monkeypatch.setitem(speed["write"].__globals__, "DOCUMENT", page)
    speed["write"](text)
    assert page.read_text() == f"before\n<!-- measured -->\n{text}\n<!-- end -->\nafter\n"


def test_nothing_the_user_has_set_reaches_the_processes(speed, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MXNET_ENGINE_TYPE", "MALLOC_ARENA_MAX", "GLUONLM_MALLOC"):
        monkeypatch.setenv(name, "1")
    assert not [
        name
        for name in speed["environment"]()
        if name.startswith(("OMP_", "MXNET_", "MALLOC_", "GLUONLM_"))
    ]
