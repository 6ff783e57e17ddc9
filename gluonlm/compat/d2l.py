"""The packages of Dive into Deep Learning: its tabs, and the release that a notebook needs."""

from __future__ import annotations

import re
import sys
import types

from .record import record

TAB = "mxnet"
# a pattern of a notebook's code and the release of the package that it needs; the first counts
RELEASES = (
    (
        r"d2l\.(load_data_time_machine\(\)|train_and_predict_rnn|data_iter_consecutive)",
        "d2l==0.8.7",
    ),
    (r"\bd2l\.(Module|Trainer|HyperParameters)\b", "d2l==1.0.3"),
    (r"from d2l import mxnet as d2l", "d2l==0.17.6"),
    (r"import d2lzh", "d2lzh==1.0.0"),
    (r"import d2l\b(?s:.*)\bnpx\b|\bnpx\b(?s:.*)import d2l\b", "d2l==0.11.4"),
    (r"\bd2l\.train\(", "d2l==0.9.2"),
    (r"import d2l\b", "d2l==0.10.3"),
)


class _Tab:
    """The object `tab` of a notebook: MXNet is selected."""

    @staticmethod
    def interact_select(*names) -> None:
        record("d2l", "tab.interact_select selects mxnet")

    @staticmethod
    def selected(*names: str) -> bool:
        return TAB in names


def select_mxnet() -> None:
    """Provide `%load_ext d2lbook.tab`, which selects the framework of a notebook of d2l.ai."""

    def load_ipython_extension(ipython):
        ipython.push({"tab": _Tab()})

    module = types.ModuleType("d2lbook.tab")
    module.load_ipython_extension = load_ipython_extension  # type: ignore[attr-defined]
    package = types.ModuleType("d2lbook")
    package.tab, package.__path__ = module, []  # type: ignore[attr-defined]
    sys.modules.setdefault("d2lbook", package)
    sys.modules.setdefault("d2lbook.tab", module)


def needed_release(code: str) -> str:
    """Return the release of d2l that code needs, such as "d2l==0.17.6", or an empty string."""
    return next((release for pattern, release in RELEASES if re.search(pattern, code)), "")
