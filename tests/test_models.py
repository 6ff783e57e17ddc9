"""The networks, against NumPy written from their equations, against finite differences, and against each other."""

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, nd
from mxnet.gluon import rnn

from gluonlm import stepper
from gluonlm.config import ModelConfig
from gluonlm.errors import InputError
from gluonlm.loss import cross_entropy
from gluonlm.models import Ensemble, RNNModel, UnrolledRNN, WindowModel, build_model

V, E, T, N = 11, 6, 5, 3


def make(kind="gru", sizes=(7,), **kwargs):
    return RNNModel(kind, V, E, sizes, **kwargs).prepare([mx.cpu()], "uniform:0.5", 3)


def random_ids(shape, seed=0):
    return nd.array(np.random.default_rng(seed).integers(0, V, shape), dtype="int32")


def weights(model):
    return {
        name: parameter.data().asnumpy().astype(np.float64)
        for name, parameter in model.parameters().items()
    }


def reference(kind, w, x, h, c, activation):
    """One step of one layer, straight from the equations (cuDNN's gate order)."""

    def s(a):
        return 1 / (1 + np.exp(-a))

    n, f = h.shape[1], {"tanh": np.tanh, "relu": lambda a: np.where(a > 0, a, 0)}[activation]
    gate = [slice(k * n, (k + 1) * n) for k in range(4)]

    def product(k, hidden=h):
        return x @ w["i2h_weight"][gate[k]].T + w["i2h_bias"][gate[k]], hidden @ w["h2h_weight"][
            gate[k]
        ].T + w["h2h_bias"][gate[k]]

    if kind == "rnn":
        return f(sum(product(0))), c
    if kind == "lstm":
        i, forget, g, o = (sum(product(k)) for k in range(4))
        c = s(forget) * c + s(i) * np.tanh(g)
        return s(o) * np.tanh(c), c
    r, z = s(sum(product(0))), s(sum(product(1)))
    of_input, of_hidden = product(2)
    new = np.tanh(of_input + r * of_hidden)
    return (1 - z) * new + z * h, c


def reference_logits(model, w, ids, state):
    """The whole network in NumPy: logits as the model gives them, and the final state."""
    if isinstance(model, WindowModel):
        return reference_window(model, w, ids), []
    if model.context:
        return reference_unrolled(w, ids), []
    each, state = len(state) // len(model.layers), list(state)
    outputs = []
    for row in ids:
        x = w.get("embedding.weight", w["decoder.weight"])[
            row
        ]  # tied: one matrix, under its first name
        for layer in range(len(model.layers)):
            own = {
                name.split(".")[2]: value
                for name, value in w.items()
                if name.startswith(f"layers.{layer}.")
            }
            held = state[layer * each : (layer + 1) * each]
            new = reference(model.kind, own, x, held[0], held[-1], model.activation)
            state[layer * each : (layer + 1) * each] = new[:each]
            x = new[0]
        outputs.append(x @ w["decoder.weight"].T + w["decoder.bias"])
    return np.concatenate(outputs), state


def reference_unrolled(w, ids):
    """The published three-character network for any number of tokens."""

    def read(embedded):
        return np.maximum(embedded @ w["i2h.weight"].T + w["i2h.bias"], 0)

    first, *others = w["embedding.weight"][ids]
    hidden = read(first)
    for embedded in others:
        hidden = np.maximum(hidden @ w["h2h.weight"].T + w["h2h.bias"], 0) + read(embedded)
    return hidden @ w["decoder.weight"].T + w["decoder.bias"]


def reference_window(model, w, ids):
    """One LSTM over the window, from zeros; its last output."""
    see = {
        "onehot": np.eye(V),
        "real": np.arange(V)[:, None] / V,
        "embedding": w.get("embedding.weight"),
    }[model.representation]
    own = {name.split(".")[1]: value for name, value in w.items() if name.startswith("lstm.")}
    h = c = np.zeros((ids.shape[1], 7))
    for row in ids:
        h, c = reference("lstm", own, see[row], h, c, "tanh")
    return h @ w["decoder.weight"].T + w["decoder.bias"]


