"""What single figures show, of rich tables and of poor ones."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from nashlens.circuits.concentration import concentration_estimates
from nashlens.circuits.patching_summary import patching_estimates
from nashlens.errors import ConfigError, DataError
from nashlens.figures import effects, heads, registry, steered
from nashlens.figures import patching as patching_figure
from nashlens.findings.claims import (
    m4_no_nash_components,
    m11_computed_from_payoffs,
    s2_steered_whole,
)
from nashlens.lens.readings import PREFERENCE
from nashlens.steering.summary import steering_estimates
from tests.unit.findings.tables import PLANTED_PATH, only_screened, patching
from tests.unit.findings.writers import override

from .look import texts, visible_axes
from .spikes import make_spikes_summary
from .summaries import HOW, with_summaries

draw = registry.draw


@pytest.mark.parametrize("models", ["one_model", "four_models"])
def test_what_stands_below_a_game_does_not_touch_the_next(models, request):
    figure = draw("games", request.getfixturevalue(models))
    figure.supxlabel("two\nlines", x=0.008, ha="left")
    for _ in range(2):
        figure.canvas.draw()
    heads = [ax._left_title.get_window_extent() for ax in visible_axes(figure)]
    for ax in visible_axes(figure):
        assert not any(ax.xaxis.label.get_window_extent().overlaps(head) for head in heads)


@pytest.mark.parametrize("models", ["one_model", "four_models"])
def test_long_headings_leave_the_lens_its_room(models, request):
    figure = draw("lens", request.getfixturevalue(models))
    figure.canvas.draw()
    panel = figure.subfigs[0].axes[0].get_window_extent()
    assert panel.height / figure.dpi >= 1.4


def test_unknown_names_say_what_is_known(one_model):
    with pytest.raises(DataError, match="figures are games, cooperation"):
        registry.draw("faces", one_model)
    with pytest.raises(DataError, match="needs the tables probes"):
        registry.draw("transfer", {"transfer": one_model["transfer"]})
    with pytest.raises(ConfigError, match="'no_such' is not a seaborn"):
        draw("games", one_model, palette="no_such")


def test_one_match_has_no_interval_but_is_drawn(one_model):
    play = one_model["play"]
    one = {**one_model, "play": play[play["match_id"] == play["match_id"].iloc[0]]}
    tables = with_summaries(one)
    assert tables["rounds"]["ci_low"].isna().all()
    for name in ("rounds", "biases"):
        draw(name, tables).canvas.draw()


def test_games_without_equilibria_or_with_a_continuum(one_model):
    games = one_model["games"].assign(continuum=True, mixed_row=np.nan, pure_equilibria="0,0")
    assert "a continuum of equilibria" in texts(draw("games", {"games": games}))


def test_degenerate_probe_is_a_panel_with_its_reason(one_model):
    probes = one_model["probes"].assign(
        status="degenerate", reason="too few matches for the folds: 3 for 5", r2=np.nan
    )
    found = texts(draw("probes", {"probes": probes}))
    assert "too few matches" in " ".join(found.split())


@pytest.mark.parametrize("name", ["probes", "transfer"])
def test_figures_of_probes_are_about_the_decision(name, one_model):
    def shown(tables):
        figure = draw(name, tables)
        lines = [line.get_ydata() for line in figure.findobj(Line2D)]
        matrices = [np.asarray(image.get_array()) for image in figure.findobj(AxesImage)]
        return [np.asarray(values, dtype=float) for values in lines + matrices], texts(figure)

    plain = {key: one_model[key] for key in ("transfer", "probes")}
    both = {
        key: pd.concat(
            [
                table.assign(position="round_last", balanced_accuracy=0.99),
                table.assign(position="decision"),
            ],
            ignore_index=True,
        )
        for key, table in plain.items()
    }
    (one, words), (other, same_words) = shown(plain), shown(both)
    assert words == same_words
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_targets_that_do_not_transfer_are_named(one_model):
    said = " ".join(texts(draw("transfer", one_model)).split())
    assert "each game fixes it: Nash action: which kind of game" in said
    fixed = one_model["transfer"].assign(status="degenerate", reason="constant in pd")
    assert "no data: constant in pd" in texts(draw("transfer", {**one_model, "transfer": fixed}))


def test_the_transfer_matrix_shows_what_the_table_holds(one_model):
    table = one_model["transfer"]
    cell = (table["train"] == "stag_hunt") & (table["test"] == "chicken")
    table = table.assign(balanced_accuracy=np.where(cell, 0.07, table["balanced_accuracy"]))
    (image,) = draw("transfer", {**one_model, "transfer": table}).findobj(AxesImage)[:1]
    games = sorted(set(table["train"]))
    found = image.get_array()[games.index("stag_hunt"), games.index("chicken")]
    assert found == pytest.approx(0.07)


def test_the_heads_that_answer_are_marked_and_those_of_a_token_are_not(one_model):
    figure = draw("heads", one_model)
    ax = figure.subfigs[0].axes[0]
    (marked,) = (line for line in ax.lines if line.get_marker() == ".")
    assert list(zip(*marked.get_data(), strict=True)) == [(12, 1)]
    (image,) = ax.findobj(AxesImage)
    values = np.asarray(image.get_array())
    # Eight heads, and the MLPs above them.
    assert values.shape == (9, 12)
    assert [label.get_text() for label in ax.get_yticklabels()][-1] == "MLP"
    assert values[1, 11] == pytest.approx(1.0, abs=0.1)
    assert np.abs(np.delete(values.ravel(), 1 * 12 + 11)).max() < 0.1
    boxes = {tuple(patch.get_xy()) for patch in ax.patches}
    assert boxes == {(11.5, 0.5), (0.5, -0.5), (1.5, 1.5), (2.5, 7.5), (3.5, 7.5)}
    groups = figure.subfigs[0].axes[2]
    names = [label.get_text().replace("\n", " ") for label in groups.get_xticklabels()]
    assert names == ["heads", "MLPs", "both, all positions"]
    (everywhere,) = figure.subfigs[0].axes[1].findobj(AxesImage)
    assert np.asarray(everywhere.get_array()).shape == (9, 12)


def test_heads_without_groups_are_drawn(one_model):
    table = one_model["heads"]
    alone = with_summaries({**one_model, "heads": table[table["kind"].isin(["head", "mlp"])]})
    assert "no group was ablated" in " ".join(texts(draw("heads", alone)).split())
    one = with_summaries({**one_model, "heads": table[table["match_id"] == "m4"]})
    draw("heads", one).canvas.draw()


def test_bounds_of_figures_are_those_of_claims():
    assert heads.BOUND == m4_no_nash_components.LEAST_DROP
    assert effects.SMALL == PREFERENCE
    computed, whole = m11_computed_from_payoffs, s2_steered_whole
    drawn = patching_figure._HALF, patching_figure._LEAST
    assert drawn == (computed.LEAST_SHARE, computed.LEAST_TOTAL)
    assert (steered.QUIZ_LOSS, steered.DIVERGENCE) == (whole.QUIZ_LOSS, whole.DIVERGENCE)


def test_lens_without_nash_actions(one_model):
    prompts = one_model["prompts"]
    nothing = pd.array([pd.NA] * len(prompts), dtype="Int64")
    prompts = prompts.assign(nash_action=nothing)
    tables = with_summaries({**one_model, "prompts": prompts})
    assert "no game has" in texts(draw("lens", tables))
    assert "no data" in texts(draw("effects", tables))


def test_what_moves_the_decision_is_told_from_its_first_layer_on(one_model):
    figure = draw("effects", one_model)
    found = " ".join(texts(figure).split())
    table = one_model["effects"]
    rows = table[table["game"].isna() & (table["lens"] == "logit") & table["lasting"]]
    first = rows[rows["quantity"] == "prosocial over Nash"].groupby("part")["layer"].min()
    assert set(first.index) == {"action", "word"}
    assert f"action from layer {first['action']} on, word from layer {first['word']} on" in found
    assert "not place" in found
    # Each mark is at the first of these layers, at the height of its line.
    marks = {
        (line.get_marker(), float(line.get_xdata()[0]))
        for line in figure.subfigs[0].axes[0].lines
        if line.get_marker() not in ("None", None, "")
    }
    assert marks == {("o", first["action"]), ("s", first["word"])}


@pytest.mark.parametrize("layers", [range(4), range(81)])
def test_any_number_of_layers(layers, one_model):
    from .pushed import make_steering

    few = make_steering(["m"], layers=list(layers)[:: max(1, len(layers) // 20)], randoms=2)
    tables = {"steering_summary": steering_estimates(few, model="m", how=HOW)}
    for name in ("steering", "clamping"):
        draw(name, tables).canvas.draw()
    probes = one_model["probes"]
    grown = [probes[probes["layer"] == layer % 31].assign(layer=layer) for layer in layers]
    draw("probes", {"probes": pd.concat(grown)}).canvas.draw()


def test_models_of_different_depth(four_models):
    lens, probes = four_models["lens"], four_models["probes"]
    shallow = four_models["lens"]["model"].iloc[0]
    lens = lens[(lens["model"] != shallow) | (lens["layer"] < 12)]
    probes = probes[(probes["model"] != shallow) | (probes["layer"] < 12)]
    tables = with_summaries({**four_models, "lens": lens, "probes": probes})
    for name in ("lens", "probes", "biases"):
        draw(name, tables).canvas.draw()


def test_the_lens_is_told_in_numbers(one_model):
    found = " ".join(texts(draw("lens", one_model)).split())
    flip = one_model["lens_summary"].set_index("quantity").loc["flip_layer"]
    assert f"flip to prosocial at layer: {flip['estimate']:.0f} [" in found
    assert "follows the action" in found


def test_prompts_that_share_an_id_count_once(one_model):
    twice = dict(one_model)
    for table in ("prompts", "lens", "steering"):
        twice[table] = pd.concat([one_model[table]] * 2, ignore_index=True)
    twice = with_summaries(twice)
    for name in ("lens", "biases", "steering", "clamping"):
        assert texts(draw(name, twice)) == texts(draw(name, one_model))


def test_attribution_names_who_writes_and_keeps_action_and_word_apart(one_model):
    figure = draw("attribution", one_model)
    action, word = figure.subfigs[0].axes
    named = [{text.get_text() for text in ax.texts} for ax in (action, word)]
    assert {"15.1", "12 MLP"} <= named[0]
    assert "14 MLP" in named[1]
    assert re.search(r"in all -(0.9|0.8)\d? \[", " ".join(texts(figure).split()))
    assert action.get_ylim() == word.get_ylim()


def test_the_choir_figure_tells_a_choir_from_a_soloist(one_model):
    assert "half is carried by 4 of 8 components" in texts(draw("choir", one_model))
    alone = override((3.0, *[0.02] * 7), model="m")
    solo = {"choir": concentration_estimates(alone, model="m", how=HOW)}
    figure = draw("choir", solo)
    assert "half is carried by 1 of 8 components" in texts(figure)
    curves = [line for line in figure.subfigs[0].axes[0].lines if len(line.get_xdata()) == 9]
    steepest = {line.get_linestyle(): np.diff(line.get_ydata()).argmax() for line in curves}
    assert steepest["-"] == 0
    nothing = {"choir": concentration_estimates(override((0.01,) * 4), model="m", how=HOW)}
    assert "no effect that could be shared out" in texts(draw("choir", nothing))


def test_patching_says_how_far_apart_the_answers_are(one_model):
    figure = draw("patching", one_model)
    text = " ".join(texts(figure).split())
    assert re.search(r"other payoffs: towards the other action in all (2\.9|3\.0)\d \[", text)
    assert "another last move" in text
    rows = one_model["patching_summary"]
    nothing = {"patching_summary": rows[rows["site"] == "total"]}
    assert "no residual was patched" in " ".join(texts(draw("patching", nothing)).split())


def test_patching_has_a_row_for_each_direction_and_hatches_what_was_only_screened():
    both = patching(PLANTED_PATH, directions=("destroy", "restore"))
    out = ["residual/2/options", "residual/4/question", "residual/6/payoffs"]
    table = patching_estimates(only_screened(both, out), model="m", how=HOW)
    figure = draw("patching", {"patching_summary": table})
    text = " ".join(texts(figure).split())
    assert "into the design's prompt: other payoffs" in text
    assert "into the other prompt: other payoffs" in text
    assert "gradient only" in text
    for ax in figure.subfigs[0].axes[:6]:
        hatched = {box.get_xy() for box in ax.patches if box.get_hatch()}
        assert hatched == {(0.5, 0.5), (1.5, 1.5), (2.5, -0.5)}
        dots = [line for line in ax.lines if line.get_marker() == "."]
        at = {(x, y) for line in dots for x, y in zip(*line.get_data(), strict=True)}
        assert not at & {(1, 1), (2, 2), (3, 0)}
    # Nothing is said of what was only screened.
    best = patching_estimates(only_screened(both, ["residual/0/payoffs"]), model="m", how=HOW)
    assert "layer 0" not in draw("patching", {"patching_summary": best}).get_suptitle()


def test_spikes_say_from_which_strength_on_an_override_is_found(one_model, four_models):
    text = " ".join(texts(draw("spikes", one_model)).split())
    assert "an override of 2 logits is found" in text
    assert "one of the wrong kind is taken for it in none" in text
    assert "4 of 4 models" in " ".join(texts(draw("spikes", four_models)).split())
    weak = {"spikes_summary": make_spikes_summary(["m"], found=0.0)}
    assert "none of the overrides put in was found" in " ".join(texts(draw("spikes", weak)).split())
    # Half of the draws have the verdict anyway: 0.5 logits are found in none of the others.
    half = {"spikes_summary": make_spikes_summary(["m"], found=10.0, own=5)}
    text = " ".join(texts(draw("spikes", half)).split())
    assert "an override of 2 logits is found in 100% [57%, 100%] of draws" in text
    assert "(n = 5 draws)" in text
    mostly = {"spikes_summary": make_spikes_summary(["m"], own=8)}
    text = " ".join(texts(draw("spikes", mostly)).split())
    assert "an override is seen without a spike, so no power is known for it" in text
    # The share is that of the models in which it is found, not of one that shows it anyway.
    both = [make_spikes_summary(["m"], found=6.0), make_spikes_summary(["own"], found=0.0, own=9)]
    text = " ".join(texts(draw("spikes", {"spikes_summary": pd.concat(both)})).split())
    assert "In 1 of 2 models, an override of 2 logits is found in 100%" in text
    rows = one_model["spikes_summary"]
    nothing = {"spikes_summary": rows[rows["spike"] == "none"]}
    assert "nothing was put into a model" in " ".join(texts(draw("spikes", nothing)).split())
