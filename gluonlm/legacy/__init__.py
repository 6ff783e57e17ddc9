"""What comes in: weights that Gluon's tutorials, GluonNLP or PyTorch's example have left behind.

`params` reads their files, `names` finds out what each array is. `python -m gluonlm import`.
"""

from .names import Found, recognise
from .params import read_arrays

__all__ = ["Found", "read_arrays", "recognise"]
