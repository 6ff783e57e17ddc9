"""The networks; all implement `base.LanguageModel` (read `base` first)."""

from .adaptive_softmax import AdaptiveRNN
from .base import LanguageModel
from .build import build_model, model_for
from .ensemble import Ensemble
from .min_layers import MinGRU, MinLSTM
from .recurrent import GRU, LSTM, RNN, RNNModel
from .unrolled import UnrolledRNN
from .window import WindowModel

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AdaptiveRNN",
    "Ensemble",
    "LanguageModel",
    "MinGRU",
    "MinLSTM",
    "RNNModel",
    "UnrolledRNN",
    "WindowModel",
    "build_model",
    "model_for",
]
