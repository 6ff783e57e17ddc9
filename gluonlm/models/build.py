"""Build a network from settings."""

from ..config import Config, ModelConfig
from ..system.arguments import check_sizes
from ..system.errors import InputError
from ..vocab import Vocab
from .adaptive_softmax import AdaptiveRNN
from .base import LanguageModel
from .ensemble import Ensemble
from .recurrent import FUSED, LAYERS, RNNModel
from .unrolled import UnrolledRNN
from .window import WindowModel


def build_model(
    config: ModelConfig, vocab_size: int, separator: int | None = None
) -> LanguageModel:
    """Return the network described by the settings, with uninitialized weights.

    Parameters
    ----------
    separator
        The id of the token that begins a document; None if the text is a single document.

    Raises
    ------
    InputError
        If settings are incompatible.
    """
    if not isinstance(config, ModelConfig):
        raise InputError(
            f"`config` {type(config).__name__}: must be a ModelConfig, such as Config().model"
        )
    check_sizes(vocab_size=vocab_size)
    if config.model in LAYERS:
        networks = [_recurrent(config, vocab_size, separator) for _ in range(config.members)]
        return networks[0] if config.members == 1 else Ensemble(networks)
    if separator is not None:
        raise InputError(
            f"`document_separator`: `model` {config.model} reads windows and carries no state"
        )
    _reject_recurrent_settings(config)
    (size,), embed_size, window = config.layer_sizes(), config.embed_size, config.window
    if config.model == "window":
        how = config.representation
        return WindowModel(vocab_size, size, window, how, embed_size, config.dropout)
    activation = "relu" if config.activation == "auto" else config.activation
    return UnrolledRNN(vocab_size, embed_size, size, window, config.dropout, activation)


def model_for(config: Config, vocab: Vocab) -> LanguageModel:
    """Return the network for the settings and vocabulary of a run, like `build_model`."""
    return build_model(config.model, len(vocab), vocab.separator(config.data.separator()))


def _recurrent(config, vocab_size, separator):
    sizes = config.model, vocab_size, config.embed_size, config.layer_sizes()
    settings = dict(
        dropout=config.dropout,
        activation="tanh" if config.activation == "auto" else config.activation,
        embed_dropout=None if config.embed_dropout < 0 else config.embed_dropout,
        variational=config.variational,
        weight_drop=config.weight_drop,
        word_dropout=config.word_dropout,
        activation_reg=config.activation_reg,
        temporal_reg=config.temporal_reg,
        separator=separator,
    )
    if not config.adaptive_softmax:
        return RNNModel(*sizes, tie_weights=config.tie_weights, **settings)
    if config.tie_weights:
        raise InputError("`adaptive_softmax` does not support `tie_weights`: leave out one of them")
    return AdaptiveRNN(*sizes, config.adaptive_softmax, **settings)


def _reject_recurrent_settings(config):
    if config.members > 1:
        raise InputError(
            f"`members` {config.members}: only for {', '.join(LAYERS)}, not `model` {config.model}"
        )
    if len(config.layer_sizes()) > 1 or config.tie_weights:
        raise InputError(
            f"`model` {config.model} has one hidden layer and separate weights: "
            "leave out `num_layers` and `tie_weights`"
        )
    if config.adaptive_softmax:
        raise InputError(
            f"`model` {config.model} does not support `adaptive_softmax`: leave it out"
        )
    if config.variational or config.embed_dropout >= 0:
        raise InputError(
            f"`model` {config.model} supports only `dropout`: "
            "leave out `variational` and `embed_dropout`"
        )
    for name in ("weight_drop", "word_dropout", "activation_reg", "temporal_reg"):
        if getattr(config, name):
            kinds = ", ".join(FUSED if name == "weight_drop" else LAYERS)
            raise InputError(f"`{name}`: only for {kinds}, not `model` {config.model}")
