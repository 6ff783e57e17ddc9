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
def test_only_a_state_finds_the_bracket_outside_a_window():
    lesson = "01-why-order-matters.ipynb"
    names = run_cells(lesson, "longer", lambda source: source.replace("(1, 2)", DRAWS))
    assert len(names["accuracy"]) == 8
    windows = {"bag": 0, "window": 4, "convolution": 5, "recurrent": 11}
    for (label, seed), accuracy in names["accuracy"].items():
        assert seed in (7, 8)
        inside = windows[label]
        assert min(accuracy[:inside], default=1) > 0.9
        assert max(accuracy[inside : inside + 3], default=0) < 0.7
    for (length, seed), right in names["longer"].items():
        assert seed in (7, 8)
        assert right > 0.9 if length == 12 else length < 24 or right < 0.8


@pytest.mark.full
def test_over_long_gaps_the_gru_predicts_the_country_and_the_plain_rnn_does_not():
    lesson = "06-rnn-lstm-gru.ipynb"
    names = run_cells(lesson, "initial", lambda source: source.replace("(1, 2, 3)", DRAWS))
    found, losses = names["found"], names["losses"]
    assert len(found) == 6
    assert len(losses) == 12
    for (kind, _), accuracy in found.items():
        if kind == "gru":
            assert min(accuracy) > 0.98
        if kind == "rnn":
            assert max(accuracy[2:]) < 0.6  # from 16 fillers on
    for label in ("orthogonal", "identity"):  # nor do other initial matrices change that
        assert max(names["initial"]["rnn", label]) < 0.6
        assert min(names["initial"]["gru", label]) > 0.98
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
def test_an_lstm_needs_both_gates_and_no_cell_reaches_a_table_of_three_characters():
    names = run_cells("10-variants.ipynb", "figure", lambda source: source.replace("(1, 2)", DRAWS))
    assert names["seeds"] == (7, 8)
    mean = {cell: np.mean(values) for cell, values in names["results"].items()}
    assert mean["no_forget_gate"] > mean["lstm"] + 0.05
    assert mean["no_output_gate"] > mean["lstm"] + 0.1
    assert abs(mean["coupled_gates"] - mean["lstm"]) < 0.15
    assert max(mean["gru"], mean["gru_reset_before"]) < mean["lstm"]
    counted, _ = names["tables"][3]  # from the characters that the networks read
    assert counted < min(min(values) for values in names["results"].values())


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
    assert names["table"].mean() / np.log(2) < names["curves"][16][-1] - 0.3  # counting is ahead
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
def test_stacked_layers_need_residual_connections_and_a_start_decides_the_memory():
    lesson = "11-depth-and-initialisation.ipynb"

    def other(source):
        source = source.replace("else (1, 2), 0.03", "else (7, 8), 0.03")
        source = source.replace("else (1, 2, 3), {}", "else (7, 8, 9), {}")
        source = source.replace("log_p = ", "ended = {}\nlog_p = ")
        return source.replace("after = []", "after = ended[label] = []")

    names = run_cells(lesson, "ended", other)
    assert set(names["ended"]) == {"zeros", "log frequencies"}
    results, needed = names["results"], names["needed"]
    assert max(names["ended"]["log frequencies"]) < min(names["ended"]["zeros"]) - 0.2
    assert names["seeds"] == (7, 8)
    assert names["draws"] == (7, 8, 9)
    for depth in (2, 3):
        plain, residual = (results[depth, kind, 400] for kind in (False, True))
        assert max(residual) < min(plain) - 0.2
        assert min(plain) > max(results[1, False, 400]) + 0.1
    for label in ("tanh, gain 0.5", "ReLU, gain 1", "LSTM, bias 0", "LSTM, bias 1"):
        assert min(needed[label]) == 200, label  # the limit: not learnt
    for label in ("ReLU, identity", "LSTM, bias 3"):
        assert max(needed[label]) < 150, label


@pytest.mark.full
def test_mingru_learns_text_more_slowly_than_a_gru_and_does_not_learn_parity():
    lesson = "12-parallel-recurrence.ipynb"
    names = run_cells(lesson, "margins", lambda source: source.replace("(1, 2)", DRAWS))
    assert names["seeds"] == (7, 8)
    results, right, margins = names["results"], names["right"], names["margins"]
    assert min(results["minGRU"]) > max(results["GRU"]) + 0.05
    assert len(right) == 6
    for (kind, seed), accuracy in right.items():
        swings = np.diff(np.sign(margins[kind, seed])) != 0
        if kind == "GRU, parity":
            assert min(accuracy) > 0.98
            assert swings.all()
        else:
            assert accuracy[15] < 0.65
            assert accuracy[31] < 0.6
            assert swings.sum() < 10


