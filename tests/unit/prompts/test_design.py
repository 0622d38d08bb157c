"""Histories and wordings: balance, and what stays when a design grows."""

from collections import Counter
from dataclasses import replace
from itertools import combinations, product

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nashlens.errors import DataError
from nashlens.games import CATALOG
from nashlens.prompts import design as module
from nashlens.prompts.design import game_labels, neutral_sets, plan_histories, surfaces

LABEL_SETS = {"jf": ["J", "F"], "xy": ["X", "Y"], "pq": ["P", "Q"]}
MAPS, ORDERS = ["identity", "swapped"], ["forward", "reversed"]
OPPONENTS = ["TFT", "ALLC", "RANDOM", "ALLD", "WSLS", "GRIM"]
FACTORS = ["variant", "seat", "opponent", "template", "label_set"]


def plan(game="pd", **changes):
    values = {
        "templates": ["neutral", "named"],
        "label_sets": list(LABEL_SETS),
        "crossed": [],
        "n_variants": 3,
        "opponents": OPPONENTS,
        "histories": 12,
        "seed": 1,
    } | changes
    return plan_histories(game, **values)


def frame(found):
    return pd.DataFrame(
        {
            "match_id": one.match_id,
            "variant": one.variant,
            "seat": one.seat,
            "opponent": one.opponent,
            "template": template,
            "label_set": label_set,
        }
        for one in found
        for template, label_set in one.wordings
    )


def scenarios(found):
    return [replace(one, wordings=()) for one in found]


designs = st.fixed_dictionaries(
    {
        "templates": st.sampled_from([["a"], ["a", "b"], ["a", "b", "c"]]),
        "label_sets": st.sampled_from([["x"], ["x", "y"], ["x", "y", "z"], ["x", "y", "z", "w"]]),
        "n_variants": st.integers(1, 4),
        "opponents": st.sampled_from([OPPONENTS, OPPONENTS[:2], OPPONENTS[:1]]),
        "histories": st.integers(1, 48),
        "seed": st.integers(0, 2**32 - 1),
    }
)
quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def test_surfaces_are_fully_crossed():
    forms = surfaces(["neutral", "named"], LABEL_SETS, MAPS, ORDERS)
    assert len(forms) == len({form.code for form in forms}) == 2 * 3 * 2 * 2


def test_label_sets_of_actions_are_each_games_own_names():
    forms = surfaces(["neutral"], {"words": "actions"}, MAPS, ["forward"], CATALOG["stag_hunt"])
    assert [form.action_labels for form in forms] == [("Stag", "Hare"), ("Hare", "Stag")]
    assert {form.label_kind for form in forms} == {"actions"}
    assert game_labels(["J", "F"]) == ("J", "F")
    assert neutral_sets({"jf": ["J", "F"], "words": "actions"}) == {"jf": ["J", "F"]}
    with pytest.raises(DataError, match="give a game"):
        game_labels("actions")


def test_each_history_has_one_template_and_label_set():
    found = plan()
    assert [one.match_id for one in found] == [f"pd/{k}" for k in range(12)]
    assert {len(one.wordings) for one in found} == {1}
    table = frame(found)
    assert (table.groupby(["template", "label_set"]).size() == 2).all()
    # The two histories of a wording are of both seats.
    assert (table.groupby(["template", "label_set"])["seat"].nunique() == 2).all()


@quick
@given(designs)
def test_no_factor_goes_with_another(design):
    found = plan(**design)
    table = frame(found)
    assert table["match_id"].is_unique
    sizes = {
        "variant": design["n_variants"],
        "seat": 2,
        "opponent": len(design["opponents"]),
        "template": len(design["templates"]),
        "label_set": len(design["label_sets"]),
    }
    for factor, size in sizes.items():
        counts = table[factor].value_counts()
        slack = 1 if factor in ("variant", "seat", "opponent") else 3
        assert counts.max() - (counts.min() if len(counts) == size else 0) <= slack, factor
    together = table.groupby(["template", "label_set"]).size()
    whole = sizes["template"] * sizes["label_set"]
    assert together.max() - (together.min() if len(together) == whole else 0) <= 1
    for i, a in enumerate(FACTORS):
        for b in FACTORS[i + 1 :]:
            counts = pd.crosstab(table[a], table[b])
            expected = len(table) / (sizes[a] * sizes[b])
            assert (counts - expected).abs().to_numpy().max() <= 4, (a, b)


