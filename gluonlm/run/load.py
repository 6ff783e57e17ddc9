"""A model from a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .checkpoint import Checkpoint
from .folder import Run

if TYPE_CHECKING:
    from ..models import LanguageModel


def load_model(run, which: str = "best", ctx=None) -> tuple[LanguageModel, Checkpoint]:
    """Read a model from a run's folder, or from one checkpoint's.

    Parameters
    ----------
    which
        "best" or "last".
    ctx
        A list of contexts to load it on; the CPU if None.

    Returns
    -------
    (LanguageModel, Checkpoint)
        The model, ready to score and generate, and all that was saved with it.

    Raises
    ------
    InputError
        If anything is missing or damaged.
    """
    from ..models import model_for

    checkpoint = Run(run).load(which)
    model = model_for(checkpoint.config, checkpoint.vocab)
    model.check_arrays(checkpoint.parameters)  # before anything of a forged size is allocated
    model.prepare(ctx, seed=None).load_arrays(checkpoint.parameters)
    model.pack()
    return model, checkpoint
