"""Presets of published systems: description, published figures and settings.

`python -m gluonlm.train --preset NAME` trains one, and `--list-presets` lists them all. Settings
use the field names of `config.groups`; missing settings keep their defaults.
"""

from dataclasses import dataclass
from typing import Any

from ..system.errors import InputError


@dataclass(frozen=True)
class Preset:
    """One system: its description, published figures, and settings by field name."""

    about: str
    published: str
    settings: dict[str, Any]


_NIETZSCHE = dict(
    data=("nietzsche",), encoding="latin-1", optimizer="adam", output_bias="zero"
)  # fmt: skip
_NIETZSCHE_LSTM = dict(
    **_NIETZSCHE, model="lstm", activation="relu", embed_size=500, hidden_size=(1000, 1000),
    batch_size=32,
)  # fmt: skip
_WINDOWS = dict(model="window", schedule="constant", clip=0.0)
_PTB = dict(data=("ptb",), level="word", model="lstm", init="uniform:0.1", output_bias="zero")
_PTB_SMALL = dict(
    **_PTB, embed_size=300, hidden_size=(300, 300), tie_weights=True, variational=True,
    dropout=0.35, embed_dropout=0.2, word_dropout=0.05, activation_reg=2.0, temporal_reg=2.0,
    batch_size=32, seq_len=35, optimizer="adam", lr=0.003, warmup_steps=200,
    schedule="cosine", clip=1.0,
)  # fmt: skip
# chosen from the ablations on the Penn Treebank, not tuned on WikiText-2
_WIKITEXT = {
    **_PTB_SMALL, "data": ("wikitext-2",), "embed_size": 200, "activation_reg": 1.0,
    "temporal_reg": 1.0,
}  # fmt: skip
_SHAKESPEARE = dict(
    data=("tinyshakespeare",), split="90/10/0", embed_size=64, embed_dropout=0.0, batch_size=32,
    seq_len=64, optimizer="adam", weight_decay=0.1, schedule="cosine", warmup_steps=50,
)  # fmt: skip
_SHAKESPEARE_LSTM = dict(**_SHAKESPEARE, model="lstm", hidden_size=(384, 384), lr=0.004)
_NANOGPT = (
    "nanoGPT on the same split: 1.88 nats per character in about 3 minutes on a CPU (windows of "
    "64; run again here: 1.886 in 95 s), 1.4697 on an A100 (windows of 256); estimates from random "
    "windows"
)

