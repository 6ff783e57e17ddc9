"""Flags and values of other language-modelling programs, accepted as aliases.

They come from GluonNLP's and PyTorch's word_language_model, nanoGPT, char-rnn and torch-rnn, and
are accepted if they have the same meaning here; docs/migrating.md lists them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

ALIASES = {
    "--hidden-size": "nhid rnn-size",
    "--embed-size": "emsize wordvec-size",
    "--num-layers": "nlayers n-layer",
    "--seq-len": "bptt seq-length block-size",
    "--batch-size": "batchsize",
    "--epochs": "epoch max-epochs num-epochs",
    "--max-steps": "max-iters",
    "--lr": "learning-rate",
    "--warmup-steps": "warmup-iters",
    "--clip": "grad-clip",
    "--dropout": "dropout-h",
    "--embed-dropout": "dropout-i",
    "--weight-drop": "weight-dropout",
    "--word-dropout": "dropout-e",
    "--activation-reg": "alpha",
    "--temporal-reg": "beta",
    "--decay": "lr-update-factor",
    "--tie-weights": "tied",
    "--model": "rnn-type model-type",
    "--data": "dataset",
    "--run": "save out-dir",
    "--log-every": "log-interval print-every",
    "--validate-every": "eval-interval eval-val-every",
    "--window": "context",
    "--ctx": "cuda gpu gpuid device",
    "--prompt": "start start-text primetext",
    "--length": "words max-new-tokens",
    "--samples": "num-samples",
}
OURS = {f"--{name}": ours for ours, names in ALIASES.items() for name in names.split()}
# models of other programs: our model and activation
MODELS = {"rnn_tanh": ("rnn", "tanh"), "rnn_relu": ("rnn", "relu")}


def translate(words: Collection[str], known: Collection[str]) -> Iterator[str]:
    """Yield a command line with aliases such as `--batch_size`, `-rnn_size`, `--gpu 0` translated.

    Parameters
    ----------
    known
        The flags of the command; an alias of any other flag stays unchanged.
    """
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.partition("=")
        if not re.fullmatch(r"--?[a-z][\w-]+", name):
            yield word
            continue
        dashed = "--" + name.lstrip("-").replace("_", "-")
        ours = OURS.get(dashed, dashed)
        if ours not in known:
            yield word if dashed in OURS or not name.startswith("--") else dashed + equals + value
        elif dashed in OURS and ours == "--ctx":
            following = waiting[0] if waiting and not equals else value
            if not equals and re.fullmatch(r"-?\d+|(cpu|cuda|gpu)(:\d+)?", following):
                waiting.pop(0)
            yield from ("--ctx", _device(following))
        elif ours == "--model" and (equals or waiting):
            yield from _model(value if equals else waiting.pop(0))
        else:
            yield ours + equals + value


def _device(value: str) -> str:
    """Return the context of `--gpu 0`, `--gpu -1`, `--device cuda:0` or `--cuda` alone."""
    if re.fullmatch(r"-\d+", value):
        return "cpu"
    if value.isdigit():
        return f"gpu:{value}"
    known = re.fullmatch(r"(cpu|cuda|gpu)((?::\d+)?)", value)
    return known[1].replace("cuda", "gpu") + known[2] if known else "gpu"


def _model(value: str) -> Iterator[str]:
    name, activation = MODELS.get(value.lower(), (value, ""))
    yield from ("--model", name.lower() if name.lower() in ("rnn", "lstm", "gru") else name)
    if activation:
        yield from ("--activation", activation)
