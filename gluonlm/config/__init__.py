"""All settings; read `groups` first, which lists them."""

from ..system.console import flag
from .config import BEFORE, GROUPS, Config, changed_settings, read_settings
from .groups import GATES, NARROWER, STATEFUL, DataConfig, ModelConfig, TrainConfig
from .settings import SMALLEST

__all__ = [
    "BEFORE",
    "GATES",
    "GROUPS",
    "NARROWER",
    "SMALLEST",
    "STATEFUL",
    "Config",
    "DataConfig",
    "ModelConfig",
    "TrainConfig",
    "changed_settings",
    "flag",
    "read_settings",
]
