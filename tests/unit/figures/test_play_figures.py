"""Figures of play show the metrics table's own numbers, and say what is not there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle

from nashlens.figures import cells, reasoning, registry, style
from nashlens.play.metrics.pooled import (
    at_once,
    by_pairing,
    first_mover_shares,
    mode_differences,
    of_measure,
)

from .look import texts
from .plays import SCRIPTS, make_plays, measures_of

PLAY = ("cooperation", "pairs", "reasoning", "selection", "strategies")
PD, BOS = "prisoners_dilemma", "battle_of_the_sexes"


def draw(name, metrics):
    differences = mode_differences(metrics)
    return registry.draw(name, {"metrics": metrics, "mode_differences": differences})


def flat(figure):
    return " ".join(texts(figure).split())


def panel(figure, words):
    """Return the one panel whose heading has all the words."""
    found = []
    for sub in figure.subfigs:
        for ax in sub.axes:
            heading = " ".join(ax.get_title(loc="left").split()).replace("\u00a0", " ")
            if all(word in heading for word in words):
                found.append(ax)
    assert len(found) == 1, [ax.get_title(loc="left") for ax in found]
    return found[0]


def drawn(ax, upright=False):
    """Return the points of a panel, and its intervals, rounded."""
    axis = 1 if upright else 0
    dots = [
        line.get_data()[axis]
        for line in ax.lines
        if line.get_linestyle() == "None" and line.get_marker() not in "|_"
    ]
    values = np.concatenate([np.atleast_1d(part) for part in dots])
    bars = [
        segment[:, axis]
        for collection in ax.collections
        if isinstance(collection, LineCollection)
        for segment in collection.get_segments()
    ]
    return sorted(values.round(9)), sorted(map(tuple, np.round(bars, 9)))


def expected(rows):
    rows = rows[rows["estimate"].notna()]
    bars = rows.loc[rows["ci_low"].notna(), ["ci_low", "ci_high"]].to_numpy().round(9)
    return sorted(rows["estimate"].round(9)), sorted(map(tuple, bars))


@pytest.fixture(scope="module")
def metrics(one_model):
    return one_model["metrics"]


@pytest.fixture(scope="module")
def single():
    """One match of one agent with itself."""
    play = make_plays(["m"], ["direct"], games=[PD], scripts=(), repetitions=1)
    return measures_of(play, [PD])["metrics"]


def test_pairs_print_estimate_interval_and_matches(metrics):
    figure = draw("pairs", metrics)
    written = {
        text.get_gid(): text.get_text().replace("\u00a0", " ").split("\n")
        for text in panel(figure, ["Nash distance", "prisoners dilemma"]).texts
    }
    rows = metrics[
        (metrics["measure"] == "nash_tv") & (metrics["game"] == PD) & metrics["model"].notna()
    ]
    rows = rows[rows["opponent"].notna()].set_index(["agent", "opponent"])
    assert len(written) == len(rows) == 2 * (2 + len(SCRIPTS))
    for (agent, opponent), row in rows.iterrows():
        estimate, interval, n = written[f"{agent} {opponent}"]
        assert estimate == f"{row['estimate']:.2f}"
        assert interval == cells.bounds(row["ci_low"], row["ci_high"])
        assert n == f"n {row['n_matches']}"


def test_pairs_that_did_not_meet_are_hatched(four_models):
    figure = draw("pairs", four_models["metrics"])
    ax = panel(figure, ["Nash distance", "prisoners dilemma"])
    hatched = [p for p in ax.patches if isinstance(p, Rectangle) and p.get_hatch()]
    # Twelve agents, each with the four of its own mode and with both scripts.
    assert len(hatched) == 12 * 8
    assert len(ax.texts) == 12 * (4 + 1)
    assert "not played at once" in flat(figure)
    assert "all scripts: their matches together" in flat(figure)


def test_pairs_say_where_cooperation_is_undefined(metrics):
    figure = draw("pairs", metrics)
    ax = panel(figure, ["Share of action 0 (no prosocial action)", "matching pennies"])
    rows = metrics[(metrics["measure"] == "action_0") & (metrics["game"] == "matching_pennies")]
    row = rows[(rows["agent"] == "smol-135m") & (rows["opponent"] == "alld")].iloc[0]
    (cell,) = [text for text in ax.texts if text.get_gid() == "smol-135m alld"]
    assert cell.get_text().startswith(f"{row['estimate']:.2f}\n")


@pytest.mark.parametrize(("width", "written"), [(5.0, ".69"), (3.5, "")])
def test_narrow_cells_keep_what_has_room(width, written, metrics):
    value = metrics.assign(estimate=0.69)
    figure = registry.draw("pairs", {"metrics": value}, width=width)
    ax = panel(figure, ["Nash distance", "prisoners dilemma"])
    assert {text.get_text() for text in ax.texts} == {written}
    assert "too narrow for" in flat(figure)


def test_narrow_cells_are_bold_where_the_interval_leaves_out_the_control(four_models):
    metrics = four_models["metrics"]
    figure = draw("pairs", metrics)
    rows = metrics[(metrics["measure"] == "nash_tv") & (metrics["game"] == PD)]
    rows = rows[rows["opponent"].notna() & rows["model"].notna() & (rows["pairing"] != "scripted")]
    sure = (rows["ci_low"] > rows["control"]) | (rows["ci_high"] < rows["control"])
    bold = {
        text.get_gid()
        for text in panel(figure, ["Nash distance", "prisoners dilemma"]).texts
        if text.get_fontweight() == "bold" and not text.get_gid().endswith(" all scripts")
    }
    assert bold == set(rows["agent"][sure] + " " + rows["opponent"][sure])
    assert bold
    assert "bold: the interval leaves out the control" in flat(figure)
    assert "bold" not in flat(draw("pairs", metrics[metrics["model"] == "smol-135m"]))


def test_one_mode_alone_has_nothing_to_compare(metrics):
    figure = draw("reasoning", metrics[metrics["mode"].ne("cot")])
    assert "nothing to compare" in flat(figure)
    assert not any("difference" in ax.get_ylabel() for ax in figure.subfigs[0].axes)


def test_cooperation_draws_the_table(metrics):
    figure = draw("cooperation", metrics)
    shown = by_pairing(at_once(metrics[metrics["agent"] == "smol-135m_cot"]))
    axes = [ax for sub in figure.subfigs for ax in sub.axes]
    # The second agent's lower panel.
    (distance,) = [
        ax
        for ax in axes
        if ax.get_xlabel().startswith("Nash") and ax.get_subplotspec().colspan.start
    ]
    assert drawn(distance) == expected(of_measure(shown, "nash_tv"))
    ax = panel(figure, ["smol-135m_cot"])
    share = of_measure(shown, "action_0")
    dilemma = of_measure(shown[shown["game"] == PD], "cooperation")
    assert drawn(ax) == expected(pd.concat([dilemma, share[share["game"] != PD]]))


def test_a_pairing_is_the_cell_over_its_opponents_or_the_only_one(metrics):
    shown = by_pairing(at_once(metrics))
    mine = of_measure(shown[(shown["agent"] == "smol-135m")], "nash_tv")
    assert not mine.duplicated(["game", "pairing"]).any()
    scripts = mine[(mine["game"] == PD) & (mine["pairing"] == "scripted")].iloc[0]
    assert scripts["n_matches"] == 4 * len(SCRIPTS)
    other = mine[(mine["game"] == PD) & (mine["pairing"] == "cross_play")].iloc[0]
    assert other["n_matches"] == 4


def test_the_longest_matches_stand_for_an_agent_and_the_note_says_so(metrics):
    shorter = metrics.assign(match_rounds=metrics["match_rounds"] - 1, estimate=0.123)
    both = pd.concat([shorter, metrics], ignore_index=True)
    shown = by_pairing(at_once(both))
    assert (shown["estimate"] != 0.123).all()
    assert "the longest are shown" in flat(draw("cooperation", both))
    assert "the longest are shown" not in flat(draw("cooperation", metrics))


def test_invalid_decisions_and_the_quiz_stand_beside_agents(metrics):
    invalid = metrics[(metrics["measure"] == "action_0") & metrics["opponent"].notna()]
    lost = int(invalid.loc[invalid["agent"] == "smol-135m_cot", "n_invalid"].sum())
    assert lost > 0
    for name in PLAY:
        found = flat(draw(name, metrics))
        assert "quiz 0.71 [.60\N{EN DASH}.80]" in found, name
        counted = "invalid direct 0, cot" if name == "reasoning" else f"{lost} invalid"
        if name == "strategies":
            counted = "1 invalid"
        assert counted in found, name
    no_quiz = metrics.assign(quiz_accuracy=np.nan)
    assert "no quiz" in flat(draw("pairs", no_quiz))


def test_reasoning_draws_levels_and_their_differences(metrics):
    figure = draw("reasoning", metrics)
    axes = figure.subfigs[0].axes
    shown = by_pairing(at_once(cells.of_models(metrics)))
    rows = shown[(shown["pairing"] == "scripted") & (shown["measure"] == "nash_tv")]
    column = [ax for ax in axes if ax.get_subplotspec().colspan.start == 1]
    assert drawn(column[0], upright=True) == expected(rows)
    by_mode = rows.pivot(index="game", columns="mode", values="estimate")
    gaps = sorted((by_mode["cot"] - by_mode["direct"]).round(9))
    assert drawn(column[1], upright=True)[0] == gaps


def test_names_of_six_games_beside_each_other_break_between_words():
    """The default's games, against itself and against scripts: two times six in seven inches."""
    inches = (style.WIDTH - 0.8) / 2 / 6 - 0.1
    games = [PD, BOS, "matching_pennies", "stag_hunt", "chicken", "harmony"]
    labels = reasoning._games(games, inches).labels
    assert [" ".join(label.split("\n")) for label in labels] == [style.words(g) for g in games]


