"""Every figure draws, with one model, two and four, in its width, and says why it is empty."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import pytest
from matplotlib.legend import Legend
from matplotlib.text import Text

from nashlens.errors import DataError
from nashlens.figures import registry

from .look import texts, visible_axes

draw = registry.draw


@pytest.fixture(
    scope="module",
    params=itertools.product(registry.FIGURES, ["one_model", "two_models", "four_models"]),
    ids="-".join,
)
def drawn(request):
    """Each figure with one, two and four models, drawn once; tests only look at it."""
    name, models = request.param
    figure = draw(name, request.getfixturevalue(models))
    figure.canvas.draw()
    return name, figure


def test_draws_with_labels_and_legend(drawn):
    name, figure = drawn
    assert not plt.get_fignums(), "figures must not register with pyplot"
    axes = visible_axes(figure)
    assert axes
    assert figure.get_suptitle()
    assert any(sub.legends for sub in figure.subfigs)
    assert any(ax.get_xlabel() for ax in axes)
    if name not in ("games", "ladder", "findings"):
        assert any(ax.get_ylabel() or len(ax.get_yticklabels()) > 2 for ax in axes)
    if name != "games":
        assert "n = " in texts(figure) or "n 384" in texts(figure)


def test_at_column_width_all_text_is_readable_inside_and_the_legend_short(drawn):
    _, figure = drawn
    assert figure.get_figwidth() in (3.5, 7.0)
    for text in figure.findobj(Text):
        assert not text.get_text().strip() or text.get_fontsize() >= 7, text
    for key in figure.findobj(Legend):
        labels = [text.get_text() for text in key.get_texts()]
        assert -(-len(labels) // key._ncols) <= 2, labels
        assert not any("\n" in label for label in labels)
        assert not key.get_title().get_text()
    box = figure.get_tightbbox(figure.canvas.get_renderer())
    assert box.x0 >= -0.02
    assert box.y0 >= -0.02
    assert box.x1 <= figure.get_figwidth() + 0.02
    assert box.y1 <= figure.get_figheight() + 0.02


def test_panel_headings_do_not_overlap(drawn):
    _, figure = drawn
    boxes = []
    for ax in visible_axes(figure):
        for text in (ax._left_title, ax.xaxis.label):
            if text.get_text():
                boxes.append((text.get_text(), text.get_window_extent()))
    for index, (one, box) in enumerate(boxes):
        for two, other in boxes[index + 1 :]:
            assert not box.overlaps(other), (one, two)


def test_an_interval_stays_on_one_line_beside_its_number(drawn):
    for line in drawn[1].get_suptitle().split("\n"):
        assert line.count("[") == line.count("]"), line
        assert not line.startswith("["), line


@pytest.mark.parametrize("name", registry.FIGURES)
def test_empty_tables_give_a_reason(name, one_model):
    tables = {table: frame.iloc[:0] for table, frame in one_model.items()}
    assert "no data:" in texts(draw(name, tables))


@pytest.mark.parametrize("name", registry.FIGURES)
def test_missing_column_is_named(name, one_model):
    tables = dict(one_model)
    table = registry.FIGURES[name].tables[0]
    column = {"games": "zero_sum", "findings": "verdict", "probes": "status", "metrics": "term"}
    column |= {"transfer": "status", "lens_layers": "layer", "calibration": "outcome"}
    gone = column.get(table, "estimate")
    tables[table] = tables[table].drop(columns=gone)
    with pytest.raises(DataError, match=f"table '{table}': has no column '{gone}'"):
        draw(name, tables)


@pytest.mark.parametrize("name", registry.FIGURES)
@pytest.mark.parametrize("palette", ["deep", "viridis"])
def test_palette_and_width(name, palette, one_model):
    figure = draw(name, one_model, palette=palette, width=9.0)
    assert figure.get_figwidth() == 9.0
