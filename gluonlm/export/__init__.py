"""What leaves the house: a trained network as a file that other programs run.

`plan` says in plain arrays what a checkpoint's networks are, `onnx` and `torch` write them, and
`check` runs what was written on real text before it gets its name. `python -m gluonlm export`.
"""

from .check import check_written, probe_text
from .plan import Network, networks_of

__all__ = ["Network", "check_written", "networks_of", "probe_text"]
