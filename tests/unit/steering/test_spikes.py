"""Spikes in planted models whose truth is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from nashlens.engine import copies
from nashlens.engine.core import Engine
from nashlens.engine.writing import residuals_under
from nashlens.findings.claim import JudgeSettings
from nashlens.interventions import WORDING
from nashlens.lens.logit import lens_table
from nashlens.models.convert import convert_source
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.models.weights import load_readout
from nashlens.probes.design import ProbeSettings, usable
from nashlens.probes.questions import prepare_questions
from nashlens.probes.study import fit_probes
from nashlens.steering.conflicts import (
    Conflicts,
    first_tokens,
    inert_direction,
    label_directions,
    signs_of,
)
from nashlens.steering.spike_summary import NONE, summarise_spikes, worth
from nashlens.steering.spiked_lens import (
    LENS_CLAIMS,
    LensEffects,
    LensSpike,
    Spike,
    SpikedReadings,
    drawn_again,
    lens_effects,
)
from nashlens.steering.spiked_probes import SpikedProbes
from nashlens.steering.spikes import SpikeSettings, _described, lens_spikes, spike_tables
from tests.designs import make_prompts, residuals_at

SETTINGS = SpikeSettings(
    prompts=16, layers=[10], logits=[0.0, 0.5, 2.0], deviations=[0.0, 3.0], draws=5
)
JUDGED = JudgeSettings("inert", 0.95, 200, 1, late_fraction=0.25, min_label_mass=0.0)
PROBES = ProbeSettings([0.03], 2, 5, 0.95, 200, 1, "inert")
GAMES = ["prisoners_dilemma", "harmony"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A planted null model, its prompts, residuals and probes."""
    folder = tmp_path_factory.mktemp("spikes") / "null"
    convert_source("planted:label_bias", folder)
    labels = {"jf": ["J", "F"], "xy": ["X", "Y"]}
    prompts = make_prompts(GAMES, ChatTokenizer(folder), label_sets=labels, rounds=[5], seed=1)
    prompts = prompts.drop(columns=["prior_id", "prior_token_ids"])
    engine = Engine(load_model(folder, device="cpu"))
    unique = prompts.drop_duplicates("prompt_id")
    x = residuals_at(engine, unique)
    row = {name: i for i, name in enumerate(unique["prompt_id"])}

    def load(layer, ids):
        return x[[row[name] for name in ids], layer]

    ids = prompts["prompt_id"].tolist()
    readout, layers = load_readout(folder), range(1, engine.n_layers + 1)
    targets = ["opponent_last", "nash_label", "nash_place"]
    tables = {
        "prompts": prompts,
        "probes": fit_probes(lambda k: load(k, ids), [1, 10, 12], prompts, targets, PROBES).probes,
        "lens": lens_table(
            load, layers, prompts, readout=readout, model="inert", last=engine.n_layers
        ),
    }
    return engine, readout, load, tables


@pytest.fixture(scope="module")
def spiked(study):
    return spike_tables(*study, SETTINGS, JUDGED, PROBES)["spikes"]


def share(spiked, spike, strength, claim):
    table = summarise_spikes(spiked, 0.95)
    rows = table[table["spike"].eq(spike) & table["strength"].eq(strength)]
    (found,) = rows.loc[rows["claim"] == claim, "estimate"]
    return found


def test_an_override_of_two_logits_is_found_in_a_null_model(spiked):
    assert share(spiked, "override", 2.0, "M6") == 1.0
    assert share(spiked, "override", 2.0, "M5") == 1.0


def test_a_word_is_never_called_an_override(spiked):
    for strength in SETTINGS.logits:
        assert share(spiked, "word", strength, "M6") == 0.0


def test_a_spike_of_strength_zero_changes_nothing(spiked):
    zero = spiked[spiked["strength"] == 0.0]
    assert set(zero["spike"]) == {"none", "override", "word", "history", "nash_code"}
    assert not zero["verdict"].eq(zero["wanted"]).any()
    columns = ["verdict", "estimate", "n", "n_matches"]
    own = zero[zero["spike"] == "none"].set_index(["claim", "draw"])[columns]
    assert own.index.is_unique
    for (_, claim), rows in zero[zero["spike"] != "none"].groupby(["spike", "claim"]):
        same = rows.set_index(["claim", "draw"])[columns]
        pd.testing.assert_frame_equal(same, own.loc[[claim]])
        assert len(same) == SETTINGS.draws


