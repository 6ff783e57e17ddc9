"""The flags of models that adapt to what they read, for each command that can use them."""

import argparse
from typing import Any

from ..config.flags import check_bounds
from ..system.errors import InputError


def add_cache(group: Any, what: str) -> None:
    """Add to a group the flags of the neural cache, with what it is for."""
    group.add_argument(
        "--cache",
        type=int,
        default=0,
        metavar="N",
        help=f"{what} what followed those of the last N places that were like this one "
        "(Grave et al. 2017); 0: without (default: 0)",
    )
    numbers = (("theta", 0.3, "how like they must be"), ("weight", 0.1, "its share"))
    for name, default, about in numbers:
        group.add_argument(
            f"--cache-{name}",
            type=float,
            default=default,
            metavar="X",
            help=f"{about} (default: {default})",
        )


def add_dynamic(group: Any, what: str) -> None:
    """Add to a group the flags of dynamic evaluation, with what it is for."""
    group.add_argument(
        "--dynamic",
        choices=("sgd", "rms"),
        help=f"{what} (Krause et al. 2018): by plain gradient descent, or with steps divided by "
        "the size of each weight's gradients in training",
    )
    numbers: tuple = (
        ("lr", float, None, "size of its steps (default: 0.03; 0.0002)"),
        ("decay", float, 0.0, "part of the way back to the trained weights at each step"),
        ("seq-len", int, 32, "tokens predicted before they are learnt from"),
    )
    for name, kind, default, about in numbers:
        shown = "" if default is None else f" (default: {default:g})"
        metavar = "N" if kind is int else "X"
        flag, about = f"--dynamic-{name}", about + shown
        group.add_argument(flag, type=kind, default=default, metavar=metavar, help=about)


def check_adaptive(arguments: argparse.Namespace) -> None:
    """Reject settings that are out of their bounds.

    Raises
    ------
    InputError
        Naming the first.
    """
    bounds = {"cache": 1e6, "cache_theta": 1e3, "cache_weight": 1}
    check_bounds(arguments, {"dynamic_lr": 1e6, "dynamic_decay": 1, **bounds})
    if arguments.dynamic_seq_len < 1:
        raise InputError(f"`dynamic_seq_len` {arguments.dynamic_seq_len}: must be at least 1")
