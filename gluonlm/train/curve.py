"""Draw learning curves from the metrics of a run."""

from typing import Any

import numpy as np

from ..evaluate.scoring import Unit, perplexity
from ..system.plots import new_axes, to_png

STYLES = {
    "training": dict(color="#9aa5b1", linewidth=1),
    "validation": dict(color="#c2410c", marker="o", markersize=3),
}
HEADROOM = 1.4  # end of the axis, as a multiple of the worst validation loss
LARGEST = np.log(np.finfo(float).max)  # the largest finite exponent of e


def draw_curve(records: list[dict[str, Any]], unit: Unit) -> bytes:
    """Draw training and validation loss over epochs.

    Parameters
    ----------
    unit
        The text's unit: bits per character; or for words, perplexity on a logarithmic axis, with
        bits per character on the right.

    Returns
    -------
    bytes
        The image in PNG format.
    """
    figure, axes = new_axes(7, 4)
    words = unit.level == "word"
    shown = perplexity if words else unit.bits
    for event, key in (("training", "train_loss"), ("validation", "valid_loss")):
        points = _points(records, event, key, shown)
        if points:
            axes.plot(*zip(*points), label=event, **STYLES[event])
    if words:
        from matplotlib.ticker import AutoLocator, LogLocator

        axes.set_yscale("log")
        axes.yaxis.set(major_locator=LogLocator(subs=(1, 2, 3, 5, 7)), major_formatter="{x:g}")
        # matplotlib tries ticks far outside the axis
        both = (
            lambda shown: unit.bits(np.log(shown)),
            lambda bits: np.exp(np.minimum(bits / unit.bits(1.0), LARGEST)),
        )
        right = axes.secondary_yaxis("right", functions=both)
        right.set_ylabel("bits per character")
        right.yaxis.set(major_locator=AutoLocator(), major_formatter="{x:g}")
        for each in (axes, right):
            each.minorticks_off()
    validated = _points(records, "validation", "valid_loss", shown)
    if validated:
        _mark_best(axes, validated)
    axes.set_xlabel("epoch")
    axes.set_ylabel("perplexity" if words else "bits per character")
    if axes.lines:
        axes.legend(frameon=False)
    return to_png(figure)


def _points(records, event, key, shown):
    return [
        (record["epoch"], shown(record[key]))
        for record in records
        if record["event"] == event and record.get(key) is not None
    ]


def _mark_best(axes, validated):
    epoch, best = min(validated, key=lambda point: point[1])
    highest = HEADROOM * max(loss for _, loss in validated)
    # the first losses can be many times the rest and would flatten the curve
    axes.set_ylim(top=min(axes.get_ylim()[1], highest))
    style = dict(color="#c2410c")
    axes.axhline(best, linewidth=0.6, linestyle=":", **style)
    where = dict(xytext=(0, 8), textcoords="offset points", ha="right")
    axes.annotate(f"best {best:.3g}", (epoch, best), **where, **style)
