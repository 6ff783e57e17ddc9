"""All settings of a run, read from flags, files and checkpoints."""

import dataclasses
import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..system.errors import InputError
from .groups import GATES, DataConfig, ModelConfig, TrainConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LONGEST = 1 << 20  # bytes of a settings file
RECORDED = 41  # settings in config.json of version 0.1.0, the fewest of any version
RENAMED = {"context": "window"}  # names in files of earlier versions
# defaults of earlier versions, for resuming their runs without changing the experiment
BEFORE = {
    "shuffle": "line",
    "output_bias": "zero",
    "keep_line_ends": True,
    "kernels": "mxnet",
    "horizon": "steps",
}


GROUPS = {"data": DataConfig, "model": ModelConfig, "training": TrainConfig}


@dataclass(frozen=True)
class Config:
    """All settings of a run, in three frozen groups."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainConfig = field(default_factory=TrainConfig)

    @classmethod
    def from_dict(cls, values: dict[str, Any], source="configuration") -> "Config":
        """Return a Config of settings by field name; missing settings have their defaults.

        Raises
        ------
        InputError
            If a name is unknown or a value is invalid.
        """
        values = {RENAMED.get(name, name): value for name, value in values.items()}
        names = {name: [item.name for item in _fields(group)] for name, group in GROUPS.items()}
        unknown = sorted(set(values) - {name for group in names.values() for name in group})
        if unknown:
            raise InputError(
                f"{source}: unknown setting {unknown[0][:100]!r}; the settings are the fields of "
                f"{', '.join(kind.__name__ for kind in GROUPS.values())} (gluonlm train `help_all`)"
            )
        return cls(
            **{
                group: GROUPS[group](**{name: values[name] for name in fields if name in values})
                for group, fields in names.items()
            }
        )

    @classmethod
    def from_kept(cls, values: dict[str, Any], source="configuration") -> "Config":
        """Return a checkpoint's Config; missing settings have the defaults of its version."""
        return cls.from_dict({**BEFORE, **values}, source)

    def to_dict(self) -> dict[str, Any]:
        """Return every setting by field name, ready for JSON."""
        groups = [dataclasses.asdict(getattr(self, name)) for name in GROUPS]
        return {name: value for group in groups for name, value in group.items()}

    def largest_operation(self) -> float:
        """Return the floating-point operations of the largest operator, to choose threads.

        The result is infinite for words, because the size of their vocabulary, and of the output
        layer, is not known yet.
        """
        model, training = self.model, self.training
        if self.data.level == "word":
            return math.inf
        gates = {**GATES, "window": 4}.get(model.model, 1)
        steps = {"unrolled": 1, "window": model.window}.get(model.model, training.seq_len)
        outputs, inputs = (
            gates * max(model.layer_sizes()),
            max(model.embed_size, *model.layer_sizes()),
        )
        return 2 * training.batch_size * steps * outputs * inputs


def _fields(group):
    return dataclasses.fields(group)


def changed_settings(old: Config, new: Config) -> list[tuple[str, Any, Any, bool]]:
    """Return the settings that differ: (name, old, new, whether resuming may change it)."""
    items = [item for group in GROUPS.values() for item in _fields(group)]
    free = {item.name for item in items if item.metadata["on_resume"]}
    before, after = old.to_dict(), new.to_dict()
    return [
        (name, before[name], after[name], name in free)
        for name in before
        if before[name] != after[name]
    ]


def read_settings(path) -> dict[str, Any]:
    """Read settings by field name from a `.toml` or `.json` file.

    Raises
    ------
    InputError
        If the file cannot be read or does not contain settings.
    """
    path = Path(path)
    kind = "JSON" if path.suffix == ".json" else "TOML"
    if path.exists() and (not path.is_file() or path.stat().st_size > LONGEST):
        raise InputError(f"`config` {path}: not a regular file of at most 1 MB")
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if kind == "JSON" else tomllib.loads(text)
    except OSError as error:
        raise InputError(f"`config` {path}: cannot read the file: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"`config` {path}: not valid {kind}: {error}") from None
    if not isinstance(values, dict):
        raise InputError(
            f'`config` {path}: must contain settings by name, such as {{"batch_size": 32}}'
        )
    return values


def is_record(values: dict[str, Any]) -> bool:
    """Return whether settings are a run's config.json, which lists all of them."""
    return len(values) >= RECORDED