def test_a_probe_is_drawn_again_without_a_spike_too(study):
    """A model that holds the history weakly: half of the draws bring the verdict by it."""
    tables, rng = study[-1], np.random.default_rng(3)
    prompts = usable(tables["prompts"])
    ids = prompts["prompt_id"].tolist()
    noise = dict(zip(ids, rng.normal(size=(len(ids), 8)), strict=True))
    signs = dict(zip(ids, signs_of(prompts["opponent_last"]), strict=True))

    def load(layer, ids):
        weak = np.array([[signs[name]] * 8 for name in ids]) * (layer == 1) * 0.3
        return np.array([noise[name] for name in ids]) + weak

    target = "opponent_last"
    probes = fit_probes(lambda k: load(k, ids), [1, 12], prompts, [target], PROBES).probes
    judged = SpikedProbes(
        load, np.zeros((1, 8)), prompts, probes, PROBES, JUDGED, [12], [0.0, 0.5, 3.0], 20
    )
    rows = list(judged.verdicts("history", ["M1", "M2"]))
    found = pd.DataFrame(_described(rows, "m"))
    own = found[found["spike"] == NONE].set_index(["claim", "draw"])
    assert own.index.is_unique
    nothing = found[(found["spike"] == "history") & (found["strength"] == 0.0)]
    columns = ["verdict", "estimate"]
    same = nothing.set_index(["claim", "draw"])[columns]
    pd.testing.assert_frame_equal(same, own[columns], check_like=True)
    # Where histories alone bring the verdict there is nothing to be found.
    summary = summarise_spikes(found, 0.95).set_index(["claim", "strength"])
    has = own.groupby("claim")["verdict"].apply(lambda said: (said == "supported").sum())
    assert 0 < has["M1"] < 20
    for claim in ("M1", "M2"):
        spiked = summary.loc[claim].drop(index=0.0)
        assert (spiked["n"] == 20 - has[claim]).all()
        zero = summary[summary["spike"] == "history"].loc[(claim, 0.0)]
        assert zero["estimate"] == 0.0
        assert spiked.loc[3.0, "estimate"] == 1.0


def test_a_probe_with_nothing_written_is_the_studys_own(study):
    _, _, load, tables = study
    prompts = usable(tables["prompts"])
    spikes = SpikedProbes(
        load, np.zeros((1, 1)), prompts, tables["probes"], PROBES, JUDGED, [10], [0.0], 2
    )
    (question,) = prepare_questions(prompts, ["opponent_last"], PROBES, splits=("match",))
    everything = [np.ones((3, len(np.unique(question.matches))))]
    (found,) = spikes._numbers(question, spikes._fit(question, 1), everything)
    probes = tables["probes"].set_index(["target", "split", "layer"])
    own = probes.loc[("opponent_last", "match", 1), "balanced_accuracy"]
    assert found["balanced_accuracy"] == pytest.approx(own, abs=1e-12)


def test_draws_of_probes_have_as_many_histories_of_each_wording(study):
    _, _, load, tables = study
    prompts = usable(tables["prompts"])
    spikes = SpikedProbes(
        load, np.zeros((1, 1)), prompts, tables["probes"], PROBES, JUDGED, [10], [0.0], 5
    )
    (question,) = prepare_questions(prompts, ["opponent_last"], PROBES, splits=("match",))
    rows = prompts.iloc[question.target.rows].assign(match=question.matches)
    groups = rows.drop_duplicates("match").set_index("match").sort_index()
    keys = [groups[name] for name in ("game", *WORDING)]
    drawn = [counts[0] for counts in spikes._drawn_again(question)]
    assert not np.array_equal(drawn[0], drawn[1])
    for counts in drawn:
        sums = pd.Series(counts, index=groups.index).groupby(keys).sum()
        assert (sums == groups.groupby(keys).size()).all()


def test_a_nash_code_is_read_and_changes_no_verdict_of_the_lens(spiked):
    assert share(spiked, "nash_code", 3.0, "M3") == 1.0
    assert share(spiked, "nash_code", 3.0, "M6") == 0.0


