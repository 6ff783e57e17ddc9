"""Command-line flags of the neural cache and of dynamic evaluation."""

import argparse
from typing import Any

from ..config.flags import Parser, check_bounds
from ..system.errors import InputError


def add_cache(group: Any, purpose: str) -> None:
    """Add the flags of the neural cache to a group; `purpose` begins the help text."""
    group.add_argument(
        "--cache",
        type=int,
        default=0,
        metavar="N",
        help=f"{purpose} a neural cache of the last N hidden states (Grave et al. 2017); "
        "0: no cache (default: 0)",
    )
    numbers = (("theta", 0.3, "flatness of the cache"), ("weight", 0.1, "weight of the cache"))
    for name, default, about in numbers:
        group.add_argument(
            f"--cache-{name}",
            type=float,
            default=default,
            metavar="X",
            help=f"{about} (default: {default})",
        )


def add_dynamic(group: Any, purpose: str) -> None:
    """Add the flags of dynamic evaluation to a group; `purpose` begins the help text."""
    group.add_argument(
        "--dynamic",
        choices=("sgd", "rms"),
        help=f"{purpose} (Krause et al. 2018): by plain gradient descent, or with each step "
        "divided by the RMS of the weight's gradients in training",
    )
    numbers: tuple = (
        ("lr", float, None, "learning rate (default: 0.03 for sgd, 0.0002 for rms)"),
        ("decay", float, 0.0, "decay towards the trained weights at each step"),
        ("seq-len", int, 32, "tokens scored before each update"),
    )
    for name, kind, default, about in numbers:
        shown = "" if default is None else f" (default: {default:g})"
        metavar = "N" if kind is int else "X"
        flag, about = f"--dynamic-{name}", about + shown
        group.add_argument(flag, type=kind, default=default, metavar=metavar, help=about)


def check_adaptive(parser: Parser, arguments: argparse.Namespace) -> None:
    """Reject settings that are out of bounds, or have no effect.

    Raises
    ------
    InputError
        For the first such setting.
    """
    parser.reject_unused(arguments, ("cache_theta", "cache_weight"), without="cache")
    steps = ("dynamic_lr", "dynamic_decay", "dynamic_seq_len")
    parser.reject_unused(arguments, steps, without="dynamic")
    bounds = {"cache": 1e6, "cache_theta": 1e3, "cache_weight": 1}
    check_bounds(arguments, {"dynamic_lr": 1e6, "dynamic_decay": 1, **bounds})
    if arguments.dynamic_seq_len < 1:
        raise InputError(f"`dynamic_seq_len` {arguments.dynamic_seq_len}: must be at least 1")
