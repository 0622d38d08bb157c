"""The steering table, against one hooked forward for each row."""

import numpy as np
import pandas as pd
import pytest

from nashlens.engine.core import Engine
from nashlens.engine.edits import Edit
from nashlens.engine.labels import LabelledPrompt
from nashlens.steering.directions import Directions
from nashlens.steering.doses import Doses, places_of, steering_edits
from nashlens.steering.sweep import WORDS_SHARE, sweep_table
from nashlens.steering.training import Training
from tests import reference
from tests.tiny_models import tiny
from tests.unit.steering.tables import prompts_table

WIDTH, N_LAYERS = 32, 4


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def directions_of(rng, kinds=("abstract", "label", "published")):
    layers = np.arange(N_LAYERS + 1)
    units = rng.normal(size=(len(kinds), len(layers), WIDTH)).astype(np.float32)
    units /= np.linalg.norm(units, axis=-1, keepdims=True)
    table = pd.DataFrame(
        {
            "direction": np.repeat(kinds, len(layers)),
            "layer": np.tile(layers, len(kinds)),
            "status": "ok",
            "residual_norm": np.tile(2.0 + layers, len(kinds)),
            "projection_mean": 0.5,
            "projection_std": np.repeat([0.25, 0.5, 0.125][: len(kinds)], len(layers)),
        }
    )
    mean = rng.normal(size=(len(layers), WIDTH)).astype(np.float32)
    return Directions(dict(zip(kinds, units, strict=True)), mean, table)


def edits_of(found, random, places, doses):
    return steering_edits(found.units, found.mean, found.table, random, places=places, doses=doses)


def swept(rng, found, **how):
    prompts = how.pop("prompts", None)
    prompts = prompts_table(rng, label_sets=("jf", "xy")) if prompts is None else prompts
    how = {
        "test_games": ["deadlock", "concord"],
        "places": places_of([1, 3], [[1, 2]]),
        "positions": "last",
        "random_directions": 2,
        "prompts_per_game": 32,
        "seed": 1,
        "model": "tiny",
        "doses": Doses([-0.5, 0.0, 0.5], [-1.0, 1.0], ablate=True),
    } | how
    training, doses = Training.choose(prompts, ["other"]), how.pop("doses")
    engine = Engine(tiny("LlamaForCausalLM"))
    return prompts, sweep_table(engine, prompts, found, training, doses, **how)


def test_doses_are_in_residual_norms_or_absolute_and_clamps_in_deviations(rng):
    found = directions_of(rng, ("abstract",))
    random = rng.normal(size=(1, WIDTH)).astype(np.float32)
    every = edits_of(found, random, [(2,)], Doses([0.5, 1.0], [-2.0, 0.0, 2.0], ablate=True))
    assert [(d.kind, d.direction, d.value) for d in every] == [
        ("add", "abstract", 0.5),
        ("add", "abstract", 1.0),
        ("clamp", "abstract", -2.0),
        ("clamp", "abstract", 0.0),
        ("clamp", "abstract", 2.0),
        ("ablate", "abstract", 0.0),
        ("add", "random_000", 0.0),
        ("add", "random_000", 0.5),
        ("add", "random_000", 1.0),
        ("clamp", "random_000", -2.0),
        ("clamp", "random_000", 2.0),
        ("ablate", "random_000", 0.0),
    ]
    values = [d.edits[0].value for d in every]
    assert values[:6] == [2.0, 4.0, 0.0, 0.5, 1.0, 0.0]
    middle = float(found.mean[2] @ random[0])
    np.testing.assert_allclose(values[9:11], [middle - 0.5, middle + 0.5], rtol=1e-6)
    (absolute,) = edits_of(found, random[:0], [(2,)], Doses([0.5], units="absolute"))
    assert absolute.edits[0].value == 0.5


