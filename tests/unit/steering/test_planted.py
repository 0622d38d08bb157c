"""From a planted model to the verdict: directions, sweep, claim."""

import json

import pytest

from nashlens.engine.core import Engine
from nashlens.findings import CLAIMS, judge
from nashlens.models.convert import convert_source
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.steering.directions import fit_directions
from nashlens.steering.doses import Doses, places_of
from nashlens.steering.sweep import sweep_table
from nashlens.steering.training import Training
from tests.designs import make_prompts, residuals_at
from tests.unit.findings.tables import SETTINGS

TRAIN, TEST = ["prisoners_dilemma", "harmony"], ["deadlock", "concord"]


M7 = [claim for claim in CLAIMS if claim.id == "M7"]


KINDS = ["abstract", "label", "published"]


def steered(name, folder, layers, joint=(), fit="means", kinds=KINDS):
    """Return the steering table of a planted model."""
    convert_source(f"planted:{name}", folder)
    labels = {"jf": ["J", "F"], "pq": ["P", "Q"], "xy": ["X", "Y"], "own": "actions"}
    prompts = make_prompts(
        [*TRAIN, *TEST], ChatTokenizer(folder), label_sets=labels, histories=16, seed=1
    )
    engine = Engine(load_model(folder, device="cpu"))
    training = Training.choose(prompts, TRAIN)
    rows = training.rows(prompts)
    x = residuals_at(engine, rows)
    found = fit_directions(lambda k: x[:, k], engine.n_layers, rows, kinds, fit=fit)
    return sweep_table(
        engine,
        prompts,
        found,
        training,
        Doses([-0.2, 0.0, 0.2]),
        test_games=TEST,
        places=places_of(layers, joint),
        positions="last",
        random_directions=10,
        prompts_per_game=32,
        seed=1,
        model=name,
    )


def judged(table):
    (row,) = judge({"steering": table}, SETTINGS, M7).to_dict("records")
    return row, json.loads(row["detail"])


@pytest.mark.parametrize("fit", ["means", "probe"])
def test_a_nash_action_that_is_looked_up_afterwards_can_be_pushed(tmp_path, fit):
    row, detail = judged(steered("steerable", tmp_path / "m", [3, 7, 11], fit=fit, kinds=KINDS[:2]))
    assert row["verdict"] == "supported", row["reason"]
    assert (detail["direction"], detail["layers"]) == ("abstract", "7")
    assert detail["action"] > 5 * abs(detail["word"])
    assert detail["unseen_words"] > 0.1


def test_what_is_there_and_not_read_moves_nothing(tmp_path):
    row, _ = judged(steered("inert", tmp_path / "m", [3, 7, 11]))
    assert row["verdict"] == "contradicted", row["reason"]


def test_a_label_direction_that_is_bound_to_words_is_contradicted(tmp_path):
    row, detail = judged(steered("word_bound", tmp_path / "m", [8, 11]))
    assert row["verdict"] == "contradicted", row["reason"]
    assert "only words move" in row["reason"]
    assert detail["word_direction"] == "label"
    assert detail["word_change"] > 0.5
    assert abs(detail["word_change_others"]) < 0.05


def test_a_label_direction_that_carries_over_is_supported(tmp_path):
    row, detail = judged(steered("carries_over", tmp_path / "m", [8, 11]))
    assert row["verdict"] == "supported", row["reason"]
    assert (detail["direction"], detail["part"]) == ("label", "word")
    assert min(detail["seen_words"], detail["unseen_words"]) > 0.3


def test_a_push_that_works_at_three_layers_together_is_found_there(tmp_path):
    row, detail = judged(steered("joint", tmp_path / "m", [6, 7, 8], [[6, 7, 8]]))
    assert row["verdict"] == "supported", row["reason"]
    assert (detail["direction"], detail["layers"]) == ("label", "6+7+8")
