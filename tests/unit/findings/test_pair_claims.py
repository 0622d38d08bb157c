"""Claims about pairs of models and move orders, the truth planted both ways: X1 to X3."""

import json

import pytest

from nashlens.games.game import Game
from tests.unit.findings.play_tables import (
    ALLC,
    ALLD,
    BOS,
    COIN,
    GRIM,
    PD,
    STAG,
    TFT,
    constant,
    itself,
    judged,
    likes_a_label,
    likes_a_place,
    meeting,
    models,
    noisy,
    only_in,
    play,
    recorded,
    with_scripts,
)

KNOWN = models(small=("f", 8), big=("f", 70), huge=("g", 72))
ORDERS = ("simultaneous", "row_first", "column_first")
FAIR = constant(0.44)


def met(small, big, **more):
    return play(*meeting("small", small, "big", big), itself("big", big), **more)


# ---- X1: unravelling ----


@pytest.mark.parametrize("answer", [TFT, GRIM])
def test_a_defector_unravels_one_that_answers(answer):
    row = judged("X1", met(ALLD, answer), KNOWN).loc["small--big"]
    assert (row["verdict"], row["estimate"], row["control"]) == ("supported", -1, 0)
    assert row["ci_low"] == -1 < row["ci_high"] < -0.5
    assert row["n_matches"] == 48
    detail = json.loads(row["detail"])
    assert (detail["early"], detail["first"], detail["self_play"]) == (1, 1, 1)


def test_a_partner_that_does_not_answer_is_not_unravelled():
    row = judged("X1", met(ALLD, ALLC), KNOWN).loc["small--big"]
    assert (row["verdict"], row["estimate"]) == ("contradicted", 0)
    assert "goes on as before" in row["reason"]


def test_one_that_gives_up_whoever_it_meets_is_not_unravelled():
    def weary(see):
        return 1.0 if see["round"] < 4 else 0.0

    row = judged("X1", met(ALLD, weary), KNOWN).loc["small--big"]
    assert row["estimate"] < -0.5
    assert row["verdict"] == "inconclusive"
    assert "cooperates no less than with itself" in row["reason"]


def test_a_small_model_that_does_not_defect():
    row = judged("X1", met(TFT, GRIM), KNOWN).loc["small--big"]
    assert (row["verdict"], row["estimate"]) == ("contradicted", 0)
    assert "seldom defects early" in row["reason"]


def test_a_small_model_that_answers_did_not_begin():
    row = judged("X1", met(TFT, constant(0.3)), KNOWN).loc["small--big"]
    assert row["verdict"] != "supported"


def test_one_round_cannot_be_answered():
    row = judged("X1", met(ALLD, TFT, rounds=1), KNOWN).loc["small--big"]
    assert row["verdict"] == "not_applicable"
    assert "fewer than two rounds" in row["reason"]
    assert judged("X1", met(ALLD, TFT, rounds=2), KNOWN).loc["small--big", "estimate"] == -1


@pytest.mark.parametrize("repetitions", [8, 11, 12, 40])
def test_where_nothing_is_cooperative_nothing_can_unravel(repetitions):
    row = judged("X1", met(ALLD, ALLD, repetitions=repetitions), KNOWN).loc["small--big"]
    assert (row["verdict"], row["estimate"]) == ("inconclusive", 0)
    assert "hardly cooperate even with itself" in row["reason"]


def test_who_is_small_is_said():
    row = judged("X1", met(ALLD, TFT), models(small=("f", 32), big=("f", 70))).loc["all models"]
    assert row["verdict"] == "not_applicable"
    assert "no model below 10B" in row["reason"]
    alone = judged("X1", play(itself("big", TFT)), KNOWN).loc["all models"]
    assert alone["verdict"] == "not_applicable"
    no_control = judged("X1", play(*meeting("small", ALLD, "big", TFT)), KNOWN).loc["small--big"]
    assert no_control["verdict"] == "not_applicable"
    assert "big with itself" in no_control["reason"]


# ---- X2: reinforcement ----


