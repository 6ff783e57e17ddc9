"""Flags of other tools are accepted as aliases."""

import re

import pytest

from gluonlm import compare, embeddings
from gluonlm.config.aliases import ALIASES, OURS, translate
from gluonlm.evaluate import __main__ as evaluate
from gluonlm.generate import __main__ as generate
from gluonlm.system.errors import InputError
from gluonlm.train import __main__ as train

FLAGS = {
    flag
    for module in (train, generate, evaluate, compare, embeddings)
    for flag in module.make_parser()._option_string_actions
}


def test_every_alias_maps_to_a_flag_and_hides_none():
    assert set(ALIASES) <= FLAGS
    assert not set(OURS) & FLAGS
    assert len(OURS) == sum(len(names.split()) for names in ALIASES.values())


@pytest.mark.parametrize(
    "typed, ours",
    [
        ("--gpu 0", "--ctx gpu:0"),
        ("--gpu=1", "--ctx gpu:1"),
        ("--gpu --epochs 1", "--ctx gpu --epochs 1"),
        ("-gpuid -1", "--ctx cpu"),
        ("--cuda", "--ctx gpu"),
        ("--device cuda:1", "--ctx gpu:1"),
        ("--device=cpu", "--ctx cpu"),
        ("--model LSTM", "--model lstm"),
        ("--model=GRU", "--model gru"),
        ("--model RNN_TANH", "--model rnn --activation tanh"),
        ("--rnn_type RNN_RELU", "--model rnn --activation relu"),
        ("--model unheard", "--model unheard"),
        ("-rnn_size 9 -num_layers 2", "--hidden-size 9 --num-layers 2"),
        ("--learning-rate=0.1 --epoch 3", "--lr=0.1 --epochs 3"),
        ("--dropout_h 0.2 --dropout_i 0.1", "--dropout 0.2 --embed-dropout 0.1"),
        ("--log-interval 7", "--log-every 7"),
        ("--data a_b.txt --lower", "--data a_b.txt --lower"),
        ("--lr -1", "--lr -1"),
    ],
)
def test_aliases_are_translated(typed, ours):
    assert list(translate(typed.split(), train.make_parser()._option_string_actions)) == (
        ours.split()
    )


def test_an_alias_without_a_matching_flag_is_unchanged():
    assert list(translate(["--start", "x"], ["--lr"])) == ["--start", "x"]
    known = generate.make_parser()._option_string_actions
    assert list(translate(["--start", "x", "--words", "5"], known)) == (
        ["--prompt", "x", "--length", "5"]
    )


@pytest.mark.parametrize(
    "module, typed, named",
    [
        (train, ["--hiden-size", "8"], ["--hiden-size", "--hidden-size"]),
        (train, ["--learning_rat", "1"], ["--learning-rat", "--lr"]),
        (train, ["--resum", "x"], ["--resum", "--resume"]),
        (generate, ["run", "--temprature", "1"], ["--temprature", "--temperature"]),
        (generate, ["run", "--hidden-size", "1"], ["--hidden-size"]),
        (train, ["--zzzzzz"], ["--zzzzzz"]),
    ],
)
def test_a_mistyped_flag_suggests_the_nearest(module, typed, named):
    with pytest.raises(InputError) as refused:
        module.make_parser().parse_args(typed)
    assert re.findall("--[a-z-]+", str(refused.value).replace("--help-all", "--help")) == (
        [*named, "--help"]
    )
