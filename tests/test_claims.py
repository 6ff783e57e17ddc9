"""The lessons' comparisons of networks also hold on other texts."""

import matplotlib
import nbformat
import numpy as np
import pytest
from conftest import ROOT

from gluonlm.evaluate.counting import counting_losses

DRAWS = "(7, 8)"  # the lesson uses 1, 2 and 3


@pytest.fixture(autouse=True)
def at_reading_quality(monkeypatch):
    monkeypatch.delenv("GLUONLM_TUTORIAL", raising=False)
    matplotlib.use("Agg")


def run_cells(lesson, until, change=lambda source: source):
    """Run the cells of a lesson until a name is assigned; return their variables."""
    names: dict = {}
    for cell in nbformat.read(ROOT / "tutorials" / lesson, as_version=4).cells:
        if cell.cell_type == "code":
            exec(change(cell.source), names)
        if until in names:
            return names
    raise AssertionError(f"{lesson} assigns no {until}")


@pytest.mark.full
def test_over_long_gaps_the_gru_predicts_the_country_and_the_plain_rnn_does_not():
    lesson = "06-rnn-lstm-gru.ipynb"
    names = run_cells(lesson, "found", lambda source: source.replace("(1, 2, 3)", DRAWS))
    found, losses = names["found"], names["losses"]
    assert len(found) == 6
    assert len(losses) == 12
    for (kind, _), accuracy in found.items():
        if kind == "gru":
            assert min(accuracy) > 0.98
        if kind == "rnn":
            assert max(accuracy[2:]) < 0.6  # from 16 fillers on
    mean = {kind: np.mean([loss for key, loss in losses.items() if key[0] == kind])
            for kind in ("rnn", "lstm", "gru")}  # fmt: skip
    assert mean["gru"] < 0.1 * mean["lstm"]
    assert mean["gru"] < 0.1 * mean["rnn"]


@pytest.mark.full
def test_a_gru_remembers_one_country_but_only_attention_finds_those_of_many_people():
    lesson = "18-attention.ipynb"
    names = run_cells(lesson, "common", lambda source: source.replace("(1, 2)", DRAWS))
    best, found, trained = names["best"], names["found"], names["trained"]
    assert len(found) == 16
    for (kind, rate, draw), accuracy in found.items():
        assert draw in (7, 8)
        if rate == best[kind]:
            assert max(accuracy) < 0.5 if kind == "rnn" else min(accuracy) > 0.95
            learnt = trained[kind, rate, draw][1] is not None
            assert learnt == (kind != "rnn")
    assert len(names["remembered"]) == 8
    for (label, draw), right in names["remembered"].items():
        assert draw in (7, 8)
        if "attention" in label:
            assert min(right) > 0.95
        else:
            assert np.all(np.subtract(right, names["common"])[1:] < 0.06)


@pytest.mark.full
def test_a_cache_and_dynamic_evaluation_help_most_together_on_repetitive_text():
    lesson = "21-memory-at-test-time.ipynb"
    names = run_cells(lesson, "scores", lambda source: source.replace("seed=1", "seed=7"))
    mean = {label: nats.mean() for label, nats in names["scores"].items()}
    assert len(mean) == 4
    assert names["model"]
    assert mean["both"] < min(mean["cache"], mean["learning"]) - 0.02
    assert max(mean["cache"], mean["learning"]) < mean["static"] - 0.1


@pytest.mark.full
def test_an_lstm_needs_its_forget_and_output_gates_but_may_couple_gates():
    names = run_cells("10-variants.ipynb", "figure", lambda source: source.replace("(1, 2)", DRAWS))
    assert names["seeds"] == (7, 8)
    mean = {cell: np.mean(values) for cell, values in names["results"].items()}
    assert mean["no_forget_gate"] > mean["lstm"] + 0.05
    assert mean["no_output_gate"] > mean["lstm"] + 0.1
    assert abs(mean["coupled_gates"] - mean["lstm"]) < 0.15
    assert max(mean[cell] for cell in mean if "gru" in cell) < mean["lstm"]


@pytest.mark.full
def test_dropout_of_each_kind_and_an_average_lower_the_best_epoch():
    lesson = "09-regularising.ipynb"
    names = run_cells(lesson, "results", lambda source: source.replace("(1, 2)", DRAWS))
    assert names["seeds"] == (7, 8)
    best = {label: np.mean(parts[0]) for label, parts in names["results"].items()}
    texts = names["train_ids"], names["valid_ids"], len(names["corpus"].vocab)
    counted = counting_losses(*texts).mean() / np.log(2)
    for label in ("dropout 0.3", "one mask for all steps", "weight drop 0.3"):
        assert best[label] < best["nothing"] - 0.03
        assert best[label] < counted
    assert best["averaged"] < best["nothing"]


@pytest.mark.full
@pytest.mark.parametrize("seed", [7, 8])
def test_no_window_is_better_than_reading_once_and_the_text_hardly_drifts(seed):
    def other(source):
        return source.replace("seed=1)", f"seed={seed})").replace("rng(1)", f"rng({seed})")

    names = run_cells("14-beam-search-and-drift.ipynb", "fall", other)
    fault, alone = np.transpose(names["found"])
    assert np.all(fault < alone + 0.005)  # carrying the state wrongly is better than no state
    assert np.all(fault[:2] > names["once"] + 0.1)
    assert np.all(alone > names["once"] - 0.01)
    own, real = (np.array(names["shares"][label]) for label in ("its own text", "real text"))
    assert own.shape == real.shape == (20, 400)
    drift = own[:, :50].mean() - own[:, 50:].mean()
    assert abs(drift) < 0.08
    assert real[:, :50].mean() - own[:, :50].mean() > drift


