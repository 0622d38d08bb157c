"""The crossing, and that seats, opponents and variants go with no surface attribute."""

import pandas as pd
import pytest

from nashlens.errors import DataError
from nashlens.prompts.design import assign_matches, surfaces

LABEL_SETS = {"jf": ["J", "F"], "xy": ["X", "Y"], "pq": ["P", "Q"]}
MAPS, ORDERS = ["identity", "swapped"], ["forward", "reversed"]
FORMS = surfaces(["neutral", "named"], LABEL_SETS, MAPS, ORDERS)
OPPONENTS = ["TFT", "ALLC", "RANDOM", "ALLD", "WSLS", "GRIM"]


def cells(game="pd", forms=FORMS, **changes):
    values = {"n_variants": 3, "opponents": OPPONENTS, "histories": 1, "seed": 1} | changes
    return assign_matches(game, forms, **values)


def frame(found):
    return pd.DataFrame(
        {
            "variant": cell.variant,
            "seat": cell.seat,
            "opponent": cell.opponent,
            "template": cell.surface.template,
            "label_set": cell.surface.label_set,
            "label_map": cell.surface.label_map,
            "option_order": cell.surface.option_order,
            "first_label": cell.surface.labels.index(cell.surface.label(cell.surface.order[0])),
        }
        for cell in found
    )


def test_surfaces_are_fully_crossed():
    assert len(FORMS) == len({form.code for form in FORMS}) == 2 * 3 * 2 * 2


def test_match_ids_are_distinct_and_say_what_they_are():
    found = cells(histories=2)
    assert len({cell.match_id for cell in found}) == len(found) == 48
    assert found[0].match_id == "pd/neutral/jf/identity/forward/0"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("changes", [{}, {"histories": 3}, {"n_variants": 5}, {"n_variants": 1}])
def test_levels_are_balanced(seed, changes):
    table = frame(cells(seed=seed, **changes))
    for factor in ("variant", "seat", "opponent"):
        counts = table[factor].value_counts()
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("histories", [1, 4])
def test_seat_and_opponent_go_with_no_surface_attribute(seed, histories):
    table = frame(cells(seed=seed, histories=histories))
    for attribute in ("template", "label_set", "label_map", "option_order", "first_label"):
        for factor, slack in (("seat", 1), ("opponent", 2), ("variant", 2)):
            counts = pd.crosstab(table[attribute], table[factor])
            expected = len(table) / counts.size
            assert (counts - expected).abs().to_numpy().max() <= slack, (attribute, factor)
    together = pd.crosstab(table["seat"], table["opponent"]).to_numpy()
    assert abs(together - len(table) / 12).max() <= 2


def test_other_games_draw_otherwise_and_the_seed_has_an_effect():
    def seats(found):
        return [(cell.seat, cell.opponent, cell.variant) for cell in found]

    assert seats(cells("pd")) == seats(cells("pd"))
    assert seats(cells("pd")) != seats(cells("chicken"))
    assert seats(cells(seed=1)) != seats(cells(seed=2))


def test_a_template_that_is_added_changes_no_cell():
    assert cells(forms=surfaces(["neutral"], LABEL_SETS, MAPS, ORDERS)) == cells()[:12]


def test_nothing_to_choose_from_is_refused():
    with pytest.raises(DataError, match=r"game pd: .* 0 opponents"):
        cells(opponents=[])