def test_a_history_that_is_written_and_consumed_is_found(spiked):
    assert share(spiked, "history", 3.0, "M1") == 1.0
    assert share(spiked, "history", 3.0, "M2") == 1.0


def test_the_smallest_effect_is_the_smallest_strength_with_power(spiked):
    found = worth(summarise_spikes(spiked, 0.95)).set_index("claim")
    assert found.loc["M6", "spike_found"] in (0.5, 2.0)
    assert found.loc["M6", "spike_false"] == 0.0
    assert found.loc["M3", "spike_found"] == 3.0


def overridden(study, logits):
    """Put an override into block 10 of 16 prompts; return them, what it writes, its effects."""
    engine, readout, load, tables = study
    conflicts = Conflicts(readout, load, engine.n_layers, tables["prompts"], 16, 1)
    writings = conflicts.override(10, np.full(len(conflicts.ids), logits))
    spike = LensSpike(Spike("override", 10, logits, "logits"), writings)
    return conflicts, writings, lens_effects(engine, conflicts, [spike])


def test_the_lens_reads_the_strength_at_the_layer(study):
    conflicts, _, found = overridden(study, 2.0)
    effects = found.towards_nash[:, 0]
    assert len(conflicts.ids) == 16
    for layer, logits in ((0, 0.0), (3, 2.0), (9, 2.0), (10, -2.0)):
        assert effects[:, layer] == pytest.approx(np.full(16, logits), abs=1e-3)
    # Layers above run on: the model keeps most of what was written.
    assert (effects[:, 11:] < -0.5).all()


@pytest.fixture
def counted(study, monkeypatch):
    """Tokens that go through a block, counted in each: of copies, and of prompts."""
    engine, found, within = study[0], {"copies": 0, "prompts": 0}, []
    step = copies._Copies.step

    def count(module, given):
        found["copies" if within else "prompts"] += len(given[0])

    def steps(self, *given):
        within.append(True)
        step(self, *given)
        within.pop()

    monkeypatch.setattr(copies._Copies, "step", steps)
    hooks = [block.mlp.register_forward_pre_hook(count) for block in engine.blocks.shards[0]]
    yield found
    for hook in hooks:
        hook.remove()


def test_spikes_cost_forks_of_one_token_and_prompts_are_run_once(study, counted):
    engine, readout, load, tables = study
    used = usable(tables["prompts"])
    conflicts = Conflicts(readout, load, engine.n_layers, used, SETTINGS.prompts, 1)
    prompts = [ids.tolist() for ids in conflicts.prompts["token_ids"]]
    directions = label_directions(readout, used)
    run = []
    for logits, layers in (([2.0], [10]), ([0.5, 2.0], [10]), ([0.5, 2.0, 8.0], [4, 10])):
        counted.update(copies=0, prompts=0)
        settings = replace(SETTINGS, logits=logits, layers=layers)
        spikes = lens_spikes(conflicts, directions, settings, 1)
        lens_effects(engine, conflicts, spikes)
        # A spike runs a prompt's last token again in the blocks above the lowest layer it changes.
        lowest = [min(one.layer for one in spike.writings) for spike in spikes]
        blocks = sum(engine.n_layers - layer for layer in lowest)
        assert counted["copies"] == len(prompts) * blocks
        run.append(counted["prompts"])
    # The prompts themselves, less what they share, however many spikes there are.
    assert len(set(run)) == 1
    assert 0 < run[0] <= engine.n_layers * sum(map(len, prompts))
    # All spikes of the last settings cost less than two more prompts.
    assert counted["copies"] < 2 * engine.n_layers * len(prompts[0]) < run[0]


def label_masses(readout, residuals, tokens):
    """P of the two labels together, by a plain softmax in float64."""
    logits = readout.norm(residuals).astype(np.float64) @ np.asarray(readout.unembedding).T
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return np.take_along_axis(p, tokens, axis=1).sum(axis=1)


