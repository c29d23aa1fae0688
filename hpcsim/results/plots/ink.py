"""What figures are drawn with: colours, lines, hatches, and texts of a width that is known before anything is drawn.

Texts come from anybody (a scenario's name, say). They are never read as formulas, and what the font cannot show, or
what would not fit, is replaced.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties, findfont, get_font

# Okabe and Ito (2008): told apart by all. Their yellow is left out, it is too light for a line.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
)  # fmt: skip
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
LINES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)))  # told apart without colours too
SOLID, DASHED, DOTTED, DASH_DOTTED = LINES
GREY, LIGHT = "#555555", "#D9D9D9"
HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "++++")

TEXT_PT = 9.0
_MEASURED_DPI = 288  # so fine that what the font is rounded to hardly matters
_SAFETY = 1.02  # a backend may round each letter to whole pixels
_NO_GLYPH = "�"

RC: Any = {
    "axes.edgecolor": GREY, "axes.grid": True, "axes.axisbelow": True, "axes.labelsize": TEXT_PT,
    "axes.linewidth": 0.8, "axes.spines.right": False, "axes.spines.top": False, "axes.xmargin": 0.0,
    "font.family": ["DejaVu Sans"], "font.size": TEXT_PT, "grid.alpha": 0.3, "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6, "pdf.fonttype": 42, "svg.hashsalt": "hpcsim", "text.parse_math": False, "timezone": "UTC",
    "xtick.labelsize": TEXT_PT, "ytick.labelsize": TEXT_PT,
}  # fmt: skip


@contextmanager
def inked() -> Iterator[None]:
    """In here matplotlib draws as hpcsim does, whatever the user's own settings are; they come back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


def line_of(number: int) -> tuple[str, Any]:
    """Colour and line style of the run of that number: 28 pairs before one comes again."""
    return COLOURS[number % len(COLOURS)], LINES[number % len(LINES)]


def plain(text: str) -> str:
    """The same text in one line of letters that the font has."""
    letters = _letters()
    return "".join(
        " " if letter.isspace() else letter if ord(letter) in letters and letter.isprintable() else _NO_GLYPH
        for letter in text
    )


def width_in(text: str, size_pt: float = TEXT_PT, *, bold: bool = False) -> float:
    """How many inches wide a text is."""
    # the renderer has no types
    width, _, _ = _renderer().get_text_width_height_descent(text, _font(size_pt, bold), ismath=False)  # type: ignore[no-untyped-call]
    return float(width) * _SAFETY / _MEASURED_DPI


def fitted(text: str, room_in: float, size_pt: float = TEXT_PT, *, bold: bool = False) -> str:
    """The text, with its middle left out where it is wider than ``room_in``: both ends may tell names apart."""
    text = plain(text)
    if width_in(text, size_pt, bold=bold) <= room_in:
        return text
    least, most = 0, len(text)  # letters that are kept
    while most - least > 1:
        half = (least + most) // 2
        if width_in(_without_middle(text, half), size_pt, bold=bold) <= room_in:
            least = half
        else:
            most = half
    return _without_middle(text, least)


def _without_middle(text: str, kept: int) -> str:
    behind = kept // 2
    return text[: kept - behind] + "…" + (text[-behind:] if behind else "")


@cache
def _renderer() -> RendererAgg:
    # nor is it typed how to make one
    return RendererAgg(1, 1, _MEASURED_DPI)  # type: ignore[no-untyped-call]


@cache
def _font(size_pt: float, bold: bool) -> FontProperties:
    return FontProperties(family="DejaVu Sans", size=size_pt, weight="bold" if bold else "normal")


@cache
def _letters() -> frozenset[int]:
    return frozenset(get_font(findfont(_font(TEXT_PT, False))).get_charmap())
