"""The command `python -m gluonlm.import`, whose code is in `gluonlm.convert.import_`."""

from .convert.import_ import main
from .system.console import run_command

__all__ = ["main"]

if __name__ == "__main__":
    run_command(main)
