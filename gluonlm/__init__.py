"""Recurrent language models on Apache MXNet Gluon.

Import this before MXNet, because it prepares the process (see `gluonlm.system.runtime`). Names are
imported on first use, so `from gluonlm import rnn_batch, get_batch` works without MXNet.
"""

import importlib
import os
import signal
import sys

from .system import memory

if (sys.argv[:1] == ["-m"] and "gluonlm" in " ".join(getattr(sys, "orig_argv", ""))) or (
    os.path.basename("".join(sys.argv[:1])) == "gluonlm"
):  # a command
    # Ctrl-C must not print a traceback while it is imported; see `console.run_command`
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    memory.supervise()

from .system import runtime  # noqa: F401  must precede any import of MXNet
from .system.errors import InputError

__version__ = "0.3.0"

_HOME = {
    "rnn_batch": "batchify",
    "get_batch": "batchify",
    "windows": "batchify",
    "Vocab": "vocab",
    "UnrolledRNN": "models",
    "RNNModel": "models",
    "WindowModel": "models",
    "Ensemble": "models",
    "build_model": "models",
    "cross_entropy": "models.loss",
    "Trainer": "train.trainer",
    "Config": "config",
    "load_corpus": "corpus",
    "load_model": "run.load",
    "sample": "generate.sampling",
    "complete": "generate.completions",
    "score": "evaluate.scoring",
    "score_texts": "evaluate.texts",
    "score_windows": "evaluate.texts",
    "get_ctx": "system.device",
}
__all__ = ["InputError", *_HOME]


def __dir__():
    return sorted({*globals(), *__all__})


def __getattr__(name):
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
