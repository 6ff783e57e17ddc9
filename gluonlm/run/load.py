"""Load a model from a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .checkpoint import Checkpoint
from .folder import Run

if TYPE_CHECKING:
    from ..models import LanguageModel


def load_model(run, which: str = "best", ctx=None) -> tuple[LanguageModel, Checkpoint]:
    """Load a model from the folder of a run or of one checkpoint.

    Parameters
    ----------
    which
        "best" or "last".
    ctx
        List of contexts, or a name as for `get_ctx` (default: the CPU).

    Returns
    -------
    (LanguageModel, Checkpoint)
        The model, ready to score and generate, and its checkpoint.

    Raises
    ------
    InputError
        If a file is missing or damaged, or `which` is another name.
    """
    from ..models import model_for
    from ..system.device import contexts

    checkpoint = Run(run).load(which)
    model = model_for(checkpoint.config, checkpoint.vocab)
    model.check_arrays(checkpoint.parameters)  # before allocating anything of a forged size
    model.prepare(contexts(ctx), seed=None).load_arrays(checkpoint.parameters)
    model.pack()
    model.use_kernels()
    return model, checkpoint
