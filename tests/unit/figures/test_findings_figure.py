"""The figures of findings and of the ladder hold all their texts."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from nashlens.figures.registry import FIGURES, draw
from nashlens.findings.claims import ALL_CLAIMS

from .look import texts, visible_axes


def test_findings_without_controls_and_in_other_units(one_model):
    findings = one_model["findings"].assign(control=np.nan, estimate=40.0, ci_high=50.0, paper="")
    found = texts(draw("findings", {**one_model, "findings": findings}))
    assert "another unit" in found


def test_findings_say_what_they_hang_on(one_model):
    found = texts(draw("findings", one_model)).replace("\n", " ")
    assert "FRAGILE: template" in found
    assert "7/7 parts agree" in found
    assert "5/7 parts agree" in found


@pytest.mark.parametrize("models", ["one_model", "four_models"])
def test_beside_each_verdict_stands_the_smallest_effect_put_in_that_is_found(models, request):
    tables = request.getfixturevalue(models)
    findings = tables["findings"].assign(detectable=0.12, verdict="inconclusive")
    put = {
        "M1": (0.3, "standard deviations", "0.12\n(0.3 SD)"),
        "M2": (np.inf, "logits", "0.12\n(none)"),
        "M3": (np.nan, "logits", "0.12\n(no need)"),
        "M4": (np.nan, "", "0.12"),
        "M5": (0.25, "logits", "0.12\n(0.25 logits)"),
    }
    findings = findings[findings["claim"].isin(list(put))]
    findings["spike_found"] = [put[claim][0] for claim in findings["claim"]]
    findings["spike_unit"] = [put[claim][1] for claim in findings["claim"]]

    def said(findings):
        figure = draw("findings", {**tables, "findings": findings})
        (ax,) = [ax for ax in visible_axes(figure) if ax.get_title("left") == "detectable"]
        return [text.get_text() for text in ax.texts], texts(figure)

    found, whole = said(findings)
    assert found == [put[claim][2] for claim in findings["claim"]]
    for word in ("put into the model", "SD: standard deviations", "none: of no size", "no need:"):
        assert word in " ".join(whole.split())
    # Without an interval to judge by there is the spike alone; what was not judged has neither.
    found, _ = said(findings.assign(detectable=np.nan))
    assert found == [put[claim][2].removeprefix("0.12").strip() for claim in findings["claim"]]
    found, _ = said(findings.assign(verdict="not_applicable"))
    assert not any(found)


def pages_of(tables, models):
    """Draw all pages of the findings of a number of models."""
    number = FIGURES["findings"].pages(models)
    return [draw("findings", tables, page=page, pages=number) for page in range(1, number + 1)]


@pytest.mark.parametrize(
    ("models", "pages"), [("one_model", 1), ("two_models", 2), ("four_models", 2)]
)
def test_all_claims_fit_their_pages_with_nothing_cut_off(models, pages, request):
    tables = request.getfixturevalue(models)
    subjects = sorted(tables["findings"].query("claim == 'M1'")["model"])
    row = tables["findings"].query("claim == 'M1'").iloc[0]
    between = {"B3", "B4", "B5", "X1", "X2", "C1", "C2"}  # of several models
    rows = [
        {**row, "claim": claim.id, "model": model, "statement": claim.statement, "fragile": ""}
        for claim in ALL_CLAIMS
        for model in (["all models"] if claim.id in between else subjects)
    ]
    findings = pd.DataFrame(rows)
    findings.loc[::3, "fragile"] = "template, label_set"
    findings.loc[1::3, "fragile"] = "half"
    findings.loc[::5, ["estimate", "ci_low"]] = -0.00011, -0.00012
    if pages == 1:
        alone = findings["claim"].isin(between)
        gone = ["estimate", "ci_low", "ci_high", "control", "n", "n_matches", "detectable"]
        findings.loc[alone, gone] = np.nan
        findings.loc[alone, "verdict"] = "not_applicable"
    figures = pages_of({**tables, "findings": findings}, len(subjects))
    assert len(figures) == pages
    limits = set()
    for figure in figures:
        assert figure.get_figheight() * 200 <= 2200
        figure.canvas.draw()
        limits |= {ax.get_xlim() for ax in visible_axes(figure) if ax.get_xlabel()}
        box = figure.get_tightbbox(figure.canvas.get_renderer())
        assert box.y0 >= 0
        assert box.y1 <= figure.get_figheight()
    assert len(limits) == 1
    found = " | ".join(map(texts, figures))
    assert "…" not in found
    for claim in ALL_CLAIMS:
        assert found.replace("\n", " ").count(claim.statement) == 1
    assert (
        found.count("0.94 [0.91, 0.97]") + found.count("-0.00011 [")
        == findings["estimate"].notna().sum()
    )


def test_claims_stand_on_pages_in_their_order_and_no_page_is_needlessly_tall(four_models):
    one = draw("findings", four_models)
    both = pages_of(four_models, 4)
    ids = [[t for t in texts(figure).split(" | ") if re.fullmatch("[A-Z][0-9]+", t)]
           for figure in (one, *both)]  # fmt: skip
    assert ids[0] == ids[1] + ids[2]
    assert ids[1]
    assert ids[2]
    # Where the pages part, one claim more on the first would have made it the taller one.
    first, second = (figure.get_figheight() for figure in both)
    assert abs(first - second) < one.get_figheight() / len(ids[0])
    assert "(2 of 2)" in both[1].get_suptitle().replace("\u00a0", " ")
    assert "of 1)" not in one.get_suptitle()


def test_a_page_too_many_says_so(one_model):
    few = {**one_model, "findings": one_model["findings"].iloc[:1]}
    assert "all claims stand on the pages before" in texts(draw("findings", few, page=2, pages=2))


def test_other_bootstrap_numbers_make_nothing_robust(one_model):
    parts = one_model["sensitivity"].copy()
    rest = parts["factor"] != "bootstrap"
    parts.loc[rest, "agreement"] = "not_judged"
    found = texts(draw("findings", {**one_model, "sensitivity": parts}))
    assert "parts agree" not in found


def test_findings_without_parts_are_drawn_without_strips(one_model):
    bare = {**one_model, "sensitivity": one_model["sensitivity"].iloc[:0]}
    figure = draw("findings", bare)
    assert "parts agree" not in texts(figure)
    assert figure.get_figheight() <= draw("findings", one_model).get_figheight()


@pytest.mark.parametrize("models", ["one_model", "four_models"])
def test_texts_of_the_findings_do_not_overlap(models, request):
    figure = draw("findings", request.getfixturevalue(models))
    figure.canvas.draw()
    for ax in visible_axes(figure):
        boxes = [t.get_window_extent() for t in ax.texts if t.get_text().strip()]
        # Lines of one text may touch those of the next by a hair.
        boxes = [box.padded(-1.5) for box in boxes]
        for k, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[k + 1 :]), ax.get_title("left")


def test_parts_beyond_the_axis_are_arrows(one_model):
    parts = one_model["sensitivity"].copy()
    high = (parts["claim"] == "M5") & (parts["factor"] == "template")
    parts.loc[high, ["estimate", "ci_low", "ci_high"]] = [3.0, 2.0, 4.0]
    figure = draw("findings", {**one_model, "sensitivity": parts})
    marks = [line.get_marker() for ax in visible_axes(figure) for line in ax.lines]
    assert marks.count(">") == 2


def test_the_ladder_shows_where_a_published_finding_dissolves(one_model):
    ladder = one_model["ladder"]
    m6 = ladder[ladder["claim"] == "M6"]
    figure = draw("ladder", {"ladder": m6})
    figure.canvas.draw()
    said = texts(figure)
    for row in m6[m6["estimate"].notna()].to_dict("records"):
        assert f"{row['estimate']:.2f}" in said
    assert all(name in said.replace("\n", " ") for name in m6["name"])
    # One box for each rung, with the colour of what the rung concludes.
    boxes = [p for p in figure.findobj(Rectangle) if p.get_width() == 0.94]
    edges = {tuple(np.round(p.get_edgecolor(), 3)) for p in boxes}
    assert len(boxes) == 2 * len(m6)
    assert len(edges) == m6["concludes"].nunique()
    assert "no claim has a ladder" in texts(draw("ladder", {"ladder": m6.iloc[:0]}))


def test_texts_of_a_rung_stay_in_its_cell(one_model):
    ladder = one_model["ladder"].assign(unit="balanced accuracy", control="bag of words 0.58")
    figure = draw("ladder", {"ladder": ladder})
    figure.canvas.draw()
    (ax,) = visible_axes(figure)
    said = [text for text in ax.texts if text.get_text().strip()]
    assert {"balanced", "accuracy", "bag of", "words 0.58"} <= {text.get_text() for text in said}
    cells = [p.get_window_extent() for p in ax.patches if isinstance(p, Rectangle)]
    for text in said:
        box = text.get_window_extent()
        for cell in cells:
            if box.overlaps(cell.padded(-1.5)):
                assert cell.x0 <= box.x0, text
                assert box.x1 <= cell.x1 + 1.0, text
                assert cell.y0 <= box.y0, text
