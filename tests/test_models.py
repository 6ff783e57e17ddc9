"""The networks, compared with NumPy, finite differences and each other."""

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd
from mxnet.gluon import rnn
from networks import MODELS, E, N, T, V, make, random_ids, reference_logits, some_input, weights

from gluonlm import models
from gluonlm.config import ModelConfig
from gluonlm.models import RNNModel, UnrolledRNN, WindowModel, build_model
from gluonlm.models.loss import cross_entropy
from gluonlm.system.device import to_device
from gluonlm.system.errors import InputError


@pytest.mark.parametrize("name", MODELS)
def test_models_follow_their_equations_and_carry_state(name):
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
def test_the_unrolled_network_with_the_sum_inside_equals_the_fused_one(context):
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


def test_tied_weights_share_a_matrix_and_sum_gradients():
    model = make("gru", (7, E), tie_weights=True)
    assert model.embedding.weight is model.decoder.weight
    assert model.count_parameters() == make("gru", (7, E)).count_parameters() - V * E
    with pytest.raises(InputError, match=r"`tie_weights`: .*`hidden_size`, 7, .*`embed_size`, 6"):
        make("gru", (7,), tie_weights=True)


@pytest.mark.parametrize("kind, theirs", [("rnn", rnn.RNN), ("lstm", rnn.LSTM), ("gru", rnn.GRU)])
def test_row_joined_layers_equal_gluons_with_the_same_gradients(kind, theirs):
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


LAYERS = {
    "default": {},
    "input size": dict(input_size=3),
    "batch first": dict(input_size=3, layout="NTC"),
    "unknown input, batch first": dict(layout="NTC"),
    "three layers": dict(input_size=3, num_layers=3),
    "both directions": dict(input_size=3, bidirectional=True),
    "all": dict(num_layers=2, bidirectional=True, layout="NTC"),
    "initializers": dict(i2h_weight_initializer="ones", h2h_bias_initializer="ones"),
    "double": dict(input_size=3, dtype="float64"),
    "one layer with dropout": dict(input_size=3, dropout=0.5),
}


