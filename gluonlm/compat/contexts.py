"""GPU contexts on computers without a GPU."""

from __future__ import annotations

from .hooks import after_import
from .record import record


def gpu_as_cpu() -> None:
    """Make every GPU context the CPU context of the same number, and count no GPUs."""
    after_import("mxnet.context", _replace)


def _replace(module):
    initialize = module.Context.__init__

    def __init__(self, device_type, device_id=0):
        if device_type == "gpu":
            record("gpu", f"gpu({device_id}) → cpu({device_id})")
            device_type = "cpu"
        initialize(self, device_type, device_id)

    module.Context.__init__ = __init__
    module.num_gpus = lambda: 0