@pytest.mark.full
def test_right_context_helps_a_tagger_and_a_network_forecasts_chaos_further():
    def other(source):
        return source.replace("(1, 2, 3)", DRAWS).replace("(1, 2)", DRAWS)

    names = run_cells("17-tags-and-series.ipynb", "floor", other)
    assert names["seeds"] == names["draws"] == (7, 8)
    f1 = {key: score[1] for key, score in names["scores"].items()}
    blind = max(f1["forward, delay 0", seed] for seed in (7, 8))
    assert min(f1["forward, delay 2", seed] for seed in (7, 8)) > blind + 0.05
    assert min(f1["both directions", seed] for seed in (7, 8)) > blind + 0.1
    assert names["bits"][True][:-1].mean() < 0.3 < names["bits"][False].mean() - 1
    assert names["bits"][True][-1] > names["bits"][False][-1]
    for draw in (7, 8):
        waves, chaos = (names["errors"][kind, draw] for kind in ("week", "Mackey-Glass"))
        assert np.all(waves["linear, direct"] < waves["GRU, direct"] + 0.01)
        assert chaos["linear, direct"][0] < chaos["GRU, direct"][0]
        assert np.all(chaos["GRU, direct"][2:] < 0.7 * chaos["linear, direct"][2:])


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
def test_the_range_test_excludes_rates_that_are_far_too_low():
    def other(source):
        for lesson, draw in ((1, 7), (2, 8)):
            source = source.replace(f'({lesson}, "tab:', f'({draw}, "tab:')
        return source.replace("(1, 2)", DRAWS)

    ends = run_cells("07-training.ipynb", "ends", other)["ends"]
    assert max(ends[1]) < min(ends[0.1]) - 0.3


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
    names = run_cells(lesson, "shares", lambda source: source.replace("(1, 2)", DRAWS))
    shares, networks = names["shares"], names["networks"]
    for seed in (7, 8):
        assert names["held_out_bits"](networks[seed]) < names["table"]
        copied, _, unknown = np.transpose([shares[heat, seed] for heat in (0.5, 1.0, 1.5)])
        assert np.all(np.diff(copied) < 0)
        assert np.all(np.diff(unknown) > 0)


@pytest.mark.full
@pytest.mark.parametrize("seed", [7, 8])
def test_a_network_of_words_beats_the_table_of_counts(seed):
    lesson = "15-words.ipynb"
    names = run_cells(lesson, "valid", lambda source: source.replace("seed=1)", f"seed={seed})"))
    assert names["history"][-1][2] < names["table"] - 10 < names["unigram"] - 100


@pytest.mark.full
@pytest.mark.parametrize("seed", [7, 8])
def test_the_mean_of_ten_random_truncations_is_closer_than_fixed_segments(seed):
    def other(source):
        return source.replace("default_rng(1)", f"default_rng({seed})")

    names = run_cells("05-back-propagation-through-time.ipynb", "off", other)
    assert names["off"][1] < names["fixed"]


@pytest.mark.full
def test_on_a_small_budget_a_gru_is_ahead_of_a_gpt_that_hardly_looks_back():
    def other(source):
        return source.replace("(1, 2))", f"{DRAWS})").replace("(long, 1)", "(long, 7)")

    names = run_cells("20-small-gpt.ipynb", "tables", other)
    gpt, gru, steps, long = (names[each] for each in ("GPT", "GRU", "steps", "long"))
    ended = {key: losses[key[1]] for key, (_, losses) in names["runs"].items()}
    assert len(ended) == 6
    gaps = [ended[gpt, steps, seed] - ended[gru, steps, seed] for seed in (7, 8)]
    assert min(gaps) > 0.25
    assert 0.1 < ended[gpt, long, 7] - ended[gru, long, 7] < gaps[0] + 0.05
    assert names["tables"][1] < ended[gpt, steps, 7] < names["tables"][0]
    by_place = [names["bits"](names["runs"][kind, long, 7][0], carry)
                for kind, carry in ((gpt, True), (gru, True), (gru, False))]  # fmt: skip
    at_start, at_end = ([losses[part].mean() for losses in by_place]
                        for part in (slice(1), slice(16, None)))  # fmt: skip
    assert at_start[2] > at_start[0] + 0.5 > at_start[1] + 1
    assert at_end[0] > at_end[1] + 0.1
    assert abs(by_place[0][4:16].mean() - at_end[0]) < 0.15