def test_a_joint_place_changes_all_its_layers_and_zero_is_asked_once(rng):
    found = directions_of(rng, ("abstract", "label"))
    random = rng.normal(size=(1, WIDTH)).astype(np.float32)
    places = places_of([2], [[3, 1]])
    assert places == [(2,), (1, 3)]
    every = edits_of(found, random, places, Doses([-1.0, 0.0, 1.0], [-1.0, 1.0]))
    joint = [one for one in every if one.place == (1, 3)]
    assert {tuple(e.layer for e in one.edits) for one in joint if one.value} == {(1, 3)}
    # In norms of each layer.
    assert [e.value for e in joint[2].edits] == [3.0, 5.0]
    # A random clamp goes as far as the widest of the kinds.
    clamp = [one for one in joint if one.kind == "clamp" and one.direction == "random_000"][-1]
    middle = [float(found.mean[layer] @ random[0]) for layer in (1, 3)]
    np.testing.assert_allclose([e.value for e in clamp.edits], np.add(middle, 0.5), rtol=1e-5)
    zeros = {one.edits for one in every if one.kind == "add" and one.value == 0.0}
    assert len(zeros) == 1


def test_a_layer_without_a_direction_is_swept_and_left_as_it_is(rng):
    """`fit_directions` gives zeros where the classes do not differ at all."""
    found = directions_of(rng, ("abstract",))
    found.units["abstract"][1] = 0
    _, table = swept(rng, found, places=places_of([1, 2], []), random_directions=1)
    ours = table[table["direction"] == "abstract"]
    spread = ours.groupby(["layer", "prompt_id"])["p_action_1"].agg(np.ptp).groupby("layer").max()
    assert spread[1] < 1e-5
    assert spread[2] > 1e-3


@pytest.mark.parametrize("positions", ["last", "all"])
def test_the_table_equals_hooked_forwards(rng, positions):
    loaded = tiny("LlamaForCausalLM")
    found = directions_of(rng)
    prompts, table = swept(rng, found, positions=positions)
    # Three kinds with all doses and two random directions with the extreme ones.
    assert len(table) == 2 * 32 * 3 * (3 * (3 + 2 + 1) + 2 * (3 + 2 + 1))
    assert (table["positions"] == positions).all()
    assert set(table["layers"]) == {"1", "3", "1+2"}
    assert (table.loc[table["layers"] == "1+2", "layer"] == 1).all()
    by_id = prompts.set_index("prompt_id")
    scale = found.table.set_index(["direction", "layer"])
    ours = table[table["direction"].isin(found.units)]
    for row in ours.sample(30, random_state=0).itertuples():
        prompt = by_id.loc[row.prompt_id]
        edits = []
        for layer in map(int, row.layers.split("+")):
            value = row.value * (2.0 + layer)
            if row.kind == "clamp":
                known = scale.loc[(row.direction, layer)]
                value = known["projection_mean"] + row.value * known["projection_std"]
            edits.append(Edit(layer, row.kind, found.units[row.direction][layer], value))
        asked = LabelledPrompt(prompt.token_ids, (prompt.label_tokens_0, prompt.label_tokens_1))
        logp = reference.label_logprobs(loaded, [asked], tuple(edits), positions)[0]
        expected = np.exp(logp) / np.exp(logp).sum()
        assert row.p_action_0 == pytest.approx(expected[0], abs=1e-5)
        assert row.label_mass == pytest.approx(np.exp(logp).sum(), abs=1e-5)
    zero = table[(table["kind"] == "add") & (table["value"] == 0.0)]
    assert (zero.groupby("prompt_id")["p_action_0"].agg(np.ptp) == 0).all()


def test_prompts_say_what_directions_know(rng):
    table = swept(rng, directions_of(rng))[1]
    seen = table.groupby("label_set")["seen_label_set"].agg(["all", "any"])
    assert seen.loc["jf"].all()
    assert not seen.loc["xy"].any()
    assert table["seen_template"].all()
    assert table.drop_duplicates("prompt_id")["seen_label_set"].mean() == 0.5


def test_the_games_own_words_are_steered_along_the_published_direction_only(rng):
    prompts = prompts_table(rng, label_sets=("jf", "xy"), words=("own",))
    table = swept(rng, directions_of(rng), prompts=prompts)[1]
    words = table[table["label_kind"] == "actions"]
    assert set(words["direction"]) == {"published"}
    assert words["prompt_id"].nunique() == 2 * 32 // WORDS_SHARE
    without = swept(rng, directions_of(rng, ("abstract",)), prompts=prompts)[1]
    assert set(without["label_kind"]) == {"neutral"}
