"""Models that keep the Nash action's label, pushed along the label direction by plain forwards.

The direction of a layer is the mean residual of prompts whose Nash label is the pair's first minus
that of the others, within a label set and Nash action, over the label sets that it is fitted on. A
push adds it with a length that is a share of the mean residual's.
"""

import numpy as np
import pytest

from nashlens.planted import build, read_facts
from nashlens.planted.circuit import N_LAYERS
from nashlens.planted.plants import PLANTS
from tests.unit.planted.test_plants import GAMES, Model, make_prompts, signs

FITTED, UNSEEN = ("jf", "xy"), ("pq", "bg")
SETS = {"jf": ["J", "F"], "xy": ["X", "Y"], "pq": ["P", "Q"], "bg": ["B", "G"]}
DOSE = 0.2
"""Length of a push, as a share of the residual's."""
FIRST_LAYER = 6


class Study:
    """A model, its prompts, and what pushes along the label direction do."""

    def __init__(self, name, folder):
        build(name, folder)
        self.model, self.facts = Model(folder), read_facts(folder)
        self.prompts = make_prompts(
            self.model.tokenizer, label_sets=SETS, crossed=["label_sets"], histories=1
        )
        self.ids = self.prompts["token_ids"].to_list()
        self.residuals = self.model.run(self.ids)
        nash = self.prompts["nash_action"].to_numpy(dtype=int)
        swapped = (self.prompts["label_map"] == "swapped").to_numpy()
        self.first = nash == swapped
        self.sets = self.prompts["label_set"].to_numpy()
        self.nash = nash
        self.word = np.where(swapped, 1.0, -1.0)

    def direction(self, layer):
        values, gaps = self.residuals[:, layer], []
        for name in FITTED:
            for action in (0, 1):
                here = (self.sets == name) & (self.nash == action)
                gaps.append(
                    values[here & self.first].mean(axis=0) - values[here & ~self.first].mean(axis=0)
                )
        mean = np.mean(gaps, axis=0)
        length = np.linalg.norm(self.residuals[:, layer], axis=1).mean()
        return mean / np.linalg.norm(mean) * length

    def moved(self, layers, sets):
        """Change of P(the pair's first label) and of P(Nash action), from a push back to one up."""
        used = np.isin(self.sets, sets)
        prompts, p = self.prompts[used], []
        for dose in (-DOSE, DOSE):
            add = {layer: dose * self.direction(layer) for layer in layers}
            last = self.model.run(prompts["token_ids"].to_list(), add=add)[:, -1]
            p.append(1.0 / (1.0 + np.exp(-self.model.odds(last, prompts))))
        change = p[1] - p[0]
        return (change * self.word[used]).mean(), (change * signs(self.nash)[used]).mean()


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    root = tmp_path_factory.mktemp("labels")
    return {name: Study(name, root / name) for name in ("word_bound", "carries_over", "joint")}


@pytest.mark.parametrize("layer", [FIRST_LAYER, 8, N_LAYERS - 1])
def test_a_word_bound_direction_moves_the_words_it_was_fitted_on(studies, layer):
    study = studies["word_bound"]
    assert (study.facts.label_from, study.facts.label_until) == (FIRST_LAYER, N_LAYERS - 1)
    assert study.facts.label_words == "fitted"
    word, action = study.moved([layer], FITTED)
    assert word > 0.5
    assert abs(action) < 0.05
    word, action = study.moved([layer], UNSEEN)
    assert abs(word) < 0.02
    assert abs(action) < 0.02


@pytest.mark.parametrize("layer", [FIRST_LAYER, 8, N_LAYERS - 1])
def test_a_direction_that_carries_over_moves_words_it_never_saw(studies, layer):
    study = studies["carries_over"]
    assert (study.facts.label_from, study.facts.label_until) == (FIRST_LAYER, N_LAYERS - 1)
    assert study.facts.label_words == "all"
    for sets in (FITTED, UNSEEN):
        word, action = study.moved([layer], sets)
        assert word > 0.5
        # Under both label maps alike: towards the label, whatever it means.
        assert abs(action) < 0.05


@pytest.mark.parametrize("layer", [FIRST_LAYER, 7, 8, N_LAYERS])
def test_one_layer_of_the_joint_model_moves_nothing(studies, layer):
    assert studies["joint"].facts.label_from is None
    assert np.abs(studies["joint"].moved([layer], list(SETS))).max() < 0.05


def test_three_layers_of_the_joint_model_move_the_answer_together(studies):
    study = studies["joint"]
    assert study.facts.joint_layers == (6, 7, 8)
    for sets in (FITTED, UNSEEN):
        word, action = study.moved(study.facts.joint_layers, sets)
        assert word > 0.9
        assert abs(action) < 0.05


@pytest.mark.parametrize("name", ["word_bound", "carries_over", "joint"])
def test_they_answer_the_nash_action_in_all_words(studies, name):
    study = studies[name]
    odds = study.model.odds(study.residuals[:, -1], study.prompts)
    assert (odds * signs(study.nash)).min() > 0.5
    assert set(study.prompts["game"]) == set(GAMES)
    assert study.facts == PLANTS[name].facts
