"""The repairs that a process has applied."""

from __future__ import annotations

import json
import os

REPORT_VARIABLE = "GLUONLM_REPORT"  # a file that `gluonlm run` reads
applied: list[tuple[str, str]] = []  # names of repairs, and descriptions of what they changed


def record(repair: str, change: str) -> None:
    """Record a change of a repair, once, and append it to the file that $GLUONLM_REPORT names."""
    if (repair, change) in applied:
        return
    applied.append((repair, change))
    path = os.environ.get(REPORT_VARIABLE)
    if path:
        # the process may be killed later, and its children append to the same file
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps([repair, change]) + "\n")