def make_window(representation):
    return WindowModel(V, 7, T, representation, E).prepare([mx.cpu()], "uniform:0.5", 3)


MODELS = {
    "rnn": lambda: make("rnn", (7,)),
    "rnn relu": lambda: make("rnn", (7, 4), activation="relu"),
    "rnn 3": lambda: make("rnn", (5, 7, 5)),
    "lstm": lambda: make("lstm", (7,)),
    "lstm 2": lambda: make("lstm", (7, 4)),
    "lstm 3": lambda: make("lstm", (5, 7, 5)),
    "gru": lambda: make("gru", (7,)),
    "gru 2 tied": lambda: make("gru", (7, E), tie_weights=True),
    "gru 3": lambda: make("gru", (5, 7, 5)),
    "unrolled": lambda: UnrolledRNN(V, E, 7).prepare([mx.cpu()], "uniform:0.5", 3),
    "unrolled 5": lambda: UnrolledRNN(V, E, 7, T).prepare([mx.cpu()], "uniform:0.5", 3),
    "window onehot": lambda: make_window("onehot"),
    "window real": lambda: make_window("real"),
    "window embedding": lambda: make_window("embedding"),
}


def some_input(model):
    """Ids, targets and a state that is not zero; biases are not either, since relu has no slope at zero."""
    for name, parameter in model.parameters().items():
        if name.endswith("bias"):
            parameter.set_data(
                nd.array(np.random.default_rng(len(name)).uniform(-0.5, 0.5, parameter.shape))
            )
    ids = random_ids((model.context or T, N))
    targets = random_ids(N if model.context else T * N, 1)
    mx.random.seed(1)
    return ids, targets, [nd.random.normal(shape=array.shape) for array in model.begin_state(N)]


