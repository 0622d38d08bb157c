"""Steered players: doses in the residual's units, and play as plain hooks have it."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from nashlens.config.doses import dose_agents
from nashlens.engine.core import Engine
from nashlens.engine.edits import Edit
from nashlens.engine.generation import generate
from nashlens.engine.steered import steered
from nashlens.errors import ConfigError, DataError
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.play.join import with_doses
from nashlens.play.player import Player
from nashlens.play.run import decisions_table, play_rounds
from nashlens.play.schedule import Agent
from nashlens.play.steered import (
    ModelDirections,
    PlayerIntervention,
    edits_hash,
    steered_agents,
)
from nashlens.vocabulary.edits import STEERED_TOKENS
from tests.unit.engine.test_steered import assert_equal_scores, hooked_scores

from .fakes import matches_of, settings
from .test_engine import OPTIONS, Kept


def intervention(**changes):
    given = {"direction": "abstract", "layers": (1, -1), "kind": "add", "value": 0.5}
    return PlayerIntervention(**{**given, "positions": "all", **changes})


@pytest.fixture
def directions():
    vectors = np.eye(4, 3, dtype=np.float32)
    rows = [
        {
            "direction": "abstract",
            "layer": layer,
            "residual_norm": 10.0 * layer,
            "projection_mean": 1.0,
            "projection_std": 2.0,
        }
        for layer in range(4)
    ]
    return ModelDirections({"abstract": vectors}, 3 * vectors, pd.DataFrame(rows))


@pytest.mark.parametrize(
    ("changes", "values"),
    [
        ({"layers": (1, 2)}, [5.0, 10.0]),
        ({"layers": (2, 1), "units": "absolute"}, [0.5, 0.5]),
        ({"layers": (2,), "kind": "clamp", "value": -2.0}, [-3.0]),
        ({"layers": (-2,), "kind": "ablate", "value": 0.0}, [0.0]),
    ],
)
def test_doses_are_those_of_the_sweep(directions, changes, values):
    edits = directions.edits("a", intervention(**changes))
    assert [edit.value for edit in edits] == values
    assert all((e.vector == directions.units["abstract"][e.layer]).all() for e in edits)


def test_what_the_model_lacks_is_named(directions):
    with pytest.raises(DataError, match=r"agents.a.intervention.direction: found 'label'"):
        directions.edits("a", intervention(direction="label"))
    with pytest.raises(DataError, match=r"agents.a.intervention.direction: .* at layer 3"):
        directions.edits("a", intervention(layers=(3,)))
    with pytest.raises(ConfigError) as caught:
        directions.edits("a", intervention(layers=(9,)))
    assert "agents.a.intervention.layers: found layer 9" in caught.value.problems[0]
    with pytest.raises(DataError, match="no directions of m were given"):
        steered_agents([Agent("a", "m", intervention=intervention())], [], seed=1)


def test_random_directions_are_one_for_all_doses_of_a_player(directions):
    """The control of a player's own direction, at doses of the same length."""

    def edits(player="r", seed=1, **changes):
        how = intervention(direction="random", player=player, **changes)
        return directions.edits("a", how, seed=seed)

    one, other = edits(value=0.5), edits(value=-0.5)
    assert [edit.value for edit in one] == [5.0, 15.0]
    assert all(np.linalg.norm(edit.vector) == pytest.approx(1.0) for edit in one)
    assert all((a.vector == one[0].vector).all() for a in (*one, *other))
    (clamped,) = edits(layers=(2,), kind="clamp", value=1.0)
    assert clamped.value == pytest.approx(float(directions.mean[2] @ clamped.vector) + 2.0)
    for others in (edits("r2"), edits(seed=2)):
        assert (others[0].vector != one[0].vector).any()


def test_other_edits_have_another_hash():
    edits = [Edit(1, "add", np.ones(3), value) for value in (0.0, 1.0)]
    edits.append(Edit(1, "add", np.arange(1, 4), 1.0))
    assert len({edits_hash({"a": [edit]}) for edit in edits}) == 3


def test_one_agent_a_dose():
    how = {"kind": "add", "value": None, "values": [-1.0, 0.5]}
    plain = {"x": {"model": "m", "intervention": None}, "s": {"model": "m", "intervention": how}}
    agents = dose_agents(plain, "norms")
    assert list(agents) == ["x", "s_-1", "s_0.5"]
    assert agents["s_0.5"]["intervention"] == {
        "kind": "add", "value": 0.5, "units": "norms", "player": "s",
    }  # fmt: skip
    assert agents["x"] == plain["x"]


def test_each_seat_says_what_it_is_steered_by():
    mine = pd.DataFrame({"match_id": ["2", "2"], "agent": ["a", "s"], "opponent": ["s", "a"]})
    how = {"player": "p", "direction": "abstract", "kind": "add", "value": 0.5, "layers": [1, 2]}
    doses = with_doses(mine, {"s": how})
    assert doses["dose"].isna().tolist() == [True, False]
    assert doses["opponent_dose"].isna().tolist() == [False, True]
    about = doses[[f"opponent_{name}" for name in ("player", "direction", "edit", "layers")]]
    assert about.iloc[0].tolist() == ["p", "abstract", "add", "1+2"]
    assert about.iloc[1].isna().all()


def test_doses_of_a_player_draw_the_same_numbers_and_no_other_match_does():
    doses = [
        Agent(f"s_{value:g}", "m", intervention=intervention(value=value)) for value in (0.0, 1.0)
    ]
    plain = Agent("x", "m")
    pairs = [*((d, d) for d in doses), *((plain, d) for d in doses), (plain, plain)]
    matches = matches_of(*pairs, repetitions=1)
    assert len({match.block_id for match in matches}) == 5
    drawn = [match.draws_id for match in matches]
    assert (drawn[0], drawn[2]) == (drawn[1], drawn[3])
    assert len(set(drawn)) == 3
    assert drawn[4] == matches[4].block_id


@pytest.mark.parametrize("positions", STEERED_TOKENS)
@pytest.mark.parametrize("mode", ["direct", "cot", "scratchpad"])
def test_a_steered_seat_plays_as_plain_hooks_have_it(tiny_model, mode, positions):
    loaded = load_model(tiny_model, dtype="float32", device="cpu", native=False)
    tokenizer, engine = ChatTokenizer(tiny_model), Engine(loaded)
    vector = np.random.default_rng(0).normal(size=engine.width)
    edits = (Edit(1, "add", vector, 4.0),)

    def player(engine):
        session = Kept(engine)
        write = partial(generate, engine, stop=tokenizer.stop_ids, session=session)
        return Player(tokenizer, session, write)

    players = {"tiny": player(engine), "s": player(steered(engine, edits, positions))}
    mine = Agent("s", "tiny", mode=mode, intervention=intervention(positions=positions))
    other = Agent("x", "tiny", mode=mode)
    matches = matches_of((mine, other), (mine, mine), repetitions=1)
    table = decisions_table(play_rounds(matches, lambda: players, settings(**OPTIONS)))
    assert set(table["agent"]) == {"s", "x"}
    for name, done in (("s", edits), ("tiny", ())):
        assert players[name].scorer.seen
        for prompts, scores in players[name].scorer.seen:
            assert all(
                (prompt.written > 0) == (name == "s" and mode == "cot") for prompt in prompts
            )
            assert_equal_scores(scores, hooked_scores(loaded, prompts, done, positions))
