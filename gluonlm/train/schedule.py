"""Learning-rate schedules."""

import math

from ..config import TrainConfig

RISE, FOOT = 0.3, 0.04  # one-cycle: fraction of steps that rise, and initial fraction of the rate


def learning_rate(
    config: TrainConfig, step: int, steps_per_epoch: int, total_steps: float, drops: int = 0
) -> float:
    """Return the learning rate of a step, counted from 0.

    Parameters
    ----------
    total_steps
        The horizon: the step at which cosine and one-cycle end.
    drops
        How often plateau has lowered the rate.
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "step":
        return config.lr * config.decay ** max(0, step // steps_per_epoch + 1 - config.decay_after)
    if config.schedule == "plateau":
        return config.lr * config.decay**drops
    if config.schedule == "constant":
        return config.lr
    top = config.warmup_steps
    if config.schedule == "one-cycle":
        top = max(top, round(RISE * total_steps))
        if step < top:
            return config.lr * (FOOT + (1 - FOOT) * step / top)
    part = min(1.0, (step - top) / max(1, total_steps - top))
    height = (1 + math.cos(math.pi * part)) / 2
    return config.lr * (config.lr_floor + (1 - config.lr_floor) * height)
