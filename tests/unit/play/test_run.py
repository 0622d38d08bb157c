import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nashlens.errors import DataError
from nashlens.games.catalog import CATALOG
from nashlens.play.chunks import chunk_key, play_part
from nashlens.play.run import Player, Settings, play_matches, tempered
from nashlens.play.schedule import Agent, schedule
from nashlens.prompts.design import surfaces

PD = CATALOG["prisoners_dilemma"]
FORMS = surfaces(["neutral"], {"jf": ["J", "F"]}, ["identity", "swapped"], ["forward", "reversed"])
MODEL = Agent("a", model="m")


class Characters:
    """One token a character; labels are one letter."""

    name, bos_id = "characters", None

    def __init__(self, max_length=None):
        self.max_length = max_length

    def encode(self, text):
        return [ord(c) for c in text]

    def encode_many(self, texts):
        return [self.encode(text) for text in texts]

    def last_piece(self, text):
        return text

    def chat(self, messages):
        return "\n".join(message["content"] for message in messages) + "\n"


def settings(**changes):
    base = {
        "rounds": 4,
        "temperature": 1.0,
        "horizon_known": False,
        "system": None,
        "assistant_prefix": "I choose",
        "seed": 3,
    }
    return Settings(**(base | changes))


class Labelled(Characters):
    """Takes ` J` as one token, so that the labels' first tokens differ."""

    def encode(self, text):
        ids = super().encode(text)
        if text[-2:] in (" J", " F"):
            ids[-2:] = [1000 + ids[-1]]
        return ids


class Letters:
    """Gives the letter J a fixed probability, whatever it is asked; 0.8 is the labels' mass."""

    def __init__(self, p_j):
        self.p_j, self.calls = p_j, []

    def label_logprobs(self, prompts):
        self.calls.append(list(prompts))
        p = [
            [self.p_j if label[0] == 1000 + ord("J") else 1 - self.p_j for label in q.labels]
            for q in prompts
        ]
        return np.log(0.8 * np.array(p))


def model_players(p_j=0.9, max_length=None):
    return {"m": Player(Labelled(max_length), Letters(p_j))}


def scripted(one, other, **kwargs):
    return schedule(
        [PD],
        [(Agent("x", strategy=one, **kwargs), Agent("y", strategy=other))],
        FORMS,
        repetitions=1,
        scripted_repetitions=1,
        seed=3,
    )


def moves(frame, seat):
    return frame[frame["seat"] == seat].sort_values("round")["action"].tolist()


@pytest.mark.parametrize(
    ("one", "other", "row", "column"),
    [
        ("TFT", "ALLD", [0, 1, 1, 1], [1, 1, 1, 1]),
        ("GRIM", "ALLC", [0, 0, 0, 0], [0, 0, 0, 0]),
        ("WSLS", "ALLD", [0, 1, 0, 1], [1, 1, 1, 1]),
    ],
)
def test_known_matches_of_scripted_strategies(one, other, row, column):
    frame = play_matches(scripted(one, other), {}, settings())
    assert moves(frame, "row") == row
    assert moves(frame, "column") == column
    assert frame["model"].isna().all()
    assert frame["label_mass"].isna().all()


def test_payoffs_are_the_games_from_each_seat():
    frame = play_matches(scripted("ALLC", "ALLD"), {}, settings())
    by_seat = frame.groupby("seat")[["payoff", "opponent_payoff"]].first()
    assert by_seat.loc["row"].tolist() == list(PD.payoff(0, 1))
    assert by_seat.loc["column"].tolist() == list(PD.payoff(0, 1))[::-1]


def test_no_round_is_missing_and_both_seats_move_in_each():
    frame = play_matches(scripted("TFT", "RANDOM"), {}, settings(rounds=7))
    assert frame.groupby("round").size().tolist() == [2] * 7


def test_each_model_sees_its_own_moves_as_its_own():
    """A public tool swapped the two in the history line, so a model never saw its own moves."""
    matches = schedule(
        [PD],
        [(MODEL, Agent("d", strategy="ALLD"))],
        FORMS,
        repetitions=1,
        scripted_repetitions=1,
        seed=3,
    )
    player = model_players(p_j=0.999999999)
    frame = play_matches(matches, player, settings(rounds=2))
    text = "".join(chr(i) for i in player["m"].scorer.calls[1][0].ids)
    form = matches[0].surface
    line = next(line for line in text.splitlines() if line.startswith("Round 1"))
    own, other = (form.label(a) for a in frame.loc[frame["round"] == 1, "action"])
    assert line.index(f"{own}") < line.rindex(f"{other}")
    assert other == form.label(1)


