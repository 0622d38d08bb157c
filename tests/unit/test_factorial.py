"""Parts of blocks, and intervals of their averages."""

import doctest
import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit

from benchmarks import coverage as simulated
from benchmarks.coverage import Design, answers_of
from nashlens import factorial
from nashlens.factorial import PARTS, STRATA, BlockEstimate, ScenarioBlocks


def design(histories=6, games=("g", "h"), label_sets=("l",), templates=("t",)):
    """One block for each history."""
    rows = [
        {
            "block_id": f"{game}/{history}/{template}/{label_set}",
            "match_id": f"{game}/{history}/{template}/{label_set}",
            "game": game,
            "template": template,
            "label_set": label_set,
            "label_map": label_map,
            "option_order": order,
        }
        for game in games
        for template in templates
        for label_set in label_sets
        for history in range(histories)
        for label_map in ("identity", "swapped")
        for order in ("forward", "reversed")
    ]
    return pd.DataFrame(rows)


def test_a_column_of_few_degrees_of_freedom_widens_no_other():
    rng = np.random.default_rng(1)
    blocks = ScenarioBlocks(design(histories=8))
    values = rng.normal(size=(len(blocks), 1))
    # Two clusters differ in the second column, so that its error has few degrees of freedom.
    few = np.zeros((len(blocks), 1))
    few[:2, 0] = 1.0, -1.0
    found = blocks.estimate(np.hstack([values, few]))
    _, _, critical = found.simultaneous(0.95, 2000, rng)
    one = -stdtrit(found.freedom, 0.025)
    two = -stdtrit(found.freedom, 0.0125)
    assert (critical >= one - 1e-9).all()
    assert (critical <= two + 1e-9).all()


def test_one_column_has_students_own_bounds_and_none_vary_has_no_width():
    rng = np.random.default_rng(2)
    blocks = ScenarioBlocks(design())
    found = blocks.estimate(rng.normal(size=(len(blocks), 1)))
    low, high, _ = found.simultaneous(0.9, 4000, rng)
    alone = found.interval(0.9)
    assert low[0] == pytest.approx(alone[0][0], rel=0.02, abs=0.02)
    assert high[0] == pytest.approx(alone[1][0], rel=0.02, abs=0.02)
    low, high, _ = blocks.estimate(np.full((len(blocks), 2), 0.3)).simultaneous(0.9, 50, rng)
    np.testing.assert_allclose([low, high], 0.3)


def _answers(design=None, seed=0):
    """Rows of a design in all forms, with a sign for each and random answers of two columns."""
    design = design or Design(12, strata=2, games=2, uneven=2.0)
    rows, rng = answers_of(design.blocks()), np.random.default_rng(seed)
    towards = rows["block_id"].map({b: rng.choice([-1.0, 1.0]) for b in rows["block_id"].unique()})
    return rows, towards.to_numpy(), rng.normal(size=(len(rows), 2))


def test_the_example_in_the_module_runs():
    tried = doctest.testmod(factorial)
    assert tried.attempted > 0
    assert not tried.failed


def test_parts_are_the_coefficients_of_each_blocks_own_effect_coded_regression():
    rows, towards, values = _answers()
    blocks = ScenarioBlocks(rows)
    parts = blocks.parts(values, towards)
    for number, block in enumerate(blocks.frame["block_id"]):
        here = (rows["block_id"] == block).to_numpy()
        word = np.where(rows["label_map"][here] == "swapped", 1.0, -1.0)
        place = np.where(rows["option_order"][here] == "reversed", 1.0, -1.0)
        sign = towards[here]
        effects = np.stack([sign, word, place, sign * word * place], axis=1)
        found, *_ = np.linalg.lstsq(effects, values[here], rcond=None)
        for part, coefficients in zip(PARTS, found, strict=True):
            np.testing.assert_allclose(parts[part][number], coefficients, atol=1e-12)


def _slow_estimate(frame, values):
    """Estimate, error and degrees of freedom of one column, history by history, as defined.

    Each history has blocks in one stratum only, each stratum several histories.
    """
    estimate, variances, sizes = 0.0, [], []
    games = sorted(set(frame["game"]))
    for game in games:
        strata = sorted(set(frame[frame["game"] == game].groupby(list(STRATA)).groups))
        for stratum in strata:
            inside = (frame[list(STRATA)].apply(tuple, axis=1) == stratum).to_numpy()
            own = [
                values[inside & (frame["match_id"] == history).to_numpy()].mean()
                for history in sorted(set(frame["match_id"][inside]))
            ]
            shares = np.array(own) / len(games) / len(strata) / len(own)
            estimate += shares.sum()
            variances.append(len(own) * shares.var(ddof=1))
            sizes.append(len(own))
    variances, sizes = np.array(variances), np.array(sizes)
    freedom = variances.sum() ** 2 / (variances**2 / sizes).sum() - 1
    return estimate, np.sqrt(variances.sum()), np.clip(freedom, 1, (sizes - 1).sum())