def large(one, two, **more):
    return play(
        *meeting("big", one, "huge", two),
        itself("big", one),
        itself("huge", two),
        *with_scripts("big", one),
        *with_scripts("huge", two),
        **more,
    )


def test_two_that_answer_keep_it_up():
    row = judged("X2", large(TFT, GRIM), KNOWN).loc["big--huge"]
    assert (row["verdict"], row["estimate"], row["control"]) == ("supported", 1, 1)
    assert "nash_tv 1.00 (full cooperation lies at distance 1, not at 0)" in row["reason"]


def test_two_that_cooperate_whatever_happens_reinforce_nothing():
    row = judged("X2", large(ALLC, TFT), KNOWN).loc["big--huge"]
    assert (row["verdict"], row["estimate"]) == ("inconclusive", 1)
    assert "big may cooperate whatever the other does" in row["reason"]


def test_two_that_defect():
    assert judged("X2", large(ALLD, TFT), KNOWN).loc["big--huge", "verdict"] == "contradicted"


def test_less_than_with_themselves():
    def wary(see):
        # Goes along with its like, and takes two of three rounds to forgive others.
        return TFT(see) if see["round"] % 3 or not see["other"] else 0.0

    matches = [
        play(*meeting("big", wary, "huge", constant(0.9)), seed=1),
        play(itself("big", ALLC), itself("huge", ALLC), seed=2),
        play(*with_scripts("big", TFT), *with_scripts("huge", TFT), seed=3),
    ]
    row = judged("X2", matches, KNOWN).loc["big--huge"]
    assert row["verdict"] == "contradicted"
    assert "less than with themselves" in row["reason"]


def test_without_scripts_their_answers_are_unknown():
    matches = play(*meeting("big", TFT, "huge", TFT), itself("big", TFT), itself("huge", TFT))
    row = judged("X2", matches, KNOWN).loc["big--huge"]
    assert row["verdict"] == "inconclusive"
    assert "big with a script that always cooperates (ALLC" in row["reason"]
    row = judged("X2", met(TFT, TFT), KNOWN).loc["all models"]
    assert row["verdict"] == "not_applicable"
    assert "no two models of 30B or more meet" in row["reason"]


MIRROR = Game("mirror", [[[1, 1], [5, 0]], [[0, 5], [3, 3]]])


def test_who_cooperates_is_the_games_to_say():
    """A Prisoner's Dilemma whose first action is defection: there ALLD cooperates."""

    def answers(see):
        return 1.0 - see["other"][-1] if see["other"] else 0.0

    for games in ((MIRROR,), (PD, MIRROR)):
        policy = only_in(MIRROR.name, answers, TFT)
        row = judged("X2", large(policy, policy, games=games), KNOWN, games=games).loc["big--huge"]
        answered = json.loads(row["detail"])["answers"]
        # All but the first round.
        assert answered == pytest.approx({"big": 11 / 12, "huge": 11 / 12}, abs=1e-5)
        assert row["verdict"] == "supported", row["reason"]
    defects = only_in(MIRROR.name, lambda see: 1.0, ALLD)
    row = judged("X2", large(defects, answers, games=(MIRROR,)), KNOWN, games=(MIRROR,))
    assert row.loc["big--huge", "verdict"] == "contradicted"


# ---- X3: the first mover ----


def leads(see):
    """Takes its own preferred equilibrium, or follows; at once, a coin."""
    if see["turn"] == "second":
        return 1.0 - see["now"]
    own = 1.0 if see["game"].payoff(0, 0)[0] > see["game"].payoff(1, 1)[0] else 0.0
    return own if see["turn"] == "first" else 0.5


def selfless(see):
    if see["turn"] == "second":
        return 1.0 - see["now"]
    return 1.0 - leads(see) if see["turn"] == "first" else 0.5


def in_order(*pairs, **more):
    return play(*pairs, **({"games": (BOS, STAG), "orders": ORDERS} | more))


