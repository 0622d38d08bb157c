"""Trained models in a few steps: what is drawn, what changes, and what a seed decides."""

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from nashlens.errors import ModelError
from nashlens.games import CATALOG, nash_action, prosocial_action
from nashlens.games.game import Game
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.planted import RECIPES, build, training
from nashlens.planted.lessons import GAMES, NOTHING, Teacher, draw_payoffs
from nashlens.prompts.table import build_prompts

SHORT = (
    training.Phase(steps=2, rate=1e-3, prompts=4, blocks=training.READ_OUT),
    training.Phase(steps=1, rate=1e-3, prompts=4, rounds=(2,)),
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Both models in a few steps, the first one twice and with another seed."""
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "NASH", SHORT)
        patch.setattr(training, "OVERRIDE", SHORT[1:])
        patch.setattr(training, "LEAST_RIGHT", 0.0)
        patch.setattr(training, "LEAST_OVERRIDDEN", 0.0)
        patch.setattr(training, "ASKED", 16)
        for name in ("trained_nash", "trained_nash-1", "trained_override"):
            build(name, root / name)
        build("trained_nash", root / "again")
    return root


@pytest.fixture(scope="module")
def weights(built):
    return {folder.name: load_file(folder / "model.safetensors") for folder in built.iterdir()}


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("held_out", [False, True])
def test_payoffs_are_of_the_game(name, held_out):
    rng = np.random.default_rng(0)
    for _ in range(20):
        own, other = draw_payoffs(rng, name, held_out=held_out)
        game = Game("drawn", np.stack([own, other], axis=-1).tolist())
        assert nash_action(game, "row") == nash_action(CATALOG[name], "row")
        assert prosocial_action(game, "row") == prosocial_action(CATALOG[name], "row")


def test_no_held_out_payoffs_are_trained_on():
    rng = np.random.default_rng(0)
    seen, kept = (
        {str(draw_payoffs(rng, "harmony", held_out=held_out)) for _ in range(200)}
        for held_out in (False, True)
    )
    assert len(kept) > 20
    assert not seen & kept


def test_lessons_say_what_is_to_be_answered():
    teacher = Teacher()
    lessons = teacher.lessons(np.random.default_rng(0), 64, 2)
    labels = {teacher.ids[label] for label in "JFXYPQ"}
    assert {*lessons.nash, *lessons.prosocial} == labels
    np.testing.assert_array_equal(lessons.conflict, lessons.nash != lessons.prosocial)
    assert 0.3 < lessons.conflict.mean() < 0.7
    there = lessons.running != NOTHING
    assert set(there.sum(axis=1)) <= {5, 6, 7, 8}
    # The largest own payoff is the dominant action's; the largest sum is the prosocial one's.
    for row, at in enumerate(there):
        own, total = lessons.running[row, np.flatnonzero(at)[-2:]]
        assert (own, total) == (lessons.nash[row], lessons.prosocial[row])


def test_lessons_are_asked_as_the_study_asks(built):
    tokenizer = ChatTokenizer(built / "trained_nash")
    table = build_prompts(
        [CATALOG["harmony"]], tokenizer, templates=["neutral"], label_sets={"jf": ["J", "F"]},
        label_maps=["identity"], option_orders=["forward"], opponents=["RANDOM"],
        own_cooperation=0.5, rounds=[3], histories=1, seed=1, assistant_prefix="I choose option",
        system="You are playing a game with another player.",
    )  # fmt: skip
    lesson = Teacher().lessons(np.random.default_rng(0), 1, 2).ids[0]
    asked = table["token_ids"].iloc[0]
    assert len(asked) == len(lesson)
    assert (asked == lesson).mean() > 0.7
    assert asked[-4:].tolist() == lesson[-4:].tolist()


def test_the_seed_decides_every_weight(weights):
    one, again, other = (weights[name] for name in ("trained_nash", "again", "trained_nash-1"))
    assert all((one[key] == again[key]).all() for key in one)
    assert not any((one[key] == other[key]).all() for key in one)


def test_the_second_training_changes_the_last_blocks_only(weights):
    one, two = weights["trained_nash"], weights["trained_override"]
    changed = {key for key in one if (one[key] != two[key]).any()}
    late = tuple(f"model.layers.{k}." for k in range(training.FROZEN, training.N_LAYERS))
    assert changed == {key for key in one if key.startswith(late)}


def test_recipes_know_what_is_trained():
    for name in ("trained_nash", "trained_override"):
        assert RECIPES[name].n_layers == training.N_LAYERS
        assert RECIPES[name].width == training.WIDTH
    assert RECIPES["trained_override"].facts.override_at == training.FROZEN + 1


def marks(nash, prosocial):
    rows = [
        {"layer": layer, "conflict": conflict, "nash": right, "prosocial": kind}
        for layer, right, kind in ((6, 1.0, 0.5), (8, nash, prosocial))
        for conflict in (True, False)
    ]
    return pd.DataFrame(rows)


def test_a_model_that_did_not_learn_is_refused():
    training.check_exam(marks(1.0, 0.5), "trained_nash-0", overridden=False)
    training.check_exam(marks(0.5, 0.92), "trained_override-0", overridden=True)
    with pytest.raises(ModelError, match="after block 8 80% of held-out prompts give the prosoc"):
        training.check_exam(marks(0.5, 0.8), "trained_override-0", overridden=True)
    with pytest.raises(ModelError, match="after block 8 92% of held-out prompts give the nash"):
        training.check_exam(marks(0.92, 0.5), "trained_nash-0", overridden=False)


def test_the_exam_has_every_length_and_layer(built):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(built / "trained_nash")
    found = training.exam(model, 0, [6, 8], n=4)
    assert len(found) == 2 * 3 * 2
    assert found.groupby(["layer", "rounds"])["n"].sum().eq(4).all()