def slow_least(costs, rng):
    equal = [index for index, cost in enumerate(costs) if cost == min(costs)]
    return equal[int(rng.integers(len(equal)))]


def slow_cast(sizes, histories, rng):
    """The levels of each history, with every count looked up by itself."""
    used, dealt = Counter(), []
    for _ in range(histories):
        every = list(product(*map(range, sizes)))
        for factor, size in enumerate(sizes):
            least = min(used[factor, level] for level in range(size))
            every = [levels for levels in every if used[factor, levels[factor]] == least]
        costs = [sum(used[pair] for pair in combinations(enumerate(one), 2)) for one in every]
        chosen = every[slow_least(costs, rng)]
        used.update([*enumerate(chosen), *combinations(enumerate(chosen), 2)])
        dealt.append(chosen)
    return dealt


def slow_wordings(cast, levels_of, sizes, rng):
    """The template and label set of each history, with every count looked up by itself."""
    weights = [round((max(levels_of) / size) ** 2) for size in levels_of]
    used, dealt = Counter(), []
    for history in cast:
        every = list(product(*map(range, sizes)))
        least = min(used["both", words] for words in every)
        every = [words for words in every if used["both", words] == least]
        costs = [
            sum(used[part] for part in enumerate(words))
            + sum(
                weights[factor] * used[(factor, level), part]
                for (factor, level), part in product(
                    enumerate(history), [*enumerate(words), ("both", words)]
                )
            )
            for words in every
        ]
        chosen = every[slow_least(costs, rng)]
        parts = [*enumerate(chosen), ("both", chosen)]
        used.update([*parts, *product(enumerate(history), parts)])
        dealt.append(chosen)
    return dealt


@quick
@given(designs)
def test_counts_in_arrays_deal_as_counts_one_by_one_do(design):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_cast", slow_cast)
        patched.setattr(module, "_wordings", slow_wordings)
        slow = plan(**design)
    assert plan(**design) == slow


@quick
@given(designs, st.integers(1, 12))
def test_histories_that_are_added_change_no_other(design, more):
    grown = plan(**design | {"histories": design["histories"] + more})
    assert grown[: design["histories"]] == plan(**design)


@quick
@given(designs)
def test_words_that_are_added_change_no_scenario(design):
    before = plan(**design)
    grown = design | {"templates": [*design["templates"], "new"]}
    assert scenarios(plan(**grown)) == scenarios(before)
    grown = design | {"label_sets": [*design["label_sets"], "new"]}
    assert scenarios(plan(**grown)) == scenarios(before)


def test_crossed_factors_are_asked_of_every_history():
    both = plan(crossed=["templates", "label_sets"])
    assert {len(one.wordings) for one in both} == {6}
    assert scenarios(both) == scenarios(plan())
    table = frame(plan(crossed=["label_sets"], histories=6))
    assert (table.groupby("match_id")["label_set"].nunique() == 3).all()
    assert (table.groupby("match_id")["template"].nunique() == 1).all()
    assert (table.groupby("template")["match_id"].nunique() == 3).all()


def test_a_crossed_label_set_that_is_added_changes_no_other_wording():
    for one, more in zip(
        plan(crossed=["label_sets"]),
        plan(crossed=["label_sets"], label_sets=[*LABEL_SETS, "new"]),
        strict=True,
    ):
        assert more.wordings[:-1] == one.wordings


def test_other_games_draw_otherwise_and_the_seed_has_an_effect():
    def drawn(found):
        return frame(found)[FACTORS].to_numpy().tolist()

    assert drawn(plan("pd")) == drawn(plan("pd"))
    assert drawn(plan("pd")) != drawn(plan("chicken"))
    assert drawn(plan(seed=1)) != drawn(plan(seed=2))


def test_nothing_to_choose_from_is_refused():
    with pytest.raises(DataError, match=r"game pd: .* 0 opponents"):
        plan(opponents=[])
    with pytest.raises(DataError, match=r"game pd: .* 0 histories"):
        plan(histories=0)
