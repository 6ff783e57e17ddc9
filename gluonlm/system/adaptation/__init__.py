"""MXNet 1.9.1 on later releases of Python, NumPy and ONNX.

MXNet uses names that these libraries have removed since 2022. `adapt` gives each module of MXNet
its own `__import__`: there, `import numpy` binds a copy of the module `numpy` that also has the
missing names, including imports inside functions. All other modules import the unchanged
libraries, so tests such as `hasattr(numpy, "float_")` remain correct. `repair` then changes the
functions and classes of MXNet that return different results with NumPy 2.
"""

from __future__ import annotations

from typing import Any

from ..errors import InputError
from .modules import adapt
from .repairs import repair

__all__ = ["adapt", "load_gluonnlp", "repair"]


def load_gluonnlp() -> Any:
    """Import GluonNLP and return the module.

    Raises
    ------
    InputError
        If GluonNLP is not installed.
    """
    try:
        import gluonnlp
    except ModuleNotFoundError as error:
        if error.name != "gluonnlp":
            raise
        raise InputError(
            "GluonNLP is not installed: pip install 'gluonlm[gluonnlp]' (needs a C compiler)"
        ) from None
    return gluonnlp