@pytest.mark.parametrize("name", MODELS)
def test_models_follow_their_equations_and_carry_their_state(name):
    model = MODELS[name]()
    ids, _, state = some_input(model)
    logits, final = model(ids, state)
    expected, expected_state = reference_logits(
        model,
        weights(model),
        ids.asnumpy(),
        [array.asnumpy()[0].astype(np.float64) for array in state],
    )
    np.testing.assert_allclose(logits.asnumpy(), expected, atol=1e-5)
    assert len(final) == len(expected_state)
    for got, want in zip(final, expected_state):
        np.testing.assert_allclose(got.asnumpy()[0], want, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_agree_with_finite_differences_of_the_equations(name):
    model = MODELS[name]()
    ids, targets, state = some_input(model)
    with autograd.record():
        logits, _ = model(ids, state)
    logits.backward(cross_entropy(logits, targets)[1])
    exact, rows = weights(model), np.arange(targets.size)
    state = [array.asnumpy()[0].astype(np.float64) for array in state]

    def loss(changed):
        logits, _ = reference_logits(model, {**exact, **changed}, ids.asnumpy(), state)
        return (np.log(np.exp(logits).sum(axis=1)) - logits[rows, targets.asnumpy()]).sum()

    random, step = np.random.default_rng(0), 1e-6
    for parameter_name, parameter in model.parameters().items():
        gradient = parameter.grad().asnumpy().astype(np.float64)
        for _ in range(5):
            direction = random.normal(size=gradient.shape)
            sides = [
                loss({parameter_name: exact[parameter_name] + sign * step * direction})
                for sign in (1, -1)
            ]
            slope = (sides[0] - sides[1]) / (2 * step)
            assert slope == pytest.approx((gradient * direction).sum(), rel=1e-5, abs=1e-5), (
                parameter_name
            )


@pytest.mark.parametrize("context", [1, 3, 8])
def test_unrolled_network_with_the_sum_inside_is_the_fused_one(context):
    unrolled = UnrolledRNN(V, E, 7, context, activation="tanh", fold=True).prepare(
        [mx.cpu()], "uniform:0.5", 3
    )
    fused = rnn.RNN(7, activation="tanh", input_size=E)
    fused.initialize()
    for name, parameter in unrolled.parameters().items():
        if name.startswith(("i2h", "h2h")):
            getattr(fused, "l0_" + name.replace(".", "_")).set_data(parameter.data())
    ids = random_ids((context, N))
    hidden = fused(unrolled.embedding(ids), fused.begin_state(N))[0][-1]
    np.testing.assert_allclose(
        unrolled(ids, [])[0].asnumpy(), unrolled.decoder(hidden).asnumpy(), atol=1e-6
    )


def test_dropout_acts_in_training_only_on_embedding_between_layers_and_before_the_output():
    model, ids = make("lstm", (7, 5), dropout=0.5), random_ids((T, N))
    calm = [model(ids, model.begin_state(N))[0].asnumpy() for _ in range(2)]
    assert (calm[0] == calm[1]).all()
    seen = []
    model.hybridize(False)
    model.dropout.register_forward_hook(
        lambda block, inputs, output: seen.append(
            (output.shape, float((output == 0).mean().asscalar()))
        )
    )
    with autograd.record():
        model(ids, model.begin_state(N))
    assert [shape for shape, _ in seen] == [(T, N, E), (T, N, 7), (T, N, 5)]
    assert all(0.2 < zeros < 0.8 for _, zeros in seen)


def masks(model, ids):
    """Where each dropout of a training pass, in order, gave zero."""
    seen = []
    model.hybridize(False)
    for block in {id(b): b for b in (model.embed_dropout, model.dropout)}.values():
        block.register_forward_hook(
            lambda block, inputs, output: seen.append((output == 0).asnumpy())
        )
    with autograd.record():
        model(ids, model.begin_state(ids.shape[1]))
    return seen


def test_variational_dropout_keeps_its_mask_over_time_and_changes_it_between_columns_and_calls():
    model, ids = make("lstm", (40, 50), dropout=0.5, variational=True), random_ids((T, N))
    first, again = masks(model, ids)[:], masks(model, ids)
    assert len(first) == len(again) == 3
    for mask, other in zip(first, again):
        assert (
            (mask == mask[:1]).all() and (mask[:, 0] != mask[:, 1]).any() and (mask != other).any()
        )
    ordinary = masks(make("lstm", (40, 50), dropout=0.5), ids)
    assert all((mask != mask[:1]).any() for mask in ordinary)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_weight_drop_leaves_out_recurrent_weights_in_training_only(kind):
    dropped, plain = (make(kind, (6,), dropout=0.0, weight_drop=rate) for rate in (0.5, 0.0))
    weight = dropped.layers[0].l0_h2h_weight
    for name, parameter in plain.parameters().items():
        parameter.set_data(dropped.parameters()[name].data())
    ids = random_ids((T, N))

    def agree(logits):
        np.testing.assert_allclose(
            logits.asnumpy(), plain(ids, plain.begin_state(N))[0].asnumpy(), atol=1e-6
        )

    agree(dropped(ids, dropped.begin_state(N))[0])  # scoring sees all of them
    masks = []
    dropped.hybridize(False)
    dropped.layers[0].weight_drop.register_forward_hook(
        lambda block, inputs, output: masks.append((output / weight.data()).asnumpy())
    )
    for _ in range(2):
        with autograd.record():
            logits, _ = dropped(ids, dropped.begin_state(N))
        logits.backward()
        assert set(np.unique(masks[-1].round(5))) == {0, 2}
        assert (
            weight.grad().asnumpy()[masks[-1] == 0] == 0
        ).all()  # what was left out has no part in the loss
        plain.layers[0].l0_h2h_weight.set_data(weight.data() * nd.array(masks[-1]))
        agree(logits)  # the same weights at every time step
    assert (masks[0] != masks[1]).any()


def test_the_embedding_can_have_a_dropout_of_its_own():
    ids = random_ids((50, 20))
    embedded, between, last = masks(make("gru", (40, 50), dropout=0.2, embed_dropout=0.6), ids)
    assert (
        abs(embedded.mean() - 0.6) < 0.03
        and abs(between.mean() - 0.2) < 0.02
        and abs(last.mean() - 0.2) < 0.02
    )
    embedded, between, _ = masks(
        build_model(ModelConfig(dropout=0.3, embed_dropout=0.0, num_layers=2), V).prepare(
            [mx.cpu()]
        ),
        ids,
    )
    assert embedded.mean() == 0 and between.mean() > 0.2


def test_tied_weights_are_one_matrix_with_the_gradient_of_both_uses():
    model = make("gru", (7, E), tie_weights=True)
    assert model.embedding.weight is model.decoder.weight
    assert model.count_parameters() == make("gru", (7, E)).count_parameters() - V * E
    with pytest.raises(InputError, match="--tie-weights"):
        make("gru", (7,), tie_weights=True)


@pytest.mark.parametrize("kind, theirs", [("rnn", rnn.RNN), ("lstm", rnn.LSTM), ("gru", rnn.GRU)])
def test_layers_joined_by_rows_are_gluons_own_with_the_same_gradients(kind, theirs):
    model = make(kind, (7,))
    ours, x, weight = (
        model.layers[0],
        nd.random.normal(shape=(T, N, E)),
        nd.random.normal(shape=(T, N, 7)),
    )
    theirs = theirs(7, input_size=E, **({"activation": "tanh"} if kind == "rnn" else {}))
    theirs.initialize()
    for name, parameter in ours._collect_params_with_prefix().items():
        theirs._collect_params_with_prefix()[name].set_data(parameter.data())
    results = []
    for layer in (ours, theirs):
        with autograd.record():
            outputs, state = layer(x, layer.begin_state(N))
            (outputs * weight).sum().backward()
        results.append(
            [
                outputs,
                *state,
                *(p.grad() for _, p in sorted(layer._collect_params_with_prefix().items())),
            ]
        )
    for left, right in zip(*results):
        np.testing.assert_allclose(left.asnumpy(), right.asnumpy(), atol=1e-6)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("sizes, tied", [((7,), False), ((7, E), True), ((5, 7, 5), False)])
@pytest.mark.parametrize("streams, table", [(1, stepper.TABLE), (4, stepper.TABLE), (4, 0)])
def test_the_stepper_is_the_fused_model_one_token_at_a_time(
    kind, sizes, tied, streams, table, monkeypatch
):
    monkeypatch.setattr(
        stepper, "TABLE", table
    )  # 0: the vocabulary is too large for products computed beforehand
    model, ids = make(kind, sizes, tie_weights=tied), random_ids((9, streams))
    logits, _ = model(ids, model.begin_state(streams))
    one = model.stepper(streams)
    stepped = np.concatenate([one.step(row) for row in ids.asnumpy()])
    ours, theirs = nd.softmax(nd.array(stepped)).asnumpy(), nd.softmax(logits).asnumpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def make_ensemble():
    return Ensemble([RNNModel("lstm", V, E, (7, 4)) for _ in range(3)]).prepare(
        [mx.cpu()], "uniform:2", 3
    )


def test_an_ensemble_gives_the_mean_of_its_networks_probabilities():
    model = make_ensemble()
    ids, _, state = some_input(model)
    each = [network(ids, state[4 * i : 4 * i + 4]) for i, network in enumerate(model.networks)]
    own = [nd.softmax(logits).asnumpy() for logits, _ in each]
    assert (
        min(abs(own[i] - own[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 0.1
    )  # or the mean would say nothing
    logits, new = model(ids, state)
    np.testing.assert_allclose(np.exp(logits.asnumpy()), np.mean(own, axis=0), atol=1e-6)
    expected = [array for _, states in each for array in states]
    assert len(new) == len(expected) and all(
        (a.asnumpy() == b.asnumpy()).all() for a, b in zip(new, expected)
    )
    with autograd.record():
        assert model(ids, state)[0].shape == (3 * T * N, V)


def test_the_stepper_of_an_ensemble_is_the_ensemble_one_token_at_a_time():
    model, ids = make_ensemble(), random_ids((9, 4))
    stepper = model.stepper(4)
    stepped = np.concatenate([stepper.step(row) for row in ids.asnumpy()])
    np.testing.assert_allclose(
        np.exp(stepped), np.exp(model(ids, model.begin_state(4))[0].asnumpy()), atol=1e-6
    )
    stepper.select([2, 2])
    again = model.stepper(2)
    for row in ids.asnumpy()[:, [2, 2]]:
        again.step(row)
    np.testing.assert_allclose(
        stepper.step(np.array([1, 2])), again.step(np.array([1, 2])), atol=1e-5
    )


@pytest.mark.parametrize(
    "name", [name for name in MODELS if "unrolled" in name or "window" in name]
)
def test_the_stepper_of_a_model_that_reads_windows_reads_the_last_tokens(name):
    model = MODELS[name]()
    context, ids = model.context, random_ids((model.context + 3, 2)).asnumpy()
    stepper = model.stepper(2)
    steps = [stepper.step(row) for row in ids]
    assert (steps[context - 2] == 0).all()
    np.testing.assert_allclose(
        steps[-1], model(nd.array(ids[3:], dtype="int32"), [])[0].asnumpy(), atol=1e-6
    )


def test_weights_come_from_the_seed_and_the_initializer():
    first, again, other = (
        RNNModel("gru", V, E, (7,)).prepare([mx.cpu()], "uniform:0.1", seed) for seed in (1, 1, 2)
    )
    values = [
        np.concatenate([a.ravel() for a in weights(m).values()]) for m in (first, again, other)
    ]
    assert (values[0] == values[1]).all() and (values[0] != values[2]).any()
    assert 0.09 < abs(values[0]).max() <= 0.1
    with pytest.raises(InputError, match="--init"):
        make().prepare([mx.cpu()], "uniform:nan")


def test_every_array_is_on_the_device_that_was_asked_for():
    device = mx.cpu(1)
    model = RNNModel("lstm", V, E, (7,), dropout=0.3).prepare([device])
    with autograd.record():
        logits, state = model(
            random_ids((T, N)).as_in_context(device), model.begin_state(N, device)
        )
    losses, gradient = cross_entropy(logits, random_ids(T * N).as_in_context(device))
    assert {a.context for a in (logits, *state, losses, gradient)} == {device}


@pytest.mark.parametrize(
    "settings, kind, sizes",
    [
        (dict(model="lstm", hidden_size=(9,), num_layers=2), "lstm", [9, 9]),
        (dict(model="rnn", hidden_size=(9, 4)), "rnn", [9, 4]),
    ],
)
def test_build_model_follows_the_configuration(settings, kind, sizes):
    model = build_model(ModelConfig(**settings), V)
    assert (
        model.kind == kind
        and [state.shape[-1] for state in model.begin_state(2)][:: 2 if kind == "lstm" else 1]
        == sizes
    )


def test_members_are_networks_of_the_same_settings_and_other_weights():
    model = build_model(
        ModelConfig(model="rnn", members=3, hidden_size=(9,), tie_weights=True, embed_size=9), V
    ).prepare([mx.cpu()])
    single = build_model(
        ModelConfig(model="rnn", hidden_size=(9,), tie_weights=True, embed_size=9), V
    )
    assert model.members == 3 and model.count_parameters() == 3 * single.count_parameters()
    first, second, third = (network.decoder.weight.data().asnumpy() for network in model.networks)
    assert (first != second).any() and (first != third).any() and (second != third).any()


def test_contradictory_sizes_are_refused():
    with pytest.raises(InputError, match="--num-layers 3"):
        build_model(ModelConfig(hidden_size=(9, 4), num_layers=3), V)
    for model in ("unrolled", "window"):
        for settings in (
            dict(num_layers=2),
            dict(tie_weights=True),
            dict(variational=True),
            dict(embed_dropout=0.0),
            dict(weight_drop=0.5),
            dict(members=2),
        ):
            with pytest.raises(InputError, match=f"--model {model}"):
                build_model(ModelConfig(model=model, **settings), V)


def test_the_activation_is_the_published_one_unless_named():
    for kind, auto in (("rnn", "tanh"), ("unrolled", "relu")):
        for given, expected in (("auto", auto), ("tanh", "tanh"), ("relu", "relu")):
            model = build_model(ModelConfig(model=kind, activation=given), V)
            assert expected == (model.activation if kind == "rnn" else model.activation._act_type)