def test_models_stand_by_size_where_it_is_known(four_models):
    metrics = four_models["metrics"]
    figure = draw("reasoning", metrics)
    names = ["smol-135m (135M)", "llama-3-8b-instruct (8B)", "qwen2.5-32b-instruct (32.5B)"]
    ax = figure.subfigs[0].axes[-1]
    assert [t.get_text() for t in ax.get_xticklabels()][:3] == names
    places = ax.get_xticks()
    assert places[1] - places[0] == pytest.approx(np.log10(8e9 / 1.35e8))
    assert "Lines join models of one family" in flat(figure)
    (joined,) = {len(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 0.8} - {0, 1}
    assert joined == 2
    unknown = metrics.assign(n_parameters=np.nan, family=None)
    plain = draw("reasoning", unknown).subfigs[0].axes[-1]
    assert [t.get_text() for t in plain.get_xticklabels()] == sorted(set(metrics["model"].dropna()))


def test_selection_draws_the_first_movers_shares(metrics):
    figure = draw("selection", metrics)
    ax = panel(figure, ["battle of the sexes", "against itself"])
    rows = first_mover_shares(by_pairing(cells.of_models(metrics)))
    rows = rows[rows["pairing"] == "self_play"]
    assert drawn(ax) == expected(rows)
    assert set(rows["turn"].dropna()) == {"first"}
    total = rows.groupby(["agent", "move_order"])["estimate"].sum()
    np.testing.assert_allclose(total, 1)
    assert len(total) == 2 * 3


def test_selection_draws_every_advantage(metrics):
    figure = draw("selection", metrics)
    ax = panel(figure, ["first mover's advantage"])
    rows = metrics[(metrics["measure"] == "first_mover_advantage") & (metrics["game"] == BOS)]
    assert drawn(ax) == expected(rows)


def test_games_with_nothing_to_select_are_left_out(metrics):
    dilemma = metrics[metrics["game"] == PD]
    assert "no game that was played has two pure equilibria" in flat(draw("selection", dilemma))
    together = at_once(metrics)
    assert "the seats never move in turn" in flat(draw("selection", together))


def test_strategies_draw_the_weights(metrics):
    figure = draw("strategies", metrics)
    rows = at_once(metrics[(metrics["measure"] == "strategy_weight")])
    rows = rows[(rows["game"] == PD) & rows["model"].notna()]
    rows = rows[rows["opponent"].isna() | (rows["pairing"] == "self_play")]
    wanted = rows[[("TFT" in str(term).split("+")) for term in rows["term"]]]
    axes = figure.subfigs[0].axes
    (row,) = {a.get_subplotspec().rowspan.start for a in axes
              if " ".join(a.get_ylabel().split()) == "prisoners dilemma"}  # fmt: skip
    (ax,) = [a for a in axes if a.get_title(loc="left") == "TFT"
             and a.get_subplotspec().rowspan.start == row]  # fmt: skip
    assert drawn(ax) == expected(wanted)


def test_strategies_that_move_alike_are_named_together(metrics):
    one = metrics[(metrics["agent"] == "smol-135m") & (metrics["game"] == PD)]
    one = at_once(one[one["pairing"] == "self_play"])
    weight = one[(one["measure"] == "strategy_weight") & (one["term"] == "ALLC")]
    merged = weight.assign(term="ALLC+TFT", estimate=0.8, ci_low=0.7, ci_high=0.9, control=1 / 3)
    gone = one[~one["term"].isin(["ALLC", "TFT"])]
    figure = draw("strategies", pd.concat([gone, merged], ignore_index=True))
    assert "ALLC = TFT" in texts(figure)
    for name in ("ALLC", "TFT"):
        ax = panel(figure, [name])
        assert drawn(ax) == ([0.8], [(0.7, 0.9)])


@pytest.mark.parametrize("name", PLAY)
def test_one_match_is_drawn_without_an_interval(name, single):
    figure = draw(name, single)
    figure.canvas.draw()
    bars = [
        segment
        for collection in figure.findobj(LineCollection)
        for segment in collection.get_segments()
        if len(segment) and np.isfinite(segment).all()
    ]
    assert not bars
    if name == "pairs":
        assert "?" in flat(figure)


@pytest.mark.parametrize("name", PLAY)
def test_play_of_scripts_alone_says_so(name, metrics):
    assert "no data: " in flat(draw(name, metrics[metrics["model"].isna()]))


@pytest.mark.parametrize("name", PLAY)
def test_matches_without_a_whole_round_are_no_numbers(name, single):
    """Every decision was invalid: rows have no estimate, and their reason is the table's."""
    empty = single.assign(
        estimate=np.nan, ci_low=np.nan, ci_high=np.nan, control=np.nan, n=0, n_matches=0,
        reason="no whole round was played", n_invalid=2,
    )  # fmt: skip
    figure = draw(name, empty)
    figure.canvas.draw()
    found = flat(figure)
    assert "no whole round" in found or "not played" in found or "no data" in found
