"""MXNet 1.9.1 on later releases of Python, NumPy and ONNX.

MXNet's modules find names that these libraries have removed since 2022. All other modules see the
libraries unchanged, so a library that tests `hasattr(numpy, "float_")` is not misled. `adapt`
gives a module its own `__import__`: there, `import numpy` binds a copy of the module `numpy` that
has the missing names as well, including imports inside functions. `repair` then changes the few
functions and classes of MXNet that give other results with NumPy 2.
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
        If it is not installed.
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
