"""The loop and what belongs to it: `trainer.Trainer` is the file to read first."""

from .progress import Diverged, Progress
from .trainer import Trainer

__all__ = ["Diverged", "Progress", "Trainer"]
