"""The course of the learning rate."""

import math

from ..config import TrainConfig


def learning_rate(
    config: TrainConfig, step: int, steps_per_epoch: int, total_steps: float, drops: int = 0
) -> float:
    """Return the learning rate of a step, counted from 0.

    Parameters
    ----------
    total_steps
        Where cosine ends.
    drops
        How often plateau has lowered it.
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "step":
        return config.lr * config.decay ** max(0, step // steps_per_epoch + 1 - config.decay_after)
    if config.schedule == "plateau":
        return config.lr * config.decay**drops
    if config.schedule == "cosine":
        length = max(1, total_steps - config.warmup_steps)
        part = min(1.0, (step - config.warmup_steps) / length)
        height = (1 + math.cos(math.pi * part)) / 2
        return config.lr * (config.lr_floor + (1 - config.lr_floor) * height)
    return config.lr
