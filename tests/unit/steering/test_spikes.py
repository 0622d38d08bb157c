"""Spikes in planted models whose truth is known."""

import numpy as np
import pandas as pd
import pytest

from nashlens.engine.core import Engine
from nashlens.engine.writing import residuals_under
from nashlens.games import build_games
from nashlens.models.convert import convert_source
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.models.weights import load_readout
from nashlens.probes.design import ProbeSettings
from nashlens.probes.study import fit_probes
from nashlens.prompts.table import build_prompts
from nashlens.steering.conflicts import Conflicts, inert_direction
from nashlens.steering.spike_summary import summarise_spikes, worth
from nashlens.steering.spikes import SpikeSettings, spike_table

SETTINGS = SpikeSettings(
    games=["prisoners_dilemma"],
    prompts=64,
    layers=[10],
    logits=[0.0, 0.5, 2.0],
    deviations=[0.0, 3.0],
    draws=5,
    seeds=1,
    model="inert",
    confidence=0.95,
    resamples=200,
    late_fraction=0.25,
    min_label_mass=0.0,
    seed=1,
)
PROBES = ProbeSettings([0.03], 2, 5, 0.95, 200, 1, "inert")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A planted null model, its prompts, residuals and probes."""
    folder = tmp_path_factory.mktemp("spikes") / "null"
    convert_source("planted:label_bias", folder)
    names = ["prisoners_dilemma", "harmony"]
    prompts = build_prompts(
        build_games({game: {"canonical": game} for game in names}, 1),
        ChatTokenizer(folder),
        templates=["neutral"],
        label_sets={"jf": ["J", "F"], "xy": ["X", "Y"]},
        label_maps=["identity", "swapped"],
        option_orders=["forward", "reversed"],
        opponents=["RANDOM"],
        own_cooperation=0.5,
        rounds=[5],
        histories=8,
        crossed=[],
        system=None,
        assistant_prefix="I choose option",
        seed=1,
    )
    engine = Engine(load_model(folder, device="cpu"))
    unique = prompts.drop_duplicates("prompt_id")
    x = np.zeros((len(unique), engine.n_layers + 1, engine.width), dtype=np.float32)
    for which, residuals in engine.residuals([ids.tolist() for ids in unique["token_ids"]]):
        x[which] = residuals
    row = {name: i for i, name in enumerate(unique["prompt_id"])}

    def load(layer, ids):
        return x[[row[name] for name in ids], layer]

    ids = prompts["prompt_id"].tolist()
    targets = ["opponent_last", "nash_label", "nash_place"]
    probes = fit_probes(lambda k: load(k, ids), [1, 10, 12], prompts, targets, PROBES).probes
    return engine, load_readout(folder), load, prompts, probes


@pytest.fixture(scope="module")
def spiked(study):
    return spike_table(*study, SETTINGS, PROBES)


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


def test_a_spike_of_strength_zero_finds_nothing(spiked):
    zero = spiked[spiked["strength"] == 0.0]
    assert set(zero["spike"]) == {"none", "override", "word", "history", "nash_code"}
    assert not zero["verdict"].eq(zero["wanted"]).any()


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


def test_the_lens_reads_the_strength_at_the_layer(study):
    engine, readout, load, prompts, _ = study
    conflicts = Conflicts(readout, load, engine.n_layers, prompts, SETTINGS.games, 64, 1)
    writings = conflicts.override(10, np.full(len(conflicts.ids), 2.0))
    sequences = [ids.tolist() for ids in conflicts.prompts["token_ids"]]
    after = residuals_under(engine, sequences, [writings], readout.norm)[:, 0]
    for layer, logits in ((3, -2.0), (9, -2.0), (10, 2.0)):
        own, spiked = (
            (readout.norm(x) * conflicts._difference).sum(1)
            for x in (conflicts.base(layer), after[:, layer])
        )
        assert spiked - own == pytest.approx(np.full(len(own), logits), abs=1e-3)


def test_an_inert_direction_is_orthogonal_to_what_the_lens_reads():
    rng = np.random.default_rng(1)
    along = np.repeat(rng.normal(size=(3, 16)), 2, axis=0)
    direction = inert_direction(along, rng)
    assert np.abs(along @ direction).max() < 1e-9
    assert np.linalg.norm(direction) == pytest.approx(1.0)


def test_power_must_hold_for_every_larger_strength():
    rows = [(1.0, 1.0), (2.0, 0.0), (3.0, 1.0)]
    table = pd.DataFrame(rows, columns=["strength", "estimate"]).assign(
        model="m", spike="override", layer=1, unit="logits", claim="M6", counts="power"
    )
    assert worth(table)["spike_found"].tolist() == [3.0]
