"""What the four matches of a block share, and what cancels in them."""

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from nashlens.games.catalog import CATALOG
from nashlens.play.run import MatchState, _by_label
from nashlens.play.schedule import Agent
from nashlens.seeds import stream
from nashlens.vocabulary.prompts import MOVE_ORDERS

from .fakes import COT, FORMS, MODEL, likes, matches_of, play_matches, players, same, settings

BOS = CATALOG["battle_of_the_sexes"]
CHANCES = st.integers(0, 100).map(lambda n: n / 100)


def shares(frame, seat="row"):
    """The share of action 0 in each block and round."""
    mine = frame[frame["seat"] == seat]
    return (mine["action"] == 0).groupby([mine["block_id"], mine["round"]]).mean()


@pytest.mark.parametrize("pair", [(MODEL, MODEL), (MODEL, Agent("r", strategy="RANDOM"))])
@pytest.mark.parametrize("order", MOVE_ORDERS)
@examples(deadline=None, max_examples=20)
@given(CHANCES, st.integers(0, 3))
def test_a_liking_for_a_label_has_no_action_part(pair, order, p, seed):
    """Exactly, in every block and round."""
    matches = matches_of(pair, repetitions=8, games=[BOS], move_orders=[order], seed=seed)
    frame = play_matches(matches, players(likes("J", p)), settings(rounds=3, seed=seed))
    assert (shares(frame) == 0.5).all()
    # So have all counts that mirror each other in the two actions.
    mine = frame[frame["seat"] == "row"]
    joint = mine.groupby("block_id")[["action", "opponent_action"]].mean()
    if pair[1] == MODEL:
        assert (joint == 0.5).all(axis=None)


# Draws that no rounding brings to an edge.
@given(CHANCES, st.integers(0, 99).map(lambda n: (n + 0.25) / 100))
def test_what_goes_by_a_label_or_a_place_cancels_for_every_draw(p, draw):
    for by in ("label", "place"):
        taken = []
        for form in FORMS:
            # Whether the liked label, or place, is action 0's.
            liked = (
                form.label_map == "identity" if by == "label" else form.option_order == "forward"
            )
            taken.append(_by_label(form, p if liked else 1 - p, draw))
        assert sum(taken) == 2


@examples(deadline=None, max_examples=6)
@given(st.integers(0, 5))
def test_a_block_shares_its_draws_and_others_have_their_own(seed):
    matches = matches_of((MODEL, MODEL), (COT, MODEL), repetitions=8, move_orders=MOVE_ORDERS)
    draws = {}
    for match in matches:
        state = MatchState(match, 4, stream(seed, "match", match.block_id))
        draws.setdefault(match.block_id, set()).add(tuple(state.rng.random(8)))
    assert all(len(found) == 1 for found in draws.values())
    assert len(set.union(*draws.values())) == len(draws) == 2 * 3 * 2


def test_a_scripts_draws_are_the_same_in_all_of_a_block():
    script = Agent("r", strategy="RANDOM")
    frame = play_matches(
        matches_of((MODEL, script), repetitions=16), players(likes("F", 0.7)), settings(rounds=8)
    )
    moves = frame[frame["agent"] == "r"].groupby(["block_id", "round"])["action"]
    assert (moves.nunique() == 1).all()
    assert frame.loc[frame["agent"] == "r", "action"].nunique() == 2


def test_who_goes_by_neither_meets_four_draws():
    """Its block means vary less than those of four matches with draws of their own."""
    frame = play_matches(
        matches_of((MODEL, MODEL), repetitions=400), players(same(0.7)), settings(rounds=1)
    )
    found = shares(frame)
    assert found.mean() == pytest.approx(0.7, abs=0.03)
    assert found.var() < 0.7 * 0.3 / 4
