"""The plan of probes counts the training sets that the rule turns, and what it fits on each."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from nashlens.plan.probes import Turned, count_probes
from nashlens.probes import fits
from nashlens.probes.design import ProbeSettings, usable
from nashlens.probes.solver import TOLERANCE
from nashlens.probes.study import study_probes
from nashlens.vocabulary.positions import DECISION, position_column
from tests.unit.plan.test_study import study

WIDTH, LAYERS = 40, [0, 1]
FEW = {
    "prompts": {"histories": 4},
    "probes": {"permutations": 10, "random_weights": 128},
    "findings": {"bootstrap": 100},
}
PLACES = {"positions": ["decision", "option_first"]}


class Drawn:
    """Random residuals at a position; at layer 0 each token has its own."""

    def __init__(self, prompts, position=DECISION):
        self.prompts, self.position = prompts, position

    def at(self, position):
        return Drawn(self.prompts, position)

    def having(self, prompts):
        there = prompts[position_column(self.position)].notna()
        return prompts[there].reset_index(drop=True)

    def reader(self, prompts):
        column = prompts[position_column(self.position)]
        tokens = [ids[int(k)] for ids, k in zip(prompts["token_ids"], column, strict=True)]
        by_layer = {
            0: np.stack([np.random.default_rng(token).normal(size=WIDTH) for token in tokens]),
            1: np.random.default_rng(1).normal(size=(len(prompts), WIDTH)),
        }
        return by_layer.__getitem__


@pytest.fixture
def fitted(monkeypatch):
    """What is turned and fitted: (rows, width, trained, exact, rough, shares) -> how often."""
    found, last = Counter(), {}

    def rotate(features, train, turn, own=fits.rotate):
        last["basis"] = basis = own(features, train, turn)
        last["key"] = (*features.shape, len(train))
        last["columns"] = [0, 0, 0]
        return basis

    def logistic(basis, labels, C, *, tolerance, own=fits.solve_logistic):
        exact = int((tolerance <= TOLERANCE).sum())
        last["columns"][:2] = exact, len(C) - exact
        return own(basis, labels, C, tolerance=tolerance)

    def ridge(basis, values, C, own=fits.solve_ridge):
        last["columns"][2] = len(C)
        return own(basis, values, C)

    def columns(*given, own=fits.fit_columns, **how):
        result = own(*given, **how)
        found[(*last["key"], *last["columns"])] += 1
        return result

    monkeypatch.setattr(fits, "rotate", rotate)
    monkeypatch.setattr(fits, "solve_logistic", logistic)
    monkeypatch.setattr(fits, "solve_ridge", ridge)
    monkeypatch.setattr(fits, "fit_columns", columns)
    monkeypatch.setattr("nashlens.probes.transfer.fit_columns", columns)
    return found


def counted_sets(features, width, times=1):
    return Counter(
        {
            key: times * n
            for key, n in Counter(
                (one.rows, width, fit.trained, fit.exact, fit.rough, fit.shares)
                for one in features
                for fit in one.fits
            ).items()
        }
    )


@pytest.mark.parametrize(("position", "untrained"), [("decision", False), ("option_first", True)])
def test_as_much_is_counted_as_the_rule_turns_and_fits(fitted, position, untrained):
    here = study(**FEW, activations=PLACES)
    config, prompts = here.config, here.stages["big"].prompts
    options = config["probes"]
    counts = count_probes(prompts, position, config, untrained=untrained)
    # What the model chooses is a coin's in the plan, so the rule gets other coins.
    coins = np.random.default_rng(3).uniform(size=len(prompts))
    lens = prompts[["prompt_id", "match_id"]].assign(layer=1, p_action_1=coins)
    names = ("C", "folds", "permutations", "device")
    settings = ProbeSettings(
        **{name: options[name] for name in names},
        confidence=0.9,
        resamples=config["findings"]["bootstrap"],
        seed=config["experiment"]["seed"],
        model="big",
    )
    threads = torch.get_num_threads()
    study_probes(
        Drawn(prompts),
        prompts,
        lens,
        LAYERS,
        options["targets"],
        settings,
        part_targets=[],
        positions=[position],
        untrained=Drawn(prompts) if untrained else None,
        untrained_prompts=options["random_weights"],
    )
    torch.set_num_threads(threads)
    expected = counted_sets(counts.probes, WIDTH, len(LAYERS))
    expected += counted_sets(counts.untrained, WIDTH, len(LAYERS))
    expected += counted_sets(counts.transfer, WIDTH, len(LAYERS))
    expected += counted_sets(counts.baselines, WIDTH) + counted_sets(counts.baselines, counts.words)
    assert bool(counts.untrained) == untrained
    assert fitted == expected


def test_a_token_that_all_prompts_share_has_no_embedding_to_fit():
    here = study(**FEW, activations=PLACES)
    prompts = here.stages["big"].prompts
    one, many = (
        count_probes(prompts, position, here.config, untrained=False)
        for position in PLACES["positions"]
    )
    assert one.embeddings == 1
    column = usable(prompts)[position_column("option_first")]
    tokens = pd.Series(
        [ids[int(k)] for ids, k in zip(usable(prompts)["token_ids"], column, strict=True)]
    )
    assert many.embeddings == tokens.nunique() > 1
    assert one.operations(WIDTH, [0]) < many.operations(WIDTH, [0])
    assert one.operations(WIDTH, [1, 2]) > one.operations(WIDTH, [0, 1])


def test_permutations_are_fitted_jointly_and_cost_little_beside_their_number():
    by = {}
    for permutations in (10, 100, 1000):
        over = {**FEW, "probes": {"permutations": permutations}}
        by[permutations] = study(**over).stages["big"].work("fit_probes").cpu
    assert by[10] < by[100] < by[1000]
    assert by[100] < 2 * by[10]


def test_with_far_fewer_prompts_than_dimensions_their_products_are_turned():
    """A wider model then costs as much more as its products do, and no matrix of its width."""
    some = Turned(100, [])
    assert some.guided(200)
    assert not some.guided(201)
    assert not Turned(100, [], few=True).guided(10)
    assert some.operations(4096, varies=True) == 0.0
