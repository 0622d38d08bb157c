"""Letters that the figures' font lacks: another font's, or a name, and a note in every case."""

import logging

import pytest
from matplotlib import font_manager

from nashlens.figures import glyphs, registry, style

CHINESE = {"title": "囚徒困境", "action_0": "合作", "action_1": "背叛"}
RING = "\u24b6"
"""A sign that no DejaVu font has, and one of matplotlib's own others, STIX, has."""


@pytest.fixture(params=[False, True], ids=["none installed", "one installed"])
def installed(request, monkeypatch):
    """Only the fonts that matplotlib brings; or with those that are no DejaVu's."""
    own = {(f.name, f.fname) for f in font_manager.fontManager.ttflist if "mpl-data" in f.fname}
    own = {font for font in own if not font[0].startswith(glyphs._BOXES)}
    dejavu = {font for font in own if font[0].startswith("DejaVu")}
    monkeypatch.setattr(glyphs, "_installed", lambda: own if request.param else dejavu)
    glyphs.other_font.cache_clear()
    yield request.param
    glyphs.other_font.cache_clear()


def save(one_model, folder, **texts):
    games = one_model["games"].assign(**texts)
    figure = registry.draw("games", one_model | {"games": games})
    style.save(figure, folder / "games", ["png"], 60, {})
    return figure


def texts_of(figure):
    return [text.get_text() for text in figure.findobj(glyphs.Text)]


def test_a_title_that_no_font_draws_gives_way_to_the_games_name(
    installed, one_model, tmp_path, caplog
):
    assert not glyphs.drawable(CHINESE["title"])
    with caplog.at_level(logging.WARNING):
        figure = save(one_model, tmp_path / "a", **CHINESE)
    (said,) = (record.getMessage() for record in caplog.records)
    assert said == "no installed font draws 囚徒困境, 合作, 背叛: names stand in their place"
    name = style.words(one_model["games"]["game"].iloc[0])
    assert {name, "action 0", "action 1"} <= set(texts_of(figure))
    assert not any(c in text for text in texts_of(figure) for c in CHINESE["title"])
    # As far as the font goes, a user's words stand.
    figure = save(one_model, tmp_path / "b", title="Gefängnis Ψ ≥ Ж")
    assert "Gefängnis Ψ ≥ Ж" in texts_of(figure)


def test_an_installed_font_lends_its_glyphs(installed, one_model, tmp_path, caplog):
    assert glyphs.drawable(f"a {RING}") == installed
    figure = save(one_model, tmp_path, title=f"a {RING}")
    assert (f"a {RING}" in texts_of(figure)) == installed
    assert bool(caplog.records) != installed


def test_boxes_are_said_once_in_the_log_and_in_the_footer(
    installed, one_model, tmp_path, caplog, recwarn
):
    figure = registry.draw("games", one_model)
    figure.suptitle(f"囚徒 {RING} 囚")
    with caplog.at_level(logging.WARNING):
        style.save(figure, tmp_path / "games", ["png", "svg"], 60, {})
    (said,) = (record.getMessage() for record in caplog.records)
    lacking = "囚徒" if installed else f"{RING}囚徒"
    assert f"games: no installed font has {lacking}, so boxes stand there" in said
    assert f"boxes: {len(lacking)} characters that no installed font has" in figure.get_supxlabel()
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


def test_the_box_font_is_none():
    assert not any(name.startswith(glyphs._BOXES) for name, _ in glyphs._installed())
