import numpy as np
import pandas as pd
import pytest

from nashlens.engine.core import Engine
from nashlens.engine.edits import Edit
from nashlens.engine.labels import LabelledPrompt
from nashlens.steering.sweep import steering_edits, sweep_table
from tests import reference
from tests.tiny_models import tiny
from tests.unit.steering.tables import prompts_table


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def directions_table(n_layers):
    layers = range(n_layers + 1)
    return pd.DataFrame(
        {
            "layer": layers,
            "residual_norm": [2.0 + layer for layer in layers],
            "projection_mean": [0.5] * len(layers),
            "projection_std": [0.25] * len(layers),
        }
    )


def test_alphas_are_in_residual_norms_and_clamps_in_deviations(rng):
    directions = rng.normal(size=(5, 32)).astype(np.float32)
    every = steering_edits(
        directions,
        directions_table(4),
        layers=[2],
        alphas=[0.5],
        clamps=[-2.0],
        ablate=True,
        n_random=1,
        seed=0,
    )
    assert [(d.kind, d.direction, d.value) for d in every] == [
        ("add", "nash", 0.5),
        ("add", "random_000", 0.5),
        ("clamp", "nash", -2.0),
        ("ablate", "nash", 0.0),
        ("ablate", "random_000", 0.0),
    ]
    assert [d.edit.value for d in every] == [2.0, 2.0, 0.0, 0.0, 0.0]


def test_a_layer_without_a_direction_is_swept_and_left_as_it_is(rng):
    """`fit_directions` gives zeros where the classes do not differ at all."""
    directions = rng.normal(size=(5, 32)).astype(np.float32)
    directions[1] = 0
    table = sweep_table(
        Engine(tiny("LlamaForCausalLM")),
        prompts_table(rng),
        directions,
        directions_table(4),
        test_games=["deadlock"],
        layers=[1, 2],
        positions="last",
        alphas=[-0.5, 0.0, 0.5],
        clamps=[-1.0, 1.0],
        ablate=True,
        random_directions=1,
        prompts_per_game=4,
        seed=1,
        model="tiny",
    )
    nash = table[table["direction"] == "nash"]
    spread = nash.groupby(["layer", "prompt_id"])["p_action_1"].agg(np.ptp).groupby("layer").max()
    assert spread[1] < 1e-5
    assert spread[2] > 1e-3


@pytest.mark.parametrize("positions", ["last", "all"])
def test_the_table_equals_hooked_forwards(rng, positions):
    loaded = tiny("LlamaForCausalLM")
    prompts = prompts_table(rng)
    directions = rng.normal(size=(5, 32)).astype(np.float32)
    scales = directions_table(4)
    table = sweep_table(
        Engine(loaded),
        prompts,
        directions,
        scales,
        test_games=["deadlock", "concord"],
        layers=[1, 3],
        positions=positions,
        alphas=[-0.5, 0.0, 0.5],
        clamps=[-1.0, 1.0],
        ablate=True,
        random_directions=2,
        prompts_per_game=4,
        seed=1,
        model="tiny",
    )
    assert len(table) == 8 * 2 * (3 * 3 + 2 + 3)
    assert (table["positions"] == positions).all()
    by_id = prompts.set_index("prompt_id")
    for row in table[table["direction"] == "nash"].sample(24, random_state=0).itertuples():
        prompt = by_id.loc[row.prompt_id]
        value = row.value * (2.0 + row.layer) if row.kind == "add" else 0.5 + 0.25 * row.value
        edit = Edit(row.layer, row.kind, directions[row.layer], value)
        asked = LabelledPrompt(prompt.token_ids, (prompt.label_tokens_0, prompt.label_tokens_1))
        logp = reference.label_logprobs(loaded, [asked], edit, positions)[0]
        expected = np.exp(logp) / np.exp(logp).sum()
        assert row.p_action_0 == pytest.approx(expected[0], abs=1e-5)
        assert row.label_mass == pytest.approx(np.exp(logp).sum(), abs=1e-5)
    zero = table[(table["kind"] == "add") & (table["value"] == 0.0)]
    assert (zero.groupby("prompt_id")["p_action_0"].agg(np.ptp) < 1e-6).all()
