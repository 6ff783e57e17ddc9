"""Reject settings that have no effect together with the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from ..config import STATEFUL, Config
from ..corpus import CATALOGUE
from ..corpus.load import has_own_parts
from ..system.errors import InputError

WINDOWED = ("unrolled", "window")


class Rule(NamedTuple):
    """Settings, whether they have an effect, and what to use instead."""

    names: tuple[str, ...]
    effective: Callable[[Config], bool]
    remedy: Callable[[Config], str]


def _only(name: str, *values: str) -> tuple[Callable, Callable]:
    """Return the two functions of a rule: a setting must have one of these values."""
    holds = lambda config: config.to_dict()[name] in values  # noqa: E731
    text = f"only for `{name}` {' or '.join(values)}"
    return holds, lambda config: f"{text}, not {config.to_dict()[name]}"


def _carries_state(config):
    return config.model.model not in WINDOWED


def _named(config):
    """Return the catalogue's entry of the text, or None for the user's files."""
    return CATALOGUE.get(config.data.data[0]) if len(config.data.data) == 1 else None


def _has_files(config):
    entry = _named(config)
    return bool(entry and entry.files)


def _instead_of_folder(config):
    name, folder = config.data.data[0], config.data.data_dir
    if not _named(config):
        return "only for named corpora, and `data` names files"
    text = Path(folder) / "input.txt"  # char-rnn's name
    file = text if text.is_file() else "FILE"
    return f"not for the corpus {name}, which is included in Python: `data` {file} reads a text"


def _has_validation(config):
    if has_own_parts(config.data):
        return bool(config.data.valid or _named(config))
    return config.data.fractions()[1] > 0


def _no_validation(config):
    return "needs a validation part: set `split`, such as 90/5/5, or `valid`"


def _drops(config):
    return config.model.dropout > 0 or config.model.embed_dropout > 0


RULES = (
    Rule(("data_dir",), _has_files, _instead_of_folder),
    Rule(
        ("encoding",),
        lambda config: config.data.data != ("python-docs",),
        lambda config: "not for the corpus python-docs, which is not read from a file: use `data`",
    ),
    Rule(
        ("strip_gutenberg",),
        lambda config: not _named(config),
        lambda config: "only for files in `data`; the named corpora contain no such header",
    ),
    Rule(
        ("split",),
        lambda config: not has_own_parts(config.data),
        lambda config: (
            "not for a text whose parts are separate files: "
            + ("leave out `valid` and `test`" if not _named(config) else "leave it out")
        ),
    ),
    Rule(("vocab_size",), *_only("level", "word", "subword")),
    Rule(
        ("window", "window_step", "shuffle"),
        lambda config: not _carries_state(config),
        lambda config: f"only for `model` unrolled or window; {config.model.model} has `seq_len`",
    ),
    Rule(
        ("seq_len",),
        _carries_state,
        lambda config: f"only for `model` {STATEFUL}; {config.model.model} has `window`",
    ),
    Rule(
        ("loss_scale",),
        _carries_state,
        lambda config: f"only for `model` {STATEFUL}: a window has one target",
    ),
    Rule(("representation",), *_only("model", "window")),
    Rule(("activation",), *_only("model", "rnn", "unrolled")),
    Rule(
        ("embed_size",),
        lambda config: config.model.model != "window" or config.model.representation == "embedding",
        lambda config: "needs `representation` embedding for `model` window",
    ),
    Rule(("variational",), _drops, lambda config: "needs `dropout` or `embed_dropout` above 0"),
    Rule(("average_decay",), *_only("average", "ema")),
    Rule(("average_patience",), *_only("average", "nt-asgd")),
    Rule(
        ("init_lr_scale",),
        lambda config: config.training.optimizer.lower() != "adadelta",
        lambda config: "not for `optimizer` adadelta, which has no learning rate",
    ),
    Rule(("lr_floor",), *_only("schedule", "cosine", "one-cycle")),
    Rule(("horizon",), *_only("schedule", "cosine", "one-cycle")),
    Rule(
        ("horizon",),
        lambda config: config.training.max_minutes > 0,
        lambda config: "needs `max_minutes`",
    ),
    Rule(("decay",), *_only("schedule", "step", "plateau")),
    Rule(("decay_after",), *_only("schedule", "step")),
    Rule(("decay_patience",), *_only("schedule", "plateau")),
    Rule(("patience",), _has_validation, _no_validation),
    Rule(
        ("schedule",),
        lambda config: config.training.schedule != "plateau" or _has_validation(config),
        _no_validation,
    ),
    Rule(
        ("average",),
        lambda config: config.training.average != "nt-asgd" or _has_validation(config),
        _no_validation,
    ),
)


def check_effects(names: Collection[str], configs: Iterable[Config], kept=None) -> None:
    """Reject settings that have no effect.

    Parameters
    ----------
    names
        The settings that the user has given, by field name. The settings of presets are not
        checked, because some are for other models; neither are settings at their default, and
        `verify`, which only permits something.
    configs
        One Config, or those of a search; a setting must have an effect in one of them.
    kept
        The Config of a resumed run, whose settings are accepted instead of the defaults.

    Raises
    ------
    InputError
        For the first such setting; the message names the setting that would have an effect.
    """
    before = (kept or Config()).to_dict()
    configs = [*configs]
    for rule in RULES:
        for name in filter(names.__contains__, rule.names):
            values = [config.to_dict()[name] for config in configs]
            changed = [c for c, value in zip(configs, values) if value != before[name]]
            if changed and not any(map(rule.effective, changed)):
                value = changed[0].to_dict()[name]
                raise InputError(f"{_spoken(name, value)}: {rule.remedy(changed[0])}")


def _spoken(name, value):
    """Return a setting as written on the command line, in the form for messages."""
    if isinstance(value, bool):
        return f"`{name}`" if value else f"`no_{name}`"
    return f"`{name}` {','.join(map(str, value)) if isinstance(value, tuple) else value}"
