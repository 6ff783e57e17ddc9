"""Execution of a notebook or script in a process of its own, with repairs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import REPAIRS
from .notebook import code_cells, read_notebook
from .process import OPTIONS_VARIABLE, TimeLimit
from .record import REPORT_VARIABLE

ROOT = Path(__file__).parents[2]
START = f"import sys; sys.path[0] = {str(ROOT)!r}; from gluonlm.compat.process import main; main()"
INTERRUPTED = "interrupted"
PATIENCE = 60  # seconds after the time limit in which a cell must end


@dataclass
class Outcome:
    """How the execution of a file ended.

    Parameters
    ----------
    cells
        The number of cells executed, of `total`; 1 for a script.
    interrupted
        The cells that reached the time limit, from 1.
    error
        The exception that ended the file, in one line, or an empty string.
    seconds
        Wall time.
    repairs
        Names of repairs and their changes, in the order in which they were applied.
    notebook
        The executed notebook; None for a script.
    """

    total: int
    cells: int = 0
    interrupted: list[int] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0
    repairs: list[tuple[str, str]] = field(default_factory=list)
    notebook: Any = None


def run(
    path: Path,
    repairs: Sequence[str] = tuple(REPAIRS),
    data_folders: Sequence[Path] = (),
    import_folders: Sequence[Path] = (),
    arguments: Sequence[str] = (),
    limit: int = 0,
) -> Outcome:
    """Execute a notebook or script in a new process, in the file's folder.

    Parameters
    ----------
    limit
        Time limit of a cell or script, in seconds; 0: none. Cells after an interrupted one are
        executed with the variables that it left.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "repairs")
        options = {
            "repairs": [*repairs],
            "data": [os.path.abspath(path) for path in data_folders],
            "path": [os.path.abspath(path) for path in import_folders],
            "limit": limit,
        }
        environment = {
            **os.environ,
            OPTIONS_VARIABLE: json.dumps(options),
            REPORT_VARIABLE: str(report),
        }
        start = time.perf_counter()
        if path.suffix == ".py":
            outcome = _run_script(path, arguments, environment, limit)
        else:
            outcome = _run_notebook(path, environment, limit, Path(folder, "kernel"))
        outcome.seconds = time.perf_counter() - start
        if report.exists():
            lines = report.read_text(encoding="utf-8").splitlines()
            outcome.repairs = [tuple(json.loads(line)) for line in dict.fromkeys(lines)]
    return outcome


def _run_script(path, arguments, environment, limit) -> Outcome:
    command = [sys.executable, "-c", START, "script", path.name, *arguments]
    last = ""
    with subprocess.Popen(
        command, cwd=path.parent, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            for line in process.stderr or ():
                print(line, end="", file=sys.stderr)
                last = line.strip() or last
        except BaseException:
            process.kill()
            raise
    outcome = Outcome(1, 1)
    if TimeLimit.__name__ in last:
        outcome.interrupted = [1]
    elif process.returncode:
        outcome.error = last or f"exit code {process.returncode}"
    return outcome


def _run_notebook(path, environment, limit, socket) -> Outcome:
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    notebook = read_notebook(path)
    outcome = Outcome(len(code_cells(notebook)), notebook=notebook)
    client = _client(notebook, path, limit, socket)
    try:
        with client.setup_kernel(env=environment, cleanup_kc=True):
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type == "code" and cell.source.strip() and not outcome.error:
                    outcome.cells += 1
                    client.execute_cell(cell, index)
                    _read_error(cell, outcome)
    except KeyboardInterrupt:
        outcome.error = INTERRUPTED
    except DeadKernelError:
        outcome.error = "the process that executed it has died"
    except CellTimeoutError:
        outcome.error = f"did not end within {PATIENCE} s after the time limit"
    return outcome


def _read_error(cell, outcome) -> None:
    errors = [output for output in cell.outputs if output.output_type == "error"]
    if errors and errors[0].ename == TimeLimit.__name__:
        outcome.interrupted.append(outcome.cells)
    elif errors:
        lines = f"{errors[0].ename}: {errors[0].evalue}".strip().splitlines()
        # an error of MXNet's library ends with the message, after a stack
        outcome.error = f"{lines[0]} {lines[-1]}" if lines[1:] else lines[0]


def _client(notebook, path, limit, socket):
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    argv = [sys.executable, "-c", START, "kernel", "-f", "{connection_file}", "--log-level=ERROR"]
    # sockets in a private folder; TCP would be open to other users of the computer
    manager = AsyncKernelManager(transport="ipc", ip=str(socket))
    manager._kernel_spec = KernelSpec(argv=argv, display_name="gluonlm", language="python")
    return NotebookClient(
        notebook,
        km=manager,
        timeout=limit + PATIENCE if limit else None,
        allow_errors=True,
        shutdown_kernel="immediate",
        resources={"metadata": {"path": str(path.parent)}},
    )
