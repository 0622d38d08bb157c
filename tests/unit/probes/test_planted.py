"""Probes of planted models: the kind of game is no label, and a label is found where it is."""

import numpy as np
import pytest

from nashlens.planted import build
from nashlens.planted.circuit import N_LAYERS
from nashlens.planted.plants import PLANTS
from nashlens.probes.design import ProbeSettings
from nashlens.probes.study import fit_probes
from tests.unit.planted.test_plants import Model, make_prompts

SETTINGS = ProbeSettings(
    C=[0.03],
    folds=4,
    permutations=19,
    confidence=0.95,
    resamples=200,
    seed=7,
    model="m",
)
LAYERS = range(3, N_LAYERS + 1)
TARGETS = ["nash_action", "nash_label", "nash_place"]


@pytest.fixture(scope="module")
def accuracy(tmp_path_factory):
    """Accuracy by target and layer, for each of some planted models."""
    found, prompts = {}, None
    for name in ("inert", "nash", "override", "label_bias"):
        folder = tmp_path_factory.mktemp(name)
        build(name, folder)
        model = Model(folder)
        prompts = make_prompts(model.tokenizer, histories=10) if prompts is None else prompts
        residuals = model.run(prompts["token_ids"].to_list())
        table = fit_probes(lambda k, at=residuals: at[:, k], LAYERS, prompts, TARGETS, SETTINGS)
        rows = table.probes[table.probes["split"] == "match"]
        found[name] = rows.set_index(["target", "layer"])["balanced_accuracy"]
    return found


def test_a_model_that_knows_the_kind_of_game_only_knows_no_label(accuracy):
    facts, found = PLANTS["inert"].facts, accuracy["inert"]
    assert (found["nash_action"].loc[facts.nash_from :] > 0.95).all()
    assert np.abs(found["nash_label"] - 0.5).max() < 0.15
    assert np.abs(found["nash_place"] - 0.5).max() < 0.15


@pytest.mark.parametrize("name", ["nash", "override"])
def test_the_label_is_found_from_the_layer_that_answers_it(accuracy, name):
    facts, label = PLANTS[name].facts, accuracy[name]["nash_label"]
    favoured, until = facts.favoured_from, facts.override_at or N_LAYERS + 1
    assert (label.loc[favoured : until - 1] > 0.9).all()
    assert (np.abs(label.loc[: favoured - 1] - 0.5) < 0.15).all()
    # The action is there one block before it is looked up in labels.
    assert accuracy[name]["nash_action"][facts.nash_from] > 0.95


def test_preferring_a_word_is_no_nash_action(accuracy):
    for target in TARGETS[1:]:
        assert np.abs(accuracy["label_bias"][target] - 0.5).max() < 0.15