def test_a_leader_is_found_with_itself_and_with_others():
    matches = in_order(itself("small", leads), *meeting("small", leads, "big", leads))
    rows = judged("X3", matches, KNOWN)
    assert rows["verdict"].to_dict() == {"small": "supported", "small--big": "supported"}
    assert rows.loc["small", "estimate"] == 1
    assert rows.loc["small", "control"] == pytest.approx(0, abs=0.2)
    assert json.loads(rows.loc["small", "detail"])["cells"] == ["battle_of_the_sexes, row small"]


def test_a_leader_that_gives_way_does_not_get_its_own():
    row = judged("X3", in_order(itself("small", selfless)), KNOWN).loc["small"]
    assert (row["verdict"], row["estimate"]) == ("contradicted", -1)
    assert "the second mover gets its own" in row["reason"]


@pytest.mark.parametrize("policy", [ALLC, ALLD, likes_a_label(0.9), COIN])
def test_what_does_not_look_is_not_selected_by_order(policy):
    row = judged("X3", in_order(itself("small", policy)), KNOWN).loc["small"]
    assert row["verdict"] != "supported"
    assert row["estimate"] == pytest.approx(0, abs=0.2)


def test_a_second_mover_that_does_not_look():
    def stubborn(see):
        return 0.5 if see["turn"] == "second" else leads(see)

    row = judged("X3", in_order(itself("small", stubborn)), KNOWN).loc["small"]
    assert row["estimate"] == pytest.approx(0.5, abs=0.1)
    assert row["verdict"] == "inconclusive"
    assert "does not look" in row["reason"] or "at once" in row["reason"]


def test_orders_and_games_that_are_missing_are_named():
    matches = in_order(itself("small", leads), orders=("simultaneous", "row_first"))
    row = judged("X3", matches, KNOWN).loc["small"]
    assert row["verdict"] == "not_applicable"
    assert "lacks column_first" in row["reason"]
    row = judged("X3", in_order(itself("small", leads), games=(STAG, PD)), KNOWN).loc["all models"]
    assert row["verdict"] == "not_applicable"
    assert "Battle of the Sexes" in row["reason"]


@pytest.mark.parametrize("seed", range(8))
def test_coins_support_nothing(seed):
    _supports_nothing(COIN, seed)


@pytest.mark.parametrize("policy", [likes_a_label(0.9), likes_a_place(1.0)])
def test_surface_forms_support_nothing(policy):
    _supports_nothing(policy, 0)


@pytest.mark.parametrize(
    "policy", [likes_a_label(1.0), only_in("prisoners_dilemma", likes_a_label(1.0), COIN), FAIR]
)
def test_hidden_likings_support_nothing(policy):
    """A label that only actions show, or that decides one game; a coin that is nearly fair."""
    _supports_nothing(policy, 0, repetitions=48, hidden=policy is not FAIR)


def _supports_nothing(policy, seed, hidden=False, **more):
    matches = play(
        *meeting("small", policy, "big", policy),
        *meeting("big", policy, "huge", policy),
        *(itself(name, policy) for name in ("small", "big", "huge")),
        *with_scripts("big", policy),
        *with_scripts("huge", policy),
        games=(PD, BOS),
        orders=ORDERS,
        rounds=10,
        seed=seed,
        **{"repetitions": 4} | more,
    )
    matches = recorded(matches, 0.6) if hidden else matches
    for claim in ("X1", "X2", "X3"):
        rows = judged(claim, matches, KNOWN, resamples=200)
        assert "supported" not in set(rows["verdict"]), rows["reason"].tolist()


def test_a_defector_and_a_coin():
    """A coin does not answer, however early the other defects."""
    for seed in range(8):
        matches = met(ALLD, COIN, repetitions=4, seed=seed)
        row = judged("X1", matches, KNOWN).loc["small--big"]
        assert row["verdict"] != "supported", row["reason"]
    noisy_row = judged("X1", met(ALLD, noisy(TFT, 0.05)), KNOWN).loc["small--big"]
    assert noisy_row["verdict"] == "supported"
