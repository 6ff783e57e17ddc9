"""The command `python -m gluonlm.export`, whose code is in `gluonlm.convert.export`."""

from .convert.export import main
from .system.console import run_command

__all__ = ["main"]

if __name__ == "__main__":
    run_command(main)
