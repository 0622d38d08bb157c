"""Characters that the figures' font cannot draw, such as Chinese ones: never silently a box.

Matplotlib brings no font with Chinese, Japanese, Korean, Arabic or Devanagari letters. Where one is
installed that has all that a figure lacks, it draws them. Elsewhere a name stands for a title, and
what still cannot be drawn is said in the log and in the figure's footer.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from nashlens.errors import AGAIN

FONT = "DejaVu Sans"
_BOXES = "Last Resort"
"""How a font is named that has a box for every character."""
_MISSING = re.compile(r"Glyph (\d+) ")

log = logging.getLogger(__name__)


def drawable(text: str) -> bool:
    """Return whether the figures' font, or one that is installed, draws all of a text."""
    known = _characters(font_manager.findfont(FONT))
    lacking = {c for c in text if ord(c) not in known and not c.isspace()}
    return all(other_font(frozenset(c)) is not None for c in lacking)


@cache
def other_font(characters: frozenset[str]) -> str | None:
    """Return the first installed font, by name, that has some characters; None if none has all."""
    wanted = set(map(ord, characters))
    for name, path in sorted(_installed()):
        if wanted <= _characters(path):
            return name
    return None


def _installed() -> set[tuple[str, str]]:
    manager = font_manager.fontManager
    # Its own list is of the day when it was first made.
    for path in {*font_manager.findSystemFonts()} - {font.fname for font in manager.ttflist}:
        with suppress(OSError, RuntimeError):
            manager.addfont(path)
    found = {(font.name, font.fname) for font in manager.ttflist}
    return {font for font in found if not font[0].strip(".").startswith(_BOXES)}


@cache
def _characters(path: str) -> frozenset[int]:
    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        # Listed once, and since removed or damaged.
        return frozenset()


@contextmanager
def missing_glyphs() -> Iterator[set[str]]:
    """Collect the characters that are drawn as boxes in a block, in place of warnings of each."""
    found: set[str] = set()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield found
    for warning in caught:
        if glyph := _MISSING.match(str(warning.message)):
            found.add(chr(int(glyph[1])))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def lend_fonts(figure: Figure, characters: frozenset[str]) -> frozenset[str]:
    """Let installed fonts draw what a figure's own lacks; return what none of them has."""
    one = other_font(characters)
    single = {c: one or other_font(frozenset(c)) for c in characters}
    names = sorted({name for name in single.values() if name is not None})
    for text in figure.findobj(Text):
        text.set_fontfamily([FONT, *names])
    return frozenset(c for c, name in single.items() if name is None)


def say_missing(figure: str, characters: frozenset[str]) -> str:
    """Warn once of characters that no font draws; return it in short, for the footer."""
    every = "".join(sorted(characters))
    some = every if len(every) <= 20 else f"{every[:20]}... ({len(every)} characters)"
    log.warning(
        "%s: no installed font has %s, so boxes stand there: install one that does (such as Noto"
        " Sans CJK), delete the figure, and %s",
        figure,
        some,
        AGAIN,
    )
    number = f"{len(every)} character{'s' * (len(every) != 1)}"
    return f"boxes: {number} that no installed font has"
