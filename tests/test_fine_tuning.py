"""Frozen layers, and a lower rate for the weights of another run."""

import dataclasses

import numpy as np
import pytest
from conftest import assert_refused
from runs import assert_same_end
from trainings import BASE, IDS, make_model, stop_after, train

from gluonlm.models import RNNModel
from gluonlm.run.folder import Run
from gluonlm.system.errors import InputError
from gluonlm.train.factors import rate_factors
from gluonlm.train.optimizer import SUPPORTED
from gluonlm.train.trainer import Trainer

LAYERS = {
    "gru": ["embedding", "1", "2", "decoder"],
    "mingru": ["embedding", "1", "2", "decoder"],
    "gru ensemble": ["embedding", "1", "2", "decoder"],
    "lstm weight-drop": ["embedding", "1", "2", "decoder"],
    "gru adaptive": ["embedding", "1", "2", "decoder"],
    "unrolled": ["embedding", "1", "decoder"],
    "window": ["1", "decoder"],
}


@pytest.mark.parametrize("kernels", ["native", "mxnet"])
@pytest.mark.parametrize("kind", LAYERS)
def test_every_layer_can_be_frozen(kind, kernels):
    start = make_model(kind, 0.2)
    names, layers = {id(p): name for name, p in start.parameters().items()}, {}
    for layer, parameters in start.parameters_by_layer().items():
        layers[layer] = {names[id(parameter)] for parameter in parameters}
    assert list(layers) == LAYERS[kind]
    assert sorted(name for layer in layers.values() for name in layer) == sorted(names.values())
    for layer in layers:
        config = dataclasses.replace(BASE, freeze=(layer,), max_steps=3, kernels=kernels)
        after = train(config, kind, 0.2).model.arrays()
        moved = {name for name, array in start.arrays().items() if (array != after[name]).any()}
        assert moved == set(names.values()) - layers[layer]


# without nadam, whose schedule advances with every array that it updates
@pytest.mark.parametrize("optimizer", sorted({*SUPPORTED} - {"nadam"}))
def test_frozen_layers_have_no_effect_on_the_other_updates(optimizer):
    """Freezing equals updating everything and restoring the frozen weights after each step."""
    config = dataclasses.replace(
        BASE, optimizer=optimizer, lr=0.01, clip=0.0, weight_decay=0.1, max_steps=4
    )
    if optimizer == "sgld":  # each array draws its noise
        config = dataclasses.replace(config, max_steps=0, epochs=1, lr=1e-30)
    frozen = train(dataclasses.replace(config, freeze=("embedding", "2"))).model

    model = make_model()
    kept = {p: p.data().copy() for n in ("embedding", "2") for p in model.parameters_by_layer()[n]}
    trainer = Trainer(model, config, IDS)

    def restore(event, record):
        for parameter, value in kept.items() if event == "step" else ():
            parameter.data()[:] = value

    trainer.callbacks = [restore]
    trainer.fit()
    for name, array in model.arrays().items():
        np.testing.assert_allclose(frozen.arrays()[name], array, atol=1e-6, err_msg=name)


def test_the_gradient_of_frozen_layers_is_not_clipped_with_the_others():
    norms = []
    for freeze in ((), ("embedding", "1", "2")):
        config = dataclasses.replace(BASE, freeze=freeze, max_steps=1)
        trainer = Trainer(make_model(), config, IDS)
        trainer.callbacks = [lambda event, record: norms.append(record.get("grad_norm"))]
        trainer.fit()
        tokens = trainer.batches(0, 0)[1].size
        used = trainer.model.parameters_by_layer()
        squares = [
            np.square(parameter.grad().asnumpy().astype(float)).sum()
            for layer in used
            if layer not in freeze
            for parameter in used[layer]
        ]
        assert norms[0] == pytest.approx(np.sqrt(sum(squares)) / tokens, rel=1e-5)
        norms.clear()


