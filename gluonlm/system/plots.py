"""Figures with unframed axes, fonts for labels in any script, and conversion to PNG."""

from __future__ import annotations

import functools
import io
import unicodedata
import warnings
from collections.abc import Iterable

CJK = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH")
PLACEHOLDERS = "Last Resort"  # prefix of the names of fonts with a box for every character


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
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # in a bold font of the same family
        figure.savefig(picture, dpi=120)
    return picture.getvalue()


def drawable(labels: Iterable[str]) -> tuple[list[str], list[str], str]:
    """Return labels with the fonts to draw them in.

    Returns
    -------
    labels
        Characters that no installed font contains are replaced by their code points, `U+4E2D`.
    families
        The font families, in the order in which a glyph is searched.
    missing
        These characters.
    """
    labels = list(labels)
    families, missing = _fonts_for(frozenset("".join(labels)))
    codes = {ord(character): f"U+{ord(character):04X}" for character in missing}
    return [label.translate(codes) for label in labels], families, missing


def font_to_install(missing: str) -> str:
    """Return the name of a font, and of its package, for most of these characters."""
    names = [unicodedata.name(character, "") for character in missing]
    count = sum(name.startswith(CJK) for name in names)
    return "Noto Sans CJK (fonts-noto-cjk)" if 2 * count >= len(names) else "Noto (fonts-noto-core)"


@functools.lru_cache(maxsize=8)
def _fonts_for(characters):
    """Return font families for these characters, and the characters in no installed font."""
    import matplotlib
    from matplotlib import font_manager

    families = list(matplotlib.rcParams["font.family"])
    default = font_manager.findfont(font_manager.FontProperties())
    missing = {ord(character) for character in characters} - _glyphs(default)
    found = {}
    for path in sorted(font_manager.findSystemFonts()) if missing else []:
        if covered := missing & _glyphs(path):
            found[path] = covered
    while any(covered & missing for covered in found.values()):
        # the most characters, then the first regular font
        path = max(found, key=lambda path: (len(found[path] & missing), "Regular" in path))
        missing -= found.pop(path)
        font_manager.fontManager.addfont(path)
        families.append(font_manager.get_font(path).family_name)
    return families, "".join(map(chr, sorted(missing)))


def _glyphs(path):
    """Return the code points for which a font can be drawn, or none."""
    from matplotlib import font_manager

    try:
        font = font_manager.get_font(path)
        placeholders = font.family_name.startswith(PLACEHOLDERS)
        return set() if placeholders or not font.scalable else set(font.get_charmap())
    except (OSError, RuntimeError, ValueError):  # a damaged font, or bitmaps only
        return set()
