"""Factors of the learning rate in fine-tuning: frozen layers, and weights of another run."""

from ..config import TrainConfig
from ..models import LanguageModel
from ..system.errors import InputError

Factors = list[list[tuple[int, float]]]  # for each parameter: numbers of rows, and their factor


def rate_factors(model: LanguageModel, config: TrainConfig, inherited: int = 0) -> Factors:
    """Return by which factor the learning rate of each parameter's rows is multiplied.

    The factor is 0 in the layers of `freeze` and `init_lr_scale` elsewhere, but 1 for the rows of
    new tokens in embedding and output.

    Parameters
    ----------
    inherited
        Number of tokens, the first of the vocabulary, that the run began with; 0: all.

    Raises
    ------
    InputError
        If `freeze` names a layer that the model does not have, or every layer.
    """
    layers = model.parameters_by_layer()
    _check_frozen(config.freeze, layers)
    frozen = {id(parameter) for name in config.freeze for parameter in layers[name]}
    ends = {id(p) for name in ("embedding", "decoder") for p in layers.get(name, ())}
    factors: Factors = []
    for parameter in model.parameters().values():
        rows, factor = parameter.shape[0], config.init_lr_scale
        by_token = id(parameter) in ends and rows == model.vocab_size
        old = inherited if by_token and inherited else rows
        factors.append([(old, 0.0 if id(parameter) in frozen else factor), (rows - old, 1.0)])
    return factors


def _check_frozen(names, layers):
    for name in names:
        if name not in layers:
            raise InputError(f"`freeze` {name}: not a layer of this model: {', '.join(layers)}")
    if set(layers) == set(names):
        raise InputError(f"`freeze` {' '.join(names)}: no layer is left to train; leave one out")