@pytest.mark.full
@pytest.mark.parametrize("seed", [7, 8])
def test_a_cell_and_a_probe_know_whether_a_quotation_is_open(seed):
    lesson = "22-inside-the-network.ipynb"
    names = run_cells(lesson, "others", lambda source: source.replace("seed=1)", f"seed={seed})"))
    assert names["told"] - 0.5 > max(names["shifted"])
    assert names["fair"] > 0.7
    assert names["inside_gain"] > 0.1 > names["late_gain"]
    assert names["held"][names["best"]] < 0.8 * names["free"]
    by_place = names["by_place"]
    assert by_place[0] - 1 > by_place[1] > by_place[3]


@pytest.mark.full
def test_subwords_beat_words_with_spelling_which_beat_characters():
    lesson = "16-subwords.ipynb"
    names = run_cells(lesson, "from_zeros", lambda source: source.replace("(1, 2)", DRAWS))
    results = names["results"]
    assert max(results["2,000 subwords"]) < min(results["3,000 words"]) - 0.02
    assert max(results["3,000 words"]) < min(results["characters"]) - 0.05
    assert names["from_zeros"] > names["from_frequencies"] + 0.2


@pytest.mark.full
@pytest.mark.parametrize("seed", [7, 8])
def test_predicting_at_every_step_and_carrying_the_state_help(seed):
    def other(source):
        return source.replace("seed=1", f"seed={seed}")

    names = run_cells("03-unrolled-rnn.ipynb", "curves", other)
    assert names["curves"][16][-1] < names["curves"][1][-1] - 0.1
    names = run_cells("04-batches-through-time.ipynb", "windowed", other)
    carried, thrown_away, windowed = (
        names[name][names["late"]].mean() for name in ("with_state", "without", "windowed")
    )
    assert carried < thrown_away - 0.1 < windowed - 0.4


@pytest.mark.full
@pytest.mark.parametrize("seed", [7, 8])
def test_a_tiny_clip_slows_gradient_descent_but_not_adam(seed):
    def other(source):
        return source.replace("seed=1", f"seed={seed}")

    late_loss = run_cells("07-training.ipynb", "late_loss", other)["late_loss"]
    for optimizer, lr in (("adam", 0.01), ("sgd", 1.0)):
        usual, tiny = (late_loss(optimizer=optimizer, lr=lr, clip=clip) for clip in (0.5, 0.0005))
        assert tiny - usual > 0.5 if optimizer == "sgd" else tiny - usual < 0.1


@pytest.mark.full
def test_attention_writes_unseen_dates_and_distance_not_reversal_hurts_the_state():
    lesson = "19-sequence-to-sequence.ipynb"
    names = run_cells(lesson, "by_length", lambda source: source.replace("(1, 2)", DRAWS))
    found, judged, by_length = names["found"], names["judged"], names["by_length"]
    assert set(found) == {(kind, seed) for kind in ("attention", "state") for seed in (7, 8)}
    for (kind, seed), exact in found.items():
        assert min(exact) > 0.5 if kind == "attention" else max(exact) < 0.1
        forced, own, *_ = judged[kind, seed]
        assert forced >= own
        assert kind == "attention" or forced > 0.6
    for seed in (7, 8):
        attention, state, reversed_source = (
            np.array([by_length[("words", kind, seed), length] for length in names["asked"]])
            for kind in names["sizes"])  # fmt: skip
        assert min(attention[:8]) > 0.9
        assert attention[7] > state[7] + 0.4
        assert state[:8].mean() > reversed_source[:8].mean() + 0.05
        assert max(attention[-2:]) < 0.2


@pytest.mark.full
def test_the_range_test_suggests_a_better_rate_than_a_tenth_or_ten_times_it():
    def other(source):
        for lesson, draw in ((1, 7), (2, 8)):
            source = source.replace(f'({lesson}, "tab:', f'({draw}, "tab:')
        return source.replace("(1, 2)", DRAWS)

    ends = run_cells("07-training.ipynb", "ends", other)["ends"]
    assert max(ends[1]) < min(ends[0.1] + ends[10])


@pytest.mark.full
def test_a_network_overfits_a_short_text():
    lesson = "08-validation-and-checkpoints.ipynb"
    over = run_cells(lesson, "over", lambda source: source.replace("(1, 2)", DRAWS))["over"]
    assert set(over) == {7, 8}
    for train, valid in over.values():
        assert train[-1] < valid.min() < valid[-1] - 0.5


@pytest.mark.full
def test_a_higher_temperature_copies_fewer_names_of_colours():
    lesson = "13-generating.ipynb"
    shares = run_cells(lesson, "shares", lambda source: source.replace("(1, 2)", DRAWS))["shares"]
    for seed in (7, 8):
        copied, _, unknown = np.transpose([shares[heat, seed] for heat in (0.5, 1.0, 1.5)])
        assert np.all(np.diff(copied) < 0)
        assert np.all(np.diff(unknown) > 0)