def test_probabilities_follow_the_label_map():
    matches = schedule([PD], [(MODEL, MODEL)], FORMS, repetitions=4, scripted_repetitions=4, seed=3)
    frame = play_matches(matches, model_players(p_j=0.9), settings(rounds=1))
    expected = np.where(frame["label_map"] == "identity", 0.9, 0.1)
    np.testing.assert_allclose(frame["p_action_0"], expected)
    np.testing.assert_allclose(frame["label_mass"], 0.8)
    np.testing.assert_allclose(frame["p_action_0"] + frame["p_action_1"], 1.0)


def test_the_seed_matters_and_batch_mates_do_not():
    """A public tool's seed had no effect when matches ran in parallel."""
    matches = schedule([PD], [(MODEL, MODEL)], FORMS, repetitions=4, scripted_repetitions=4, seed=3)
    whole = play_matches(matches, model_players(0.5), settings(rounds=6))
    alone = pd.concat(play_matches([m], model_players(0.5), settings(rounds=6)) for m in matches)
    key = ["match_id", "round", "seat"]
    pd.testing.assert_frame_equal(
        whole.sort_values(key, ignore_index=True), alone.sort_values(key, ignore_index=True)
    )
    other = play_matches(matches, model_players(0.5), settings(rounds=6, seed=4))
    assert whole["action"].tolist() != other["action"].tolist()
    assert whole["seed"].nunique() == 4


def test_self_play_seats_decide_apart():
    """A public tool shared one stateful player between both seats."""
    matches = schedule([PD], [(MODEL, MODEL)], FORMS, repetitions=4, scripted_repetitions=4, seed=3)
    frame = play_matches(matches, model_players(0.5), settings(rounds=10))
    assert moves(frame, "row") != moves(frame, "column")


def test_greedy_takes_the_likelier_action():
    matches = schedule([PD], [(MODEL, MODEL)], FORMS, repetitions=4, scripted_repetitions=4, seed=3)
    frame = play_matches(matches, model_players(0.6), settings(temperature=0.0))
    assert (frame["action"] == (frame["p_action_0"] < 0.5)).all()


@given(st.floats(0.001, 0.999), st.floats(0.05, 20))
def test_temperature_keeps_order_and_bounds(p, temperature):
    q = tempered(p, temperature)
    assert 0 <= q <= 1
    assert q == pytest.approx(1 - tempered(1 - p, temperature), abs=1e-9)
    assert (q - 0.5) * (p - 0.5) >= 0


def test_temperature_one_leaves_probabilities():
    assert tempered(0.3, 1.0) == pytest.approx(0.3)
    assert tempered(0.2, 0.5) == pytest.approx(0.04 / (0.04 + 0.64))


def test_a_match_that_outgrows_the_context_is_one_clear_error():
    matches = schedule([PD], [(MODEL, MODEL)], FORMS, repetitions=1, scripted_repetitions=1, seed=3)
    with pytest.raises(DataError, match=r"matches\.rounds"):
        play_matches(matches, model_players(max_length=50), settings())


def test_parts_add_up_and_kept_batches_are_not_played_again(tmp_path):
    matches = schedule(
        [PD, CATALOG["chicken"]],
        [(MODEL, MODEL), (MODEL, Agent("t", strategy="TFT"))],
        FORMS,
        repetitions=20,
        scripted_repetitions=20,
        seed=3,
    )
    made = []

    def make():
        made.append(1)
        return model_players(0.5)

    def part(k, n, folder, fingerprint="f"):
        return play_part(
            matches, make, settings(), part=k, parts=n, folder=folder, fingerprint=fingerprint
        )

    whole = part(1, 1, tmp_path / "one")
    assert len(made) == 4
    key = ["match_id", "round", "seat"]
    split = pd.concat([part(k, 3, tmp_path / "three") for k in (1, 2, 3)])
    pd.testing.assert_frame_equal(
        whole.sort_values(key, ignore_index=True), split.sort_values(key, ignore_index=True)
    )
    made.clear()
    pd.testing.assert_frame_equal(part(1, 1, tmp_path / "one"), whole)
    assert not made
    part(1, 1, tmp_path / "one", fingerprint="other model")
    assert len(made) == 4
    damaged = next((tmp_path / "one").glob("*.parquet"))
    damaged.write_bytes(b"half")
    assert len(part(1, 1, tmp_path / "one")) == len(whole)
    assert part(9, 9, tmp_path / "nine").empty


def test_a_batchs_key_follows_everything_it_depends_on():
    matches = schedule([PD], [(MODEL, MODEL)], FORMS, repetitions=2, scripted_repetitions=2, seed=3)
    keys = {
        chunk_key(matches, settings(), "f"),
        chunk_key(matches, settings(), "g"),
        chunk_key(matches, settings(rounds=5), "f"),
        chunk_key(matches[:1], settings(), "f"),
        chunk_key(
            schedule(
                [CATALOG["chicken"]],
                [(MODEL, MODEL)],
                FORMS,
                repetitions=2,
                scripted_repetitions=2,
                seed=3,
            ),
            settings(),
            "f",
        ),
    }
    assert len(keys) == 5
