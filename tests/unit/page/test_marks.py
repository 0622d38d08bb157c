"""The forms of charts: each can be zoomed and says its numbers, in facets as without."""

import json

import pandas as pd
import pytest

from nashlens.page import marks
from nashlens.page.charts import CHARTS, charts_of
from tests.unit.page.studies import study
from tests.unit.page.test_page import HOSTILE

LABELS = {"at": "at", "estimate": "estimate", "of": "of"}
FORMS = {
    "lines": lambda frame, **rest: marks.lines(frame, "at", series="of", labels=LABELS, **rest),
    "points": lambda frame, **rest: marks.points(frame, "at", series="of", labels=LABELS, **rest),
    "dots": lambda frame, **rest: marks.dots(frame, "name", series="of", labels=LABELS, **rest),
    "heat": lambda frame, **rest: marks.heat(frame, x="name", y="at", title="logits", **rest),
}
FRAME = pd.DataFrame(
    [
        {"name": name, "of": of, "at": at, "model": model, "estimate": at / 4, "n": 3}
        | {"ci_low": at / 4 - 0.1, "ci_high": at / 4 + 0.1}
        for model in ("one", "two")
        for of in ("a", "b")
        for name in ("x", "y")
        for at in (0, 1, 2)
    ]
)


def named(part):
    """Return the names of all units of a specification, however deep."""
    inner = [*part.get("layer", []), *([part["spec"]] if "spec" in part else [])]
    return {part.get("name"), *(name for one in inner for name in named(one))} - {None}


def assert_zooms(spec):
    (zoom,) = spec["params"]
    assert zoom["bind"] == "scales"
    assert "shiftKey" in zoom["select"]["zoom"]
    if "mark" not in spec:
        # A view that is not there would be left as it is, without a word.
        assert zoom["views"]
        assert set(zoom["views"]) <= named(spec)


# A map is always in facets.
@pytest.mark.parametrize(
    ("form", "facet"),
    [(form, "model") for form in FORMS] + [(form, None) for form in list(FORMS)[:3]],
)
def test_every_form_has_a_zoom_and_a_tooltip(form, facet):
    spec = marks.picture(FORMS[form](FRAME, facet=facet), "", "").spec
    assert ("facet" in spec) == (facet is not None)
    assert_zooms(spec)
    assert '"tooltip"' in json.dumps(spec)


def test_every_chart_of_a_page_has_a_zoom_and_a_tooltip():
    shown = study(("one", "two"))
    charts = [chart for claim in CHARTS for chart in charts_of(shown, claim)]
    assert len(charts) > len(CHARTS) / 2
    for chart in charts:
        assert_zooms(chart.spec)
        assert '"tooltip"' in json.dumps(chart.spec), chart.title


@pytest.mark.parametrize("form", FORMS)
def test_any_name_can_be_drawn(form):
    hostile = FRAME.replace({"x": HOSTILE, "a": f"a{HOSTILE}", "one": f"one{HOSTILE}\u2029"})
    svg = marks.picture(FORMS[form](hostile, facet="model"), "", "").svg
    assert "&lt;script&gt;" in svg
    assert "<script" not in svg


def test_a_map_has_a_cell_around_each_number():
    spec = marks.picture(FORMS["heat"](FRAME, facet="model"), "", "").spec
    (rows,) = spec["datasets"].values()
    assert {(row["from"], row["at"], row["to"]) for row in rows} == {
        (-0.5, 0, 0.5), (0.5, 1, 1.5), (1.5, 2, 2.5)
    }  # fmt: skip
    told = {one["field"] for one in spec["spec"]["encoding"]["tooltip"]}
    assert {"at", "estimate"} <= told
    assert not {"from", "to"} & told
