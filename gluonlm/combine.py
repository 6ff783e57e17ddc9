"""The command `python -m gluonlm.combine`, whose code is in `gluonlm.run.combine`."""

from .run.combine import main
from .system.console import run_command

__all__ = ["main"]

if __name__ == "__main__":
    run_command(main)