def test_a_spike_changes_the_label_mass_as_the_lens_reads_it(study):
    engine, readout, _, tables = study
    conflicts, writings, found = overridden(study, 8.0)
    grown = found.mass[:, 0]
    sequences = [ids.tolist() for ids in conflicts.prompts["token_ids"]]
    spiked = residuals_under(engine, sequences, [writings], readout.norm)[:, 0]
    tokens = first_tokens(conflicts.prompts)
    lens = tables["lens"].drop_duplicates(["prompt_id", "layer"]).set_index(["prompt_id", "layer"])
    for layer in (3, 10, 12):
        own = lens["label_mass"].loc[[(name, layer) for name in conflicts.ids]].to_numpy()
        there = label_masses(readout, spiked[:, layer], tokens)
        assert grown[:, layer] == pytest.approx(logit(there) - logit(own), abs=1e-3)
        assert (np.abs(grown[:, layer]) > 0.1).all()
    assert (grown[:, 0] == 0.0).all()


def test_an_override_that_brings_the_labels_their_mass_is_found(study):
    lens = study[-1]["lens"]
    assert lens.loc[lens["layer"] >= 10, "label_mass"].median() < 0.2
    asked = replace(JUDGED, min_label_mass=0.2)
    settings = replace(SETTINGS, logits=[0.5, 12.0], deviations=[0.0])
    spiked = spike_tables(*study, settings, asked, PROBES)["spikes"]
    assert share(spiked, "override", 0.5, "M6") == 0.0
    assert share(spiked, "override", 12.0, "M6") == 1.0
    assert share(spiked, "word", 12.0, "M6") == 0.0


def test_every_prompt_gets_the_change_of_its_own_cell(study):
    """A change that depends on label and place only is the same in blocks that were not run."""
    engine, readout, load, tables = study
    conflicts = Conflicts(readout, load, engine.n_layers, tables["prompts"], 16, 1)
    run, n_layers = conflicts.prompts, engine.n_layers
    of_cell = 1.0 + 2 * run["nash_label"].to_numpy(int) + run["nash_place"].to_numpy(int)
    of_cell = np.broadcast_to(of_cell[:, None, None], (len(run), 1, n_layers + 1))
    effects = LensEffects(of_cell, -of_cell)
    spike = Spike("override", 10, 1.0, "logits")
    used = {"prompts": usable(tables["prompts"]), "lens": tables["lens"]}
    spiked = SpikedReadings(used, run, effects, [spike], JUDGED, 1)
    readings = spiked._readings["M5"]
    rows = readings.prompts
    shift = spiked._shift(readings, spiked._donors(rows), 0)
    cell = 1.0 + 2 * rows["nash_label"].to_numpy(int) + rows["nash_place"].to_numpy(int)
    towards = np.where(rows["nash_action"].to_numpy(int) == 1, cell, -cell)
    turns = (rows["game"] == "prisoners_dilemma").to_numpy()
    assert set(rows["game"]) == set(GAMES)
    for added, wanted in ((shift.odds, towards), (shift.mass, -cell)):
        assert (added[:, :9] == wanted[:, None]).all()
        assert (added[turns] == wanted[turns, None]).all()
        # Where Nash is prosocial there is nothing to turn into.
        assert (added[~turns][:, 9:] == 0.0).all()


def test_draws_have_as_many_histories_of_each_wording(study):
    tables = study[-1]
    used = {"prompts": usable(tables["prompts"]), "lens": tables["lens"]}
    readings = LENS_CLAIMS["M6"].read(used)
    rows, names = drawn_again(readings.prompts, np.random.default_rng(1))
    drawn = readings.drawn(rows, names)
    assert len(drawn) == len(readings)
    assert len(drawn.blocks) == len(readings.blocks)
    by_set = readings.prompts.groupby("label_set")["match_id"].nunique()
    pd.testing.assert_series_equal(drawn.prompts.groupby("label_set")["match_id"].nunique(), by_set)


def test_without_a_conflict_only_probes_are_spiked(study):
    engine, readout, load, tables = study
    harmony = tables["prompts"].query("game == 'harmony'")
    inputs = tables | {"prompts": harmony}
    once = replace(SETTINGS, draws=1)
    found = spike_tables(engine, readout, load, inputs, once, JUDGED, PROBES)
    assert set(found["spikes"]["claim"]) == {"M1", "M2", "M3"}


def test_an_inert_direction_is_orthogonal_to_what_the_lens_reads():
    rng = np.random.default_rng(1)
    along = np.repeat(rng.normal(size=(3, 16)), 2, axis=0)
    direction = inert_direction(along, rng)
    assert np.abs(along @ direction).max() < 1e-9
    assert np.linalg.norm(direction) == pytest.approx(1.0)
