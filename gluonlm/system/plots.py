"""Figures with unframed axes, and their conversion to PNG."""

import io


def new_axes(width: float, height: float, columns: int = 1) -> tuple:
    """Return a matplotlib figure of a size in inches, and its axes without top and right spines.

    The axes are a list if there are several columns.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    row = figure.subplots(1, columns, squeeze=False)[0]
    for axes in row:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, row[0] if columns == 1 else list(row)


def to_png(figure) -> bytes:
    """Return a figure as PNG at 120 dots per inch."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120)
    return picture.getvalue()
