"""The process in which `gluonlm run` executes a file. `python -m gluonlm.compat.process`."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import signal
import sys
import traceback

OPTIONS_VARIABLE = "GLUONLM_COMPAT"  # repairs, data folders, more paths and time limit, as JSON


class TimeLimit(BaseException):
    """The time limit of a cell or script was reached."""


def _start_clock(seconds: int) -> None:
    def stop(number, frame):
        raise TimeLimit(f"still running after {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)


def _stop_clock(*_) -> None:
    signal.alarm(0)


def _run_kernel(arguments, limit) -> None:
    from ipykernel.kernelapp import IPKernelApp

    app = IPKernelApp.instance()
    app.initialize(arguments)
    if limit:
        events = app.shell.events  # type: ignore[union-attr]
        events.register("pre_run_cell", lambda info: _start_clock(limit))
        events.register("post_run_cell", _stop_clock)
    app.start()


def _run_script(path, arguments, limit) -> None:
    sys.argv = [path, *arguments]
    sys.path[0] = os.path.dirname(os.path.abspath(path))
    if limit:
        _start_clock(limit)
    try:
        runpy.run_path(path, run_name="__main__")
    except TimeLimit:
        _end_at_once()
    finally:
        _stop_clock()


def _end_at_once() -> None:
    """End the process with a traceback, although threads of the script may wait forever."""
    traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    for child in multiprocessing.active_children():
        child.terminate()
    os._exit(1)


def main() -> None:
    from . import apply

    options = json.loads(os.environ.pop(OPTIONS_VARIABLE))
    apply(options["repairs"], options["data"])
    sys.path[1:1] = options["path"]
    kind, *arguments = sys.argv[1:]
    if kind == "kernel":
        _run_kernel(arguments, options["limit"])
    else:
        _run_script(arguments[0], arguments[1:], options["limit"])


if __name__ == "__main__":
    main()