@pytest.mark.parametrize("kernels", ["native", "mxnet"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_old_rows_learn_at_the_fraction_and_new_ones_at_the_full_rate(optimizer, kernels):
    config = dataclasses.replace(
        BASE, optimizer=optimizer, lr=0.01, clip=0.0, max_steps=1, kernels=kernels
    )
    full, part = [], []
    for scale, steps in ((1.0, full), (0.25, part)):
        model = RNNModel("gru", 7, 5, (6,)).prepare(None, "uniform:0.5", 1)
        before = model.arrays()
        trainer = Trainer(model, dataclasses.replace(config, init_lr_scale=scale), IDS)
        trainer.inherit(5)
        trainer.fit()
        steps.append({name: model.arrays()[name] - array for name, array in before.items()})
    for name, step in full[0].items():
        rows = 5 if name.startswith(("embedding", "decoder")) else len(step)
        scaled = np.concatenate([0.25 * step[:rows], step[rows:]])
        np.testing.assert_allclose(part[0][name], scaled, atol=1e-7, err_msg=name)


def test_frozen_layers_train_the_rows_of_new_tokens():
    model = RNNModel("gru", 7, 5, (6,)).prepare(None, "uniform:0.5", 1)
    before = model.arrays()
    trainer = Trainer(model, dataclasses.replace(BASE, freeze=("embedding", "decoder")), IDS)
    trainer.inherit(4)
    trainer.fit()
    for name, array in model.arrays().items():
        moved = (array != before[name]).reshape(len(array), -1).any(axis=1)
        assert moved[:4].any() == (len(array) != 7), name
        seen = np.isin(np.arange(4, 7), IDS) if name.startswith("embedding") else True
        assert (moved[4:] == seen).all(), name


def test_tied_weights_are_frozen_by_either_name():
    for name in ("embedding", "decoder"):
        model = RNNModel("gru", 7, 6, (6,), tie_weights=True).prepare(None, "uniform:0.5", 1)
        before = model.embedding_matrix()
        Trainer(model, dataclasses.replace(BASE, freeze=(name,), max_steps=2), IDS).fit()
        assert (model.embedding_matrix() == before).all()


@pytest.mark.parametrize("optimizer", ["adam", "lamb", "nadam"])
@pytest.mark.parametrize("kernels", ["native", "mxnet"])
def test_an_interrupted_fine_tuning_resumes_exactly(optimizer, kernels):
    config = dataclasses.replace(
        BASE, freeze=("1",), init_lr_scale=0.3, optimizer=optimizer, lr=0.01, kernels=kernels
    )

    def make():
        model = RNNModel("gru", 7, 5, (6, 4), 0.2).prepare(None, "uniform:0.5", 1)
        return Trainer(model, config, IDS)

    whole = make()
    whole.inherit(5)
    whole.fit()
    part = make()
    part.inherit(5)
    part.callbacks = [stop_after(part, 9)]
    assert part.fit() == "interrupted"
    more = make()
    more.model.load_arrays(part.weights())
    more.restore(part.arrays(), part.progress_record())
    more.fit()
    for ours, theirs in ((more.weights(), whole.weights()), (more.arrays(), whole.arrays())):
        assert ours.keys() == theirs.keys()
        assert all((array == theirs[name]).all() for name, array in ours.items())


def test_layers_that_cannot_be_frozen_are_errors():
    for freeze, named in (
        (("3",), "embedding, 1, 2, decoder"),
        (("0",), "1, 2"),
        (("x",), "`x`|x"),
    ):
        with pytest.raises(InputError, match=f"`freeze` {freeze[0]}.*{named}"):
            Trainer(make_model(), dataclasses.replace(BASE, freeze=freeze), IDS)
    with pytest.raises(InputError, match="`freeze`"):
        rate_factors(
            make_model(), dataclasses.replace(BASE, freeze=("1", "2", "decoder", "embedding"))
        )


@pytest.fixture
def fine_tuned(trained, tmp_path, command):
    """Return the flags, and the run, of a fine-tuning on a text with new characters."""
    text, run = tmp_path / "foreign.txt", tmp_path / "fine"
    text.write_text("Ωmega little ducks; αlpha went out to play. " * 40, encoding="utf-8")
    flags = ["--init-from", trained, "--data", text, "--extend-vocab", "--quiet", "--batch-size", 4]
    flags += ["--seq-len", 8, "--freeze", "1", "embedding", "--init-lr-scale", 0.1]
    assert command("train", *flags, "--max-steps", 20, "--run", run)[0] == 0
    return flags, run


def test_a_killed_fine_tuning_resumes_exactly(fine_tuned, tmp_path, command, monkeypatch, trained):
    flags, whole = fine_tuned
    step = Trainer._step

    def killed(trainer):
        step(trainer)
        if trainer.progress.step == 12:
            raise KeyboardInterrupt

    flags += ["--max-steps", 20, "--run", tmp_path / "run", "--checkpoint-every", 5]
    monkeypatch.setattr(Trainer, "_step", killed)
    assert command("train", *flags)[0] == 130
    monkeypatch.setattr(Trainer, "_step", step)
    resume = ["--resume", tmp_path / "run", "--data", tmp_path / "foreign.txt", "--quiet"]
    assert command("train", *resume)[0] == 0
    assert_same_end(tmp_path / "run", whole)
    kept, old = Run(whole).load("last"), Run(trained).load("best")
    assert kept.progress["inherited"] == len(old.vocab) < len(kept.vocab)
    for name, array in old.parameters.items():
        same = (kept.parameters[name][: len(array)] == array).all()
        assert same == (not name.startswith("decoder")), name
    assert kept.config.training.freeze == ("1", "embedding")
    assert_refused(command("train", *resume, "--freeze", "1"), "freeze")


def test_dynamic_evaluation_by_rms_rejects_frozen_layers(fine_tuned, tmp_path, command):
    text = ["--data", tmp_path / "foreign.txt"]
    assert_refused(
        command("evaluate", fine_tuned[1], *text, "--dynamic", "rms"), "--dynamic", "sgd"
    )
    assert command("evaluate", fine_tuned[1], *text, "--dynamic", "sgd")[0] == 0


@pytest.mark.parametrize("flags", [("--freeze", "decoder"), ("--init-lr-scale", 0.1)])
def test_settings_of_fine_tuning_need_another_run(flags, text_file, tmp_path, command):
    run = tmp_path / "run"
    assert_refused(
        command("train", "--data", text_file, *flags, "--run", run), flags[0], "--init-from"
    )
    assert not run.exists()


def test_the_error_of_an_unknown_character_names_the_flag_that_adds_it(trained, tmp_path, command):
    text = tmp_path / "foreign.txt"
    text.write_text("Ωmega" * 200, encoding="utf-8")
    flags = ("--init-from", trained, "--data", text, "--run", tmp_path / "run", "--quiet")
    assert_refused(command("train", *flags), "Ω", "--extend-vocab")