PRESETS = {
    "nietzsche-unrolled": Preset(
        "Three characters through shared dense layers, h = relu(W_h h) + relu(W_i e): "
        "a hand-written recurrent network.",
        "Gluon RNN tutorial (2018), part 1: training loss at batch 128 of each epoch "
        "from 2.579 to 2.037 nats, no validation",
        dict(
            **_NIETZSCHE, model="unrolled", embed_size=30, hidden_size=(256,), window=3,
            window_step=3, dropout=0.0, batch_size=32, epochs=10, lr=0.001, schedule="constant",
            clip=0.0,
        ),
    ),
    "nietzsche-lstm": Preset(
        "Two layers of 1000, dropout 0.4, 200 epochs over a small book; also with --model gru, "
        "or with --model rnn (ReLU, as published) and --on-nan skip.",
        "Gluon RNN tutorial (2018), part 2: no loss published, no validation",
        dict(
            **_NIETZSCHE_LSTM, dropout=0.4, seq_len=100, epochs=200, lr=0.001,
            schedule="constant", clip=0.2,
        ),
    ),
    "nietzsche-better": Preset(
        "The same 2 x 1000 LSTM, regularised: dropout on recurrent weights and outputs but not "
        "on the embedding, twice the steps per epoch, a falling learning rate, few epochs.",
        "nothing: compare with nietzsche-lstm",
        dict(
            **_NIETZSCHE_LSTM, dropout=0.5, embed_dropout=0.0, weight_drop=0.2, seq_len=50,
            epochs=6, lr=0.002, warmup_steps=100, schedule="cosine", clip=1.0,
        ),
    ),
    "stacked-char-lstm": Preset(
        "Two layers of 128 on characters, small enough for any machine: "
        "python -m gluonlm.compare times it on each device.",
        "character modelling, CPU against GPU: the GPU about 5 times faster",
        dict(
            data=("python-docs",), model="lstm", embed_size=128, hidden_size=(128, 128),
            dropout=0.0, batch_size=32, seq_len=64, epochs=10, optimizer="adam", lr=0.004,
            schedule="cosine", output_bias="zero",
        ),
    ),
    "scripts-lstm": Preset(
        "One LSTM of 1024 reads one-hot windows of 50 characters of a script, 10 apart, and "
        "predicts the next character; plain gradient descent, samples at several temperatures "
        "after each epoch.",
        "1024-cell LSTM on film scripts: 310 epochs in 6 to 7 hours on a cloud GPU, "
        "no loss published",
        dict(
            **_WINDOWS, data=("tinyshakespeare",), representation="onehot", window=50,
            window_step=10, hidden_size=(1024,), dropout=0.0, batch_size=32, epochs=310,
            optimizer="sgd", lr=1.0, output_bias="zero", sample_temperatures=(0.3, 0.6, 1.0),
        ),
    ),
    "window-lstm": Preset(
        "One LSTM of 256 reads 100 characters, each as one real number, its id divided by their "
        "count: poor by design; compare --representation embedding and --model lstm.",
        "256-cell LSTM: 20 epochs, poor text according to its author; no loss published",
        dict(
            **_WINDOWS, **_NIETZSCHE, lower=True, representation="real", window=100,
            window_step=1, hidden_size=(256,), dropout=0.2, batch_size=128, epochs=20, lr=0.001,
        ),
    ),
    "ptb-lstm": Preset(
        "Words of the Penn Treebank: LSTM 256, then 128, plain gradient descent at 1.0, "
        "halved each epoch after the fifth.",
        "word LSTM on Penn Treebank: perplexity 121.5 (validation) and 117.999 (test) "
        "after 15 epochs, about 2,300 words/s",
        dict(
            **_PTB, embed_size=200, hidden_size=(256, 128), dropout=0.0, batch_size=60,
            seq_len=20, epochs=15, optimizer="sgd", lr=1.0, schedule="step", decay=0.5,
            decay_after=5, clip=5.0, loss_scale="sum-over-time",
        ),
    ),
    "ptb-small": Preset(
        "Words of the Penn Treebank in 4.45 million parameters: LSTM 2 x 300, with tied "
        "weights, variational dropout, word dropout, AR and TAR.",
        "Zaremba et al. 2014, small (4.65 million parameters): 120.7 and 114.5; "
        "Inan et al. 2016, tied and regularised (2.65 million): 86.3 and 82.7",
        dict(**_PTB_SMALL, epochs=24),
    ),
    "ptb-small-200": Preset(
        "Words of the Penn Treebank in 2.65 million parameters: LSTM 2 x 200, with less dropout "
        "and TAR than ptb-small.",
        "Inan et al. 2016, small, tied and regularised, the same shapes: 86.3 and 82.7",
        {**_PTB_SMALL, "embed_size": 200, "hidden_size": (200, 200), "dropout": 0.3,
         "embed_dropout": 0.15, "temporal_reg": 1.0, "epochs": 40},
    ),
    "ptb-medium": Preset(
        "One network in 9.8 million parameters: LSTM 800 and 400, with more dropout, weight drop "
        "and weight decay, and segments of about 70 words.",
        "Melis et al. 2018 (10 million parameters): 61.8 and 59.6",
        {**_PTB_SMALL, "embed_size": 400, "hidden_size": (800, 400), "dropout": 0.45,
         "embed_dropout": 0.3, "weight_drop": 0.4, "word_dropout": 0.1, "weight_decay": 0.01,
         "seq_len": 70, "random_seq_len": True, "warmup_steps": 300, "epochs": 50},
    ),
    "ptb-ensemble": Preset(
        "Four ptb-small networks with averaged probabilities.",
        "Zaremba et al. 2014, medium (about 20 million parameters): 86.2 and 82.7; large (66 "
        "million): 82.2 and 78.4; Merity et al. 2017 (24 million): 60.0 and 57.3",
        dict(**_PTB_SMALL, members=4, epochs=24),
    ),
    "wikitext-2-small": Preset(
        "Words of WikiText-2 in 7.3 million parameters: LSTM 2 x 200 with tied weights, "
        "less dropout and lower penalties than ptb-small. Not run on WikiText-2 yet.",
        "GluonNLP, standard_lstm_lm_200, the same shapes: 107.59 (validation) and 101.64 (test)",
        {**_WIKITEXT, "hidden_size": (200, 200), "dropout": 0.25, "embed_dropout": 0.15,
         "epochs": 20},
    ),
    "wikitext-2": Preset(
        "Words of WikiText-2 in 12.1 million parameters: LSTM 600, 600 and 200 with tied weights, "
        "more dropout and weight drop than ptb-small. Not run on WikiText-2 yet.",
        "GluonNLP, awd_lstm_lm_600, the same shapes: 84.89 (validation) and 80.67 (test)",
        {**_WIKITEXT, "hidden_size": (600, 600, 200), "dropout": 0.4, "embed_dropout": 0.3,
         "weight_drop": 0.2, "activation_reg": 2.0, "epochs": 30},
    ),
    "tinyshakespeare-gru": Preset(
        "A GRU of 384 on Shakespeare, in the time that nanoGPT's CPU preset takes.",
        _NANOGPT,
        dict(
            **_SHAKESPEARE, model="gru", hidden_size=(384,), dropout=0.1, lr=0.008, epochs=6,
            max_minutes=1.58,
        ),
    ),
    "tinyshakespeare-lstm-12min": Preset(
        "Two LSTMs of two layers, with averaged probabilities, in at most twelve minutes.",
        _NANOGPT,
        dict(**_SHAKESPEARE_LSTM, members=2, dropout=0.3, epochs=6, max_minutes=12.0),
    ),
    "tinyshakespeare-lstm-long": Preset(
        "Four LSTMs of two layers, with averaged probabilities and more dropout, in at most an "
        "hour.",
        _NANOGPT,
        dict(**_SHAKESPEARE_LSTM, members=4, dropout=0.4, epochs=10, max_minutes=60.0),
    ),
}  # fmt: skip


def preset_settings(name: str) -> dict[str, Any]:
    """Return a preset's settings by field name.

    Raises
    ------
    InputError
        If there is no such preset; the message lists the presets.
    """
    if name not in PRESETS:
        raise InputError(f"`preset` {name}: not one of {', '.join(PRESETS)}")
    return dict(PRESETS[name].settings)


def list_presets() -> str:
    """Return every preset's description, published figures and command."""
    return "\n\n".join(
        f"{name}\n    {preset.about}\n    Published: {preset.published}.\n"
        f"    python -m gluonlm.train --preset {name}"
        for name, preset in PRESETS.items()
    )