def test_averages_errors_and_degrees_of_freedom_are_those_of_a_slow_loop():
    design = Design(24, strata=4, games=2, uneven=2.0)
    frame = design.blocks()
    values = design.parts(frame, 3, np.random.default_rng(3)) + 0.7
    found = BlockEstimate.of(frame, values, "match_id", STRATA)
    for column in range(3):
        slow = _slow_estimate(frame, values[:, column])
        fast = [found.estimate[column], found.error[column], found.freedom[column]]
        np.testing.assert_allclose(fast, slow)


def test_where_strata_are_crossed_a_history_is_one_observation():
    """The average over strata of each history, and nothing of what strata differ by."""
    design = Design(9, strata=4, crossed=True)
    frame = design.blocks()
    values = design.parts(frame, 1, np.random.default_rng(4))[:, 0]
    shifted = values + 50.0 * frame.groupby(list(STRATA)).ngroup().to_numpy()
    found = BlockEstimate.of(frame, shifted[:, None], "match_id", STRATA)
    own = pd.Series(values).groupby(frame["match_id"]).mean()
    assert found.estimate[0] == pytest.approx(own.mean() + 50.0 * 1.5)
    assert found.error[0] == pytest.approx(own.std(ddof=1) / 3.0)
    assert found.freedom[0] == pytest.approx(8.0)


SIGNS = st.sampled_from([-1.0, 1.0])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(SIGNS, min_size=6, max_size=6),
    st.tuples(*[st.floats(-1e3, 1e3) for _ in PARTS]),
    st.sampled_from(PARTS),
)
def test_what_follows_one_part_adds_nothing_to_the_others(signs, sizes, only):
    """Whatever the sign of each block's action is, and in every block."""
    rows = answers_of(Design(3).blocks())
    towards = np.repeat(signs, 4)
    word = np.where(rows["label_map"] == "swapped", 1.0, -1.0)
    place = np.where(rows["option_order"] == "reversed", 1.0, -1.0)
    follows = {"action": towards, "word": word, "place": place,
               "interaction": towards * word * place}  # fmt: skip
    size = sizes[PARTS.index(only)]
    parts = ScenarioBlocks(rows).parts(size * follows[only], towards)
    for part in PARTS:
        np.testing.assert_array_equal(parts[part], size if part == only else 0.0)


def test_incomplete_blocks_are_left_out_and_counted():
    rows, towards, values = _answers()
    names = rows["block_id"].unique()
    lost = (rows["block_id"] == names[0]) & (rows["label_map"] == "swapped")
    twice = rows[rows["block_id"] == names[1]].iloc[:1]
    given_rows = pd.concat([rows[~lost], twice], ignore_index=True)
    blocks = ScenarioBlocks(given_rows)
    whole = ~rows["block_id"].isin(names[:2]).to_numpy()
    assert blocks.n_incomplete == 2
    assert len(blocks) == len(names) - 2
    assert set(given_rows["block_id"][~blocks.used]) == set(names[:2])
    more = np.vstack([values[~lost.to_numpy()], values[:1]])
    signs = np.append(towards[~lost.to_numpy()], towards[0])
    expected = ScenarioBlocks(rows[whole].reset_index(drop=True)).parts(
        values[whole], towards[whole]
    )
    for part, found in blocks.parts(more, signs).items():
        np.testing.assert_allclose(found, expected[part])


def test_the_order_of_rows_is_nothing():
    rows, towards, values = _answers()
    order = np.random.default_rng(5).permutation(len(rows))
    blocks, shuffled = ScenarioBlocks(rows), ScenarioBlocks(rows.iloc[order].reset_index(drop=True))
    one = blocks.estimate(blocks.parts(values, towards)["action"])
    other = shuffled.estimate(shuffled.parts(values[order], towards[order])["action"])
    for name in ("estimate", "error", "freedom"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name))
    for column in ("label_set", "template"):
        levels, by_level, spread = one.over(column)
        others, by_other, other_spread = other.over(column)
        assert levels == others
        np.testing.assert_allclose(by_level, by_other)
        np.testing.assert_allclose(spread, other_spread)


