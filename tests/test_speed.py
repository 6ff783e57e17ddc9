"""The arithmetic of the speed benchmark: operation counts and ratios."""

import importlib
import re
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT

SPEED = ROOT / "benchmarks" / "speed"
MODULES = ("workloads", "rounds", "tables", "sgemm")


@pytest.fixture
def speed(monkeypatch):
    """Load the benchmark's modules by name, without running it."""
    monkeypatch.syspath_prepend(str(SPEED))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    modules = {name: importlib.import_module(name) for name in MODULES}
    spec = importlib.util.spec_from_file_location("speed_main", SPEED / "__main__.py")
    modules["main"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(modules["main"])
    yield SimpleNamespace(**modules)
    for name in MODULES:
        sys.modules.pop(name)


def record(seconds, peak=300, libraries=200):
    return [{"seconds": seconds, "peak": peak * 2**20, "libraries": libraries * 2**20}] * 3


NAME = "train ptb 256-128"
SIDES = {
    "ours": record(0.1, 300, 200),
    "eager": record(0.2, 200, 160),
    "plain": record(0.18),
    "malloc threads=1": record(0.15),
    "tutorial": record(0.4),
}
FOUND = {(NAME, side): records for side, records in SIDES.items()}
KNOWN = {"encode": 509.0, "rnn_batch": 2e-6, "first step": 2.6, "import": 0.2}
EXTRAS = {**KNOWN, **{f"step {size}": 0.055 for size in (1, 10, 100)}}


def sgemm(*rates):
    return {**EXTRAS, "sgemm": dict(zip(("FullyConnected", "nd.dot", "NumPy", "PyTorch"), rates))}


def test_operations_count_the_matrix_products(speed):
    workloads = speed.workloads.WORKLOADS
    forward = 2 * 1200 * (4 * 256 * (200 + 256) + 4 * 128 * (256 + 128) + 128 * 10_000)
    assert workloads[NAME].tokens == 1200
    assert workloads[NAME].operations() == 3 * forward
    assert workloads["generate gru 2x256"].operations() == 2 * (
        3 * 256 * (128 + 256 + 256 + 256) + 256 * 85
    )
    unrolled = workloads["train unrolled 256"]
    assert unrolled.tokens == 32
    assert unrolled.operations() == 3 * 2 * 32 * (3 * 30 * 256 + 2 * 256 * 256 + 256 * 85)


def test_a_ratio_above_one_means_faster_and_targets_are_shown(speed):
    (row,) = speed.tables.speed_rows(FOUND, [NAME])
    assert row == f"| {NAME} | 12,000 | 8,000 | **1.50** (≥ 1.2) | 2.00 | 4.00 (≥ 2) |"
    (row,) = speed.tables.peer_rows(FOUND, [NAME])
    assert row == f"| {NAME} | malloc, threads=1 | 100.00 / 150.00 / 200.00 |"


def test_memory_is_shown_with_and_without_libraries(speed):
    done = speed.workloads.WORKLOADS[NAME].operations() / 0.1
    (row,) = speed.tables.limit_rows(FOUND, [NAME], 2 * done)
    cells = ["300 / 200 = 1.50 (≤ 1)", "100 / 40 = 2.50", f"{done / 1e9:.1f} (50%)"]
    assert row == f"| {NAME} | {' | '.join(cells)} |"
    large = "train char lstm 2x1000"
    found = {(large, side): records for side, records in SIDES.items()}
    (row,) = speed.tables.limit_rows(found, [large], 1e13)
    assert row.endswith("%, ≥ 75%) |")


def test_pytorch_at_its_best_is_its_fastest_way_including_eager(speed):
    best = speed.tables.best_peer
    assert (
        best({"ours": 1, "tutorial": 1, "eager": 4, "malloc": 3, "malloc compile": 5}) == "malloc"
    )
    assert best({"ours": 9, "eager": 4, "malloc": 5}) == "eager"


def test_every_way_is_tried_with_fewer_threads_too(speed):
    tried = speed.rounds.ways("train", 4)
    assert tried[:3] == ["plain", "plain threads=1", "plain threads=2"]
    assert len(tried) == 9
    assert "products compile threads=1" in speed.rounds.ways("generate", 2)
    assert not any("threads" in way for way in speed.rounds.ways("score", 1))


def test_the_fastest_ways_in_the_trials_are_measured(speed, monkeypatch):
    taken = {"plain": 3.0, "malloc": 1.0, "malloc compile": 2.0}

    def run(script, name, *words, timeout=None):
        assert script == "expert.py"
        assert name == "score gru 2x256"
        assert bool(timeout) == ("compile" in words)
        return {"seconds": taken[" ".join(words)]}

    monkeypatch.setattr(speed.rounds, "run", run)
    monkeypatch.setattr(speed.rounds.os, "sched_getaffinity", lambda process: {0})
    commands = speed.rounds.sides("score gru 2x256", lambda line: None)
    assert list(commands) == ["ours", "eager", "tutorial", "malloc", "malloc compile"]
    assert commands["malloc compile"] == ["expert.py", "score gru 2x256", "malloc", "compile"]


def test_only_compiled_trials_may_fail_or_time_out(speed, monkeypatch):
    for error in (SystemExit("no compiler"), subprocess.TimeoutExpired("expert.py", 1)):

        def run(*command, error=error, timeout=None):
            raise error

        monkeypatch.setattr(speed.rounds, "run", run)
        assert speed.rounds.trial("score gru 2x256", "malloc compile") == float("inf")
        with pytest.raises(type(error)):
            speed.rounds.trial("score gru 2x256", "malloc")


def test_the_peak_is_the_fastest_product_of_any_library_in_any_round(speed):
    rates = speed.tables.limits([sgemm(4e11, 1e11, 2e11, 1e11), sgemm(3e11, 5e11, 2e11, 1e11)])
    assert rates == {"FullyConnected": 4e11, "nd.dot": 5e11, "NumPy": 2e11, "PyTorch": 1e11}


def test_the_rate_of_a_product_is_measured_at_its_fastest_call(speed, monkeypatch):
    now = iter([0.0, 4.0, 10.0, 11.0, 20.0, 22.0, 30.0, 33.0])
    monkeypatch.setattr(speed.sgemm, "SIZES", (100,))
    monkeypatch.setattr(speed.sgemm.time, "perf_counter", lambda: next(now))
    assert speed.sgemm.fastest(lambda size: lambda: None) == 2 * 100**3 / 1.0


@pytest.mark.parametrize("share", (0.9, 1.1))
def test_a_share_above_one_is_one_line_and_writes_nothing(speed, monkeypatch, share):
    peak = speed.tables.speed(FOUND, NAME) / share
    written = []
    monkeypatch.setattr(speed.main, "measure", lambda *given: (FOUND, [sgemm(peak, 1, 1, 1)]))
    monkeypatch.setattr(speed.main, "write", lambda text, picture: written.append(picture))
    monkeypatch.setattr(speed.tables, "version", lambda name: "1")
    monkeypatch.setattr(sys, "argv", ["speed", "--only", NAME, "--write"])
    monkeypatch.setenv("TMPDIR", "before")
    if share < 1:
        speed.main.main()
        assert len(written) == 1
        assert written[0].startswith(b"\x89PNG")
    else:
        with pytest.raises(SystemExit, match=rf" 100 % .*: {NAME}$"):
            speed.main.main()
        assert not written


def test_ids_follow_zipfs_law_and_are_the_same_for_every_side(speed):
    ids = speed.workloads.WORKLOADS[NAME].ids(200_000)
    assert ids.dtype == np.int32
    assert ids.min() >= 0
    assert ids.max() < 10_000
    assert np.array_equal(ids, speed.workloads.zipf(10_000, 200_000))
    counts = Counter(ids.tolist())
    for rank in (2, 4, 8):
        assert counts[0] / counts[rank - 1] == pytest.approx(rank, rel=0.1)


def test_a_checkpoint_is_written_after_warming_up_and_before_the_timed_steps(speed):
    calls = []
    work = SimpleNamespace(warm_up=2, steps=3)
    taken = speed.workloads.clock(
        lambda: calls.append("step"), work, 5, lambda: calls.append("save")
    )
    assert calls == ["step"] * 2 + ["save"] + ["step"] * 3
    assert taken["libraries"] == 5
    assert taken["peak"] >= 2**20
    assert taken["seconds"] >= 0
    assert all(work.warm_up > 1 for work in speed.workloads.WORKLOADS.values())


def test_the_tables_fit_the_page_and_replace_the_old_ones(speed, monkeypatch, tmp_path):
    names = list(speed.workloads.WORKLOADS)
    figures = record(0.0123, 1408)
    found = {(name, side): figures for name in names for side in ("ours", "eager")}
    for name in names:
        found[name, "products compile threads=1"] = record(0.0122)
        if speed.workloads.WORKLOADS[name].tutorial:
            found[name, "tutorial"] = record(2.3)
    monkeypatch.setattr(speed.tables, "version", lambda name: "2.13.0+cpu")
    text = speed.tables.table(found, [sgemm(4.74e11, 1e11, 2.44e11, 1.59e11)], names, 5)
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("\n| train ") == 18
    assert "FullyConnected 474, nd.dot 100, NumPy 244, PyTorch 159; the peak" in " ".join(
        text.split()
    )
    assert "| a step of 32 x 64 on a corpus of | 1 MB 55 ms, 10 MB 55 ms, 100 MB 55 ms |" in text
    page = tmp_path / "performance.md"
    page.write_text("before\n<!-- measured -->\nold\n<!-- end -->\nafter\n")
    monkeypatch.setattr(speed.tables, "DOCUMENT", page)
    readme = tmp_path / "README.md"
    readme.write_text("- before\n  <!-- speed -->\n  old\n  <!-- end -->\n- after\n")
    monkeypatch.setattr(speed.tables, "README", readme)
    (tmp_path / "curves").mkdir()
    speed.tables.write(text, b"a picture")
    assert (tmp_path / "curves" / "speed.png").read_bytes() == b"a picture"
    assert page.read_text() == f"before\n<!-- measured -->\n{text}\n<!-- end -->\nafter\n"
    first, begin, *lines, end, last = readme.read_text().splitlines()
    assert (first, begin, end, last) == (
        "- before",
        "  <!-- speed -->",
        "  <!-- end -->",
        "- after",
    )
    assert all(line.startswith("  ") and len(line) <= 100 for line in lines)
    assert "at 1.00 times the speed of eager PyTorch and at 0.99 times the" in " ".join(
        " ".join(lines).split()
    )


PART = """<!-- measured -->
2 processors, A, avx2; Python 3.11.7, MXNet 1.9.1,
PyTorch 2.13.0+cpu; runs of each side: 3

| workload | ours, tokens/s | PyTorch at best | ratio (bar) | eager | tutorials (bar) |
|---|---|---|---|---|---|
{}
<!-- end -->"""
ROWS = {
    "train char lstm 2x1000": "| 2,025 | 2,169 | **0.93** (≥ 1.2) | 1.13 | 2.46 |",
    "train char gru 2x256": "| 35,519 | 18,328 | **10.94** (≥ 1.7) | 11.99 | 2.49 |",
    "train unrolled 256": "| 23,637 | 30,273 | **0.78** (≥ 1) | 0.99 | 2.41 (≥ 2) |",
    "score lstm 2x256": "| 92,988 | 93,692 | **0.09** (≥ 1.1) | 99.02 | 2.11 |",
}


def measured_part(*names):
    return PART.format("\n".join(f"| {name} {ROWS[name]}" for name in names))


def test_the_summary_has_the_range_of_the_training_steps(speed):
    about = "(2 processors, A, avx2, PyTorch 2.13.0; [all figures](docs/performance.md))."
    best = "PyTorch at its best"
    assert speed.tables.summary(measured_part(*ROWS)) == (
        "LSTM and GRU training steps run at 1.13 to 11.99 times the speed of eager PyTorch and "
        f"at 0.93 to 10.94 times the speed of {best}; unrolled training steps run at 0.99 times "
        f"the speed of eager PyTorch and at 0.78 times the speed of {best} {about}"
    )
    assert speed.tables.summary(measured_part("train unrolled 256")) == (
        "unrolled training steps run at 0.99 times the speed of eager PyTorch and at 0.78 times "
        f"the speed of {best} {about}"
    )


def test_a_part_without_training_leaves_the_readme_unchanged(speed, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- speed -->\nold\n<!-- end -->\n")
    speed.tables.update_readme(readme, measured_part("score lstm 2x256"))
    assert readme.read_text() == "<!-- speed -->\nold\n<!-- end -->\n"


def test_the_readmes_speed_figures_match_the_performance_page(speed):
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    table = page.split("<!-- measured -->")[1].split("<!-- end -->")[0].split("\n\n")[1]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    expected = []
    for recurrent in (True, False):
        chosen = [
            row for row in rows if row[0][:5] == "train" and ("unrolled" not in row[0]) == recurrent
        ]
        for column in (4, 3):  # eager, then PyTorch at its best
            ratios = [float(row[column].split(" ")[0].strip("*")) for row in chosen]
            expected += sorted({min(ratios), max(ratios)})
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, sentence, after = re.split(
        r"<!-- speed -->(.*?)<!-- end -->", readme, maxsplit=1, flags=re.DOTALL
    )
    figures = sentence.split("(")[0]
    assert [float(figure) for figure in re.findall(r"\d+\.\d+", figures)] == expected
    assert sentence.split() == speed.tables.summary(page).split(), "benchmarks/speed/tables.py"
    assert not re.search(r"eager|at its best|times as fast|\d µs", before + after)


def test_updating_the_readme_again_has_no_effect(speed, tmp_path):
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    readme = tmp_path / "README.md"
    readme.write_bytes((ROOT / "README.md").read_bytes())
    speed.tables.update_readme(readme, page)
    assert readme.read_bytes() == (ROOT / "README.md").read_bytes()


def test_the_users_variables_do_not_reach_the_processes(speed, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MXNET_ENGINE_TYPE", "MALLOC_ARENA_MAX", "GLUONLM_MALLOC"):
        monkeypatch.setenv(name, "1")
    assert not [
        name
        for name in speed.rounds.environment()
        if name.startswith(("OMP_", "MXNET_", "MALLOC_", "GLUONLM_"))
    ]


def steps_and_segment(expert, model, work, kind):
    """Return the logits of a few tokens, by an expert step by step and by the layers at once."""
    import torch

    ids = torch.from_numpy(np.random.default_rng(0).integers(0, work.vocab, (6, work.batch)))
    stepper, state, one_by_one = kind(work, model).eval(), expert.beginning(work, kind), []
    with torch.inference_mode():
        whole, _ = model(ids, [None])
        for row in ids:
            logits, state = stepper(row, state)
            one_by_one.append(logits)
    return torch.stack(one_by_one).numpy(), whole.numpy()


@pytest.mark.parametrize("model", ["gru", "lstm"])
@pytest.mark.parametrize("way", ["Stacked", "Products"])
def test_an_experts_steps_agree_with_the_network(speed, model, way):
    pytest.importorskip("torch")  # installed only by `make bench`
    expert, peer = importlib.import_module("expert"), importlib.import_module("peer")
    work = speed.workloads.GENERATE(model, (8, 8), 4, 0, vocab=11, batch=3)
    model, kind = peer.build(work).eval(), getattr(expert, way)
    ours, theirs = steps_and_segment(expert, model, work, kind)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_an_experts_joined_products_agree_with_the_unrolled_network(speed):
    torch = pytest.importorskip("torch")
    expert, peer = importlib.import_module("expert"), importlib.import_module("peer")
    work = speed.workloads.TRAIN("unrolled", (8,), 4, 0, vocab=11, batch=5)
    model, ids = peer.build(work), torch.arange(15).reshape(3, 5) % 11
    plain = model(ids, [])[0]
    model.__class__ = expert.Joined
    assert torch.allclose(model(ids, [])[0], plain, atol=1e-6)
