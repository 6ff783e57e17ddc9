"""Command line: combine runs into an ensemble. `python -m gluonlm combine --help`."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping

from ..config.flags import Parser
from ..system.console import run_command, show
from ..system.errors import InputError
from .checkpoint import Checkpoint

# settings that all members share; no member may have been trained on another's test part
ALIKE = {
    "model": ("model", "embed_size", "hidden_size", "num_layers", "tie_weights", "activation"),
    "data": (
        *("level", "tokenizer", "lower", "split", "valid", "test"),
        *("keep_line_ends", "document_separator", "field"),
    ),
}


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser(
        "combine",
        "Combine several runs, trained separately with different seeds, into one run that "
        "averages their probabilities, like train --members.",
        examples=("runs/seed1 runs/seed2 runs/seed3 --run runs/three",),
    )
    add = parser.add_argument
    add(
        "runs",
        nargs="+",
        metavar="RUN",
        help="runs with the same architecture, trained on the same text",
    )
    parser.add_checkpoint()
    add("--run", metavar="DIR", required=True, help="folder of the new run")
    parser.add_overwrite("run")
    return parser


def combined(checkpoints: Mapping[str, Checkpoint]) -> Checkpoint:
    """Return the ensemble of checkpoints, given by the name of their run.

    Raises
    ------
    InputError
        If the settings, vocabulary or text of a run differ from those of the first.
    """
    (name, first), *others = checkpoints.items()
    for other, checkpoint in others:
        for group, settings in ALIKE.items():
            wanted, found = (vars(getattr(each.config, group)) for each in (first, checkpoint))
            for setting in settings:
                if found[setting] != wanted[setting]:
                    raise InputError(
                        f"{other}: `{setting}` is {_shown(found[setting])}, but "
                        f"{_shown(wanted[setting])} in {name}: must be the same in all runs"
                    )
        if checkpoint.vocab != first.vocab:
            raise InputError(f"{other}: its vocabulary differs from {name}")
        if checkpoint.progress.get("corpus") != first.progress.get("corpus"):
            raise InputError(f"{other}: was not trained on the text of {name}")
    members = sum(each.config.model.members for each in checkpoints.values())
    model = dataclasses.replace(first.config.model, members=members)
    config = dataclasses.replace(first.config, model=model)
    text = {key: first.progress[key] for key in ("corpus",) if key in first.progress}
    arrays = _member_arrays(checkpoints)
    ensemble = Checkpoint(config, first.vocab, arrays, {}, {"step": 0, **text})
    return dataclasses.replace(ensemble, training=_squares_of_all(ensemble, checkpoints))


def _member_arrays(checkpoints):
    """Return the arrays of all networks under the names of ensemble members."""
    networks = [network for each in checkpoints.values() for network in each.networks()]
    return {
        f"networks.{number}.{part}": array
        for number, network in enumerate(networks)
        for part, array in network.items()
    }


def _squares_of_all(ensemble, checkpoints):
    """Return the squared gradients that `dynamic` needs, or {} if they are missing in a run."""
    squares = {}
    for run, checkpoint in checkpoints.items():
        kept = {
            name: checkpoint.training.get(f"optimizer.{number}.1")
            for number, name in enumerate(_names(checkpoint))
        }
        if checkpoint.config.training.optimizer != "adam" or any(
            array is None for array in kept.values()
        ):
            return {}
        squares[run] = dataclasses.replace(checkpoint, parameters=kept)
    named = _member_arrays(squares)
    return {f"optimizer.{number}.1": named[name] for number, name in enumerate(_names(ensemble))}


def _names(checkpoint):
    """Return the names of the parameters in the order of training."""
    from ..models import build_model

    return list(build_model(checkpoint.config.model, len(checkpoint.vocab)).parameters())


def _shown(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else value or "none"


def main(argv: list[str] | None = None) -> None:
    """Combine runs."""
    arguments: argparse.Namespace = make_parser().parse_args(argv)
    from ..models import build_model
    from .folder import Run

    if not 1 < len({*map(os.path.realpath, arguments.runs)}) == len(arguments.runs):
        raise InputError("combine: at least two different runs are required")
    checkpoints = {name: Run(name).load(arguments.checkpoint) for name in arguments.runs}
    contents = combined(checkpoints)
    build_model(contents.config.model, len(contents.vocab)).check_arrays(contents.parameters)
    run = Run.with_checkpoint(arguments.run, contents, arguments.overwrite)
    count = sum(array.size for array in contents.parameters.values())
    show(
        f"{run.path}: {contents.config.model.members} networks, {count:,} parameters\n"
        f"score it with: evaluate {run.path}\n"
    )


if __name__ == "__main__":
    run_command(main)