def test_a_stratum_with_one_history_is_taken_together_with_another_of_its_game():
    """Its own error is not known, so that it gets the differences between strata as well."""
    frame = design(histories=1, games=("g",), label_sets=("l", "m", "n"))
    frame = frame.drop_duplicates("block_id").reset_index(drop=True)
    values = np.array([[0.0], [1.0], [5.0]])
    found = BlockEstimate.of(frame, values, "match_id", STRATA)
    assert found.estimate[0] == pytest.approx(2.0)
    assert found.error[0] == pytest.approx(values.std(ddof=1) / np.sqrt(3))
    assert found.freedom[0] == 2.0
    alone = pd.concat([frame.iloc[:1], frame.iloc[1:].assign(label_set="m")], ignore_index=True)
    assert np.isfinite(BlockEstimate.of(alone, values, "match_id", STRATA).error[0])


def test_one_history_has_no_interval():
    rows = answers_of(Design(1, strata=2, crossed=True).blocks())
    blocks = ScenarioBlocks(rows)
    found = blocks.estimate(np.ones((len(blocks), 1)))
    assert found.estimate[0] == pytest.approx(1.0)
    assert np.isnan(found.error[0])
    assert np.isnan(found.interval(0.95)).all()
    assert np.isnan(found.p_above(0.0, 100)).all()


def test_no_blocks_have_no_estimate():
    blocks = ScenarioBlocks(answers_of(Design(3).blocks()))
    found = blocks.estimate(np.ones((len(blocks), 2)), np.zeros(len(blocks), dtype=bool))
    assert np.isnan(found.estimate).all()
    assert found.n == found.n_blocks == found.n_clusters == 0


def test_draws_have_the_quantiles_of_students_interval():
    design = Design(8)
    frame = design.blocks()
    rng = np.random.default_rng(6)
    found = BlockEstimate.of(frame, design.parts(frame, 2, rng), "match_id", STRATA)
    draws = found.draws(100_000, rng)
    quantiles = np.quantile(draws, [0.025, 0.5, 0.975], axis=0)
    low, high = found.interval(0.95)
    np.testing.assert_allclose((quantiles[0] - low) / found.error, 0.0, atol=0.06)
    np.testing.assert_allclose((quantiles[1] - found.estimate) / found.error, 0.0, atol=0.06)
    np.testing.assert_allclose((quantiles[2] - high) / found.error, 0.0, atol=0.06)


def test_the_spread_over_words_is_that_of_their_true_values():
    """Errors of the levels explain a part of how their estimates differ, which is taken off."""
    design = Design(240, strata=24)
    frame = design.blocks()
    rng = np.random.default_rng(7)
    noise = design.parts(frame, 50, rng)
    words = frame["label_set"].astype(int).to_numpy()
    true = 0.5 * rng.normal(size=(words.max() + 1, 50))
    _, _, with_words = BlockEstimate.of(frame, noise + true[words], "match_id", STRATA).over(
        "label_set"
    )
    assert with_words.mean() == pytest.approx(0.5, abs=0.05)
    _, _, without = BlockEstimate.of(frame, noise, "match_id", STRATA).over("label_set")
    assert without.mean() < 0.15
    one = BlockEstimate.of(frame[words == 0].reset_index(drop=True), noise[words == 0], "match_id",
                           STRATA)  # fmt: skip
    assert np.isnan(one.over("label_set")[2]).all()


CHECKED = [d for size in simulated.SIZES for d in simulated.designs(size)]


@pytest.mark.parametrize("checked", CHECKED, ids=str)
def test_intervals_hold_the_truth_as_often_as_they_say(checked):
    assert 0.93 <= simulated.coverage(checked, 2000) <= 0.97


AT_ONCE = [Design(size, 6, skewness=skewness, uneven=1.0 + skewness) for size, skewness in
           itertools.product(simulated.SIZES, (0.0, 1.0))]  # fmt: skip


@pytest.mark.parametrize("checked", AT_ONCE, ids=str)
def test_bounds_for_all_layers_hold_all_truths_as_often_as_they_say(checked):
    """The share of 800 studies has itself an error of 0.008."""
    assert 0.93 <= simulated.coverage_at_once(checked, 800) <= 0.97


@pytest.mark.parametrize("histories", simulated.SIZES)
def test_models_that_follow_words_and_places_have_an_action_part_at_most_once_in_twenty(histories):
    checked = Design(histories, strata=6, games=2)
    assert simulated.false_positives(checked, studies=4) <= 0.05


@pytest.mark.parametrize(("histories", "within"), [(16, 0.15), (48, 0.05), (192, 0.03)])
def test_effects_of_the_smallest_size_are_found_four_times_in_five(histories, within):
    """Errors of few histories are themselves uncertain, which the formula leaves out."""
    found, formula = simulated.smallest_found(Design(histories, 6), 4000)
    assert found == pytest.approx(formula, rel=within)
