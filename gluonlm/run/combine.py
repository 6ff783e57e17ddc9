"""Command line: average the probabilities of runs. `python -m gluonlm combine --help`."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path

from ..config.flags import Parser
from ..system.console import run_command, show
from ..system.errors import InputError
from .checkpoint import Checkpoint

# what the members of an ensemble share; a part that one has learnt from can test none
ALIKE = {
    "model": ("model", "embed_size", "hidden_size", "num_layers", "tie_weights", "activation"),
    "data": ("level", "tokenizer", "lower", "split", "valid", "test", "document_separator"),
}


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser(
        "combine",
        "Make one run of several that were trained apart, with other seeds, on whichever "
        "machines: their probabilities are averaged, as those of train --members are.",
        examples=("runs/seed1 runs/seed2 runs/seed3 --run runs/three",),
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="runs of one kind of network on one text")
    parser.add_checkpoint()
    add("--run", metavar="DIR", required=True, help="folder of the new run")
    parser.add_overwrite()
    return parser


def combined(checkpoints: Mapping[str, Checkpoint]) -> Checkpoint:
    """Return the ensemble of checkpoints, which stand by the name of their run.

    Raises
    ------
    InputError
        If one is of another kind, another vocabulary, or another text than the first.
    """
    (name, first), *others = checkpoints.items()
    for other, checkpoint in others:
        for group, settings in ALIKE.items():
            its, own = (vars(getattr(each.config, group)) for each in (first, checkpoint))
            for setting in settings:
                if own[setting] != its[setting]:
                    raise InputError(
                        f"{other}: `{setting}` is {_say(own[setting])}, that of {name} "
                        f"{_say(its[setting])}: only what is alike can be averaged"
                    )
        if checkpoint.vocab != first.vocab:
            raise InputError(f"{other}: has another vocabulary than {name}")
        if checkpoint.progress.get("corpus") != first.progress.get("corpus"):
            raise InputError(f"{other}: was trained on another text than {name}")
    members = sum(each.config.model.members for each in checkpoints.values())
    model = dataclasses.replace(first.config.model, members=members)
    config = dataclasses.replace(first.config, model=model)
    text = {key: first.progress[key] for key in ("corpus",) if key in first.progress}
    whole = Checkpoint(config, first.vocab, _side_by_side(checkpoints), {}, {"step": 0, **text})
    return dataclasses.replace(whole, training=_squares_of_all(whole, checkpoints))


def _side_by_side(checkpoints):
    """Return the arrays of all networks, by the names that they have in an ensemble."""
    networks = [network for each in checkpoints.values() for network in each.networks()]
    return {
        f"networks.{number}.{part}": array
        for number, network in enumerate(networks)
        for part, array in network.items()
    }


def _squares_of_all(whole, checkpoints):
    """Return the squared gradients that `dynamic` needs, or nothing if a run has none."""
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
    named = _side_by_side(squares)
    return {f"optimizer.{number}.1": named[name] for number, name in enumerate(_names(whole))}


def _names(checkpoint):
    """Return the names of the parameters as training numbers them."""
    from ..models import build_model

    return list(build_model(checkpoint.config.model, len(checkpoint.vocab)).parameters())


def _say(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else value or "none"


def main(argv: list[str] | None = None) -> None:
    """Combine runs."""
    arguments: argparse.Namespace = make_parser().parse_args(argv)
    from ..models import build_model
    from .folder import Run

    if not 1 < len({Path(run).resolve() for run in arguments.runs}) == len(arguments.runs):
        raise InputError("combine: give at least two runs, each once")
    checkpoints = {name: Run(name).load(arguments.checkpoint) for name in arguments.runs}
    contents = combined(checkpoints)
    build_model(contents.config.model, len(contents.vocab)).check_arrays(contents.parameters)
    run = Run.create(arguments.run, arguments.overwrite)
    try:
        run.save(contents, ("best", "last"))
        run.write_config(contents.config)
    finally:
        run.unlock()
    count = sum(array.size for array in contents.parameters.values())
    show(
        f"{run.path}: {contents.config.model.members} networks, {count:,} parameters\n"
        f"score it: evaluate {run.path}\n"
    )


if __name__ == "__main__":
    run_command(main)