@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize("given", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_layers_replace_gluons(name, given, hybrid, states):
    """Outputs, states and all gradients are the same for every argument."""
    shape = (2, 5, 3) if given.get("layout") == "NTC" else (5, 2, 3)
    x = nd.random.uniform(-1, 1, shape=shape, dtype=given.get("dtype", "float32"))
    x.attach_grad()
    found = []
    for module in (gluon.rnn, models):
        mx.random.seed(3)
        layer = getattr(module, name)(4, **given)
        layer.initialize(mx.init.Uniform(0.5))
        if hybrid:
            layer.hybridize()
        with autograd.record():
            if states:
                output, new = layer(x, layer.begin_state(2, dtype=x.dtype))
                outputs = [output, *new]
            else:
                outputs = [layer(x)]
            weights = [nd.arange(out.size, dtype=x.dtype).reshape(out.shape) for out in outputs]
            loss = nd.add_n(*((out * weight).sum() for out, weight in zip(outputs, weights)))
        loss.backward()
        gradients = [p.grad() for p in layer.collect_params().values()]
        found.append([array.asnumpy() for array in (*outputs, x.grad, *gradients)])
    theirs, ours = found
    assert len(ours) == len(theirs) > 5
    for our, their in zip(ours, theirs):
        assert our.dtype == their.dtype
        np.testing.assert_allclose(our, their, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "given",
    [
        dict(hidden_size=0), dict(hidden_size=1.5), dict(num_layers=0), dict(layout="TCN"),
        dict(input_size=-1), dict(input_size=2.5), dict(projection_size=2),
        dict(use_sequence_length=True), dict(dropout=0.5, num_layers=2), dict(weight_drop=1),
    ],
)  # fmt: skip
def test_layers_refuse_invalid_arguments_and_those_that_mxnet_ignores(given):
    for layer in (models.RNN, models.LSTM, models.GRU):
        with pytest.raises(InputError):
            layer(**{"hidden_size": 4, **given})
    with pytest.raises(InputError, match="`activation`"):
        models.RNN(4, activation="sigmoid")
    with pytest.raises(InputError, match="clipping"):
        models.LSTM(4, state_clip_min=-1, state_clip_max=1)


@pytest.mark.parametrize("given", [dict(layout="NTC"), dict(num_layers=2), dict(input_size=0)])
def test_only_simple_layers_are_packed_and_stepped(given):
    layer = models.GRU(4, **{"input_size": 3, **given})
    layer.initialize()
    layer(nd.ones((5, 2, 3)))
    layer.pack_weights()
    assert len(layer.collect_params().keys()) == 4 * given.get("num_layers", 1)
    with pytest.raises(InputError, match="stepper"):
        layer.cell()


def test_weight_drop_reaches_every_layer_and_direction():
    layer = models.GRU(4, 2, input_size=3, bidirectional=True, weight_drop=0.999999)
    layer.initialize(mx.init.Uniform(1))
    x, state = nd.ones((5, 2, 3)), [nd.ones((4, 2, 4))]
    with autograd.record(train_mode=True):
        dropped = layer(x, state)[0]
    for name, parameter in layer.collect_params().items():
        if name.endswith("h2h_weight"):
            parameter.set_data(parameter.data() * 0)
    np.testing.assert_allclose(dropped.asnumpy(), layer(x, state)[0].asnumpy(), rtol=1e-5)


def test_weights_depend_on_the_seed_and_the_initializer():
    first, again, other = (
        RNNModel("gru", V, E, (7,)).prepare([mx.cpu()], "uniform:0.1", seed) for seed in (1, 1, 2)
    )
    values = [
        np.concatenate([a.ravel() for a in weights(m).values()]) for m in (first, again, other)
    ]
    assert (values[0] == values[1]).all()
    assert (values[0] != values[2]).any()
    assert 0.09 < abs(values[0]).max() <= 0.1
    with pytest.raises(InputError, match="`init`"):
        make().prepare([mx.cpu()], "uniform:nan")


def test_every_array_is_on_the_requested_device():
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
    assert model.kind == kind
    assert [state.shape[-1] for state in model.begin_state(2)][
        :: 2 if kind == "lstm" else 1
    ] == sizes


def test_contradictory_sizes_are_refused():
    with pytest.raises(InputError, match="`num_layers` 3"):
        build_model(ModelConfig(hidden_size=(9, 4), num_layers=3), V)
    for model in ("unrolled", "window"):
        for settings in (
            dict(num_layers=2),
            dict(tie_weights=True),
            dict(variational=True),
            dict(embed_dropout=0.0),
            dict(weight_drop=0.5),
            dict(word_dropout=0.5),
            dict(activation_reg=2.0),
            dict(temporal_reg=1.0),
            dict(members=2),
        ):
            with pytest.raises(InputError, match=f"`model` {model}"):
                build_model(ModelConfig(model=model, **settings), V)


def test_the_default_activation_is_the_published_one():
    for kind, auto in (("rnn", "tanh"), ("unrolled", "relu")):
        for given, expected in (("auto", auto), ("tanh", "tanh"), ("relu", "relu")):
            model = build_model(ModelConfig(model=kind, activation=given), V)
            assert expected == (model.activation if kind == "rnn" else model.activation._act_type)


@pytest.mark.parametrize("representation", ["real", "embedding", "onehot"])
def test_the_score_of_a_single_window_does_not_depend_on_buffer_alignment(representation):
    random, found, arrays = np.random.default_rng(0), set(), None
    batches = [random.integers(0, V, (9, count)) for count in (4, 1)]
    for _ in range(60):
        model = WindowModel(V, 6, 9, representation, 5).prepare([mx.cpu()], "uniform:0.5", 3)
        arrays = arrays or model.arrays()
        model.load_arrays(arrays)
        kept = [nd.ones(int(random.integers(1, 5000))) for _ in range(5)]
        logits = [model(to_device(ids, V, mx.cpu()), [])[0].asnumpy() for ids in batches * 2]
        found.add(np.concatenate(logits).tobytes())
        del kept
    assert len(found) == 1
