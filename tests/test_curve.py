"""The plot of a training."""

import numpy as np
import pytest

from gluonlm.evaluate.scoring import Unit
from gluonlm.train.curve import draw_curve


@pytest.mark.parametrize("level, top", [("char", 1.4 * 2 / np.log(2)), ("word", 1.4 * np.exp(2))])
def test_the_loss_of_the_first_steps_does_not_flatten_the_curve(level, top, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig",
        lambda figure, *args, **kwargs: drawn.append(figure.axes[0]),
    )
    losses = [("training", 9.0), ("validation", 2.0), ("training", 1.5), ("validation", 1.75)]
    draw_curve(
        [
            dict(event=event, epoch=i / 2, train_loss=loss, valid_loss=loss)
            for i, (event, loss) in enumerate(losses)
        ],
        Unit(level, 5.0 if level == "word" else 1.0),
    )
    bottom, highest = drawn[0].get_ylim()
    assert highest == pytest.approx(top)
    assert bottom > 0 or level == "char"
    assert drawn[0].get_yscale() == ("linear" if level == "char" else "log")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("losses", [(9.0, 2.0), (0.0, 0.0), (700.0, 690.0), (710.0, 2.0)])
@pytest.mark.parametrize("characters", [0.1, 1.0, 50.0])
def test_the_right_axis_shows_the_same_loss_in_bits_without_a_warning(
    losses, characters, monkeypatch
):
    drawn, unit = [], Unit("word", characters)
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig",
        lambda figure, *args, **kwargs: (figure.draw_without_rendering(), drawn.append(figure)),
    )
    draw_curve(
        [
            dict(event=event, epoch=0, train_loss=loss, valid_loss=loss)
            for event, loss in zip(("training", "validation"), losses)
        ],
        unit,
    )
    (axes,) = drawn[0].axes
    (right,) = axes.child_axes
    # the lower limit may be a perplexity below 1, which a log axis in bits cannot show
    top = unit.bits(np.log(axes.get_ylim()[1]))
    assert right.get_ylim()[1] == pytest.approx(top, rel=1e-9)
    ticks = [tick for each in (axes, right) for tick in each.get_yticklabels(which="both")]
    assert ticks and not any("$" in tick.get_text() for tick in ticks)  # no powers of ten


def test_words_that_look_like_formulas_are_drawn_verbatim():
    from gluonlm.embeddings import draw_map

    assert draw_map(np.zeros((2, 2)), [r"$\\frac{$", "$"]).startswith(b"\x89PNG")
