"""Pictures: axes without a frame, and their PNG."""

import io


def new_axes(width: float, height: float) -> tuple:
    """Return a matplotlib figure of this size in inches, and its axes without top and right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def to_png(figure) -> bytes:
    """Return a figure as PNG, 120 dots an inch."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120)
    return picture.getvalue()
