"""Scripted strategies: known matches, move by move."""

import pytest

from nashlens.errors import DataError
from nashlens.seeds import stream
from nashlens.strategies import STRATEGIES, cooperation, sample_action


def play(first, second, rounds):
    """A match of two deterministic strategies as two strings of C (action 0) and D."""
    a, b = [], []
    for _ in range(rounds):
        moves = cooperation(first, a, b), cooperation(second, b, a)
        assert set(moves) <= {0.0, 1.0}
        a.append(int(1 - moves[0]))
        b.append(int(1 - moves[1]))
    return tuple("".join("CD"[action] for action in history) for history in (a, b))


def against(strategy, moves):
    """What a strategy plays against given moves, and after the last of them."""
    own, other = [], ["CD".index(move) for move in moves]
    for now in range(len(other) + 1):
        own.append(int(1 - cooperation(strategy, own, other[:now])))
    return "".join("CD"[action] for action in own)


@pytest.mark.parametrize(
    ("strategy", "moves", "expected"),
    [
        ("ALLC", "DDCD", "CCCCC"),
        ("ALLD", "CCDC", "DDDDD"),
        ("TFT", "CDDCD", "CCDDCD"),
        ("GRIM", "CCDCC", "CCCDDD"),
        ("GRIM", "CCCCC", "CCCCCC"),
        # Kept after C, changed after D, whatever was earned.
        ("WSLS", "CDCCDDC", "CCDDDCDD"),
        ("WSLS", "DDDD", "CDCDC"),
    ],
)
def test_replies(strategy, moves, expected):
    assert against(strategy, moves) == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("TFT", "ALLD", ("CDDDDD", "DDDDDD")),
        ("TFT", "TFT", ("CCCCCC", "CCCCCC")),
        ("WSLS", "ALLD", ("CDCDCD", "DDDDDD")),
        ("GRIM", "WSLS", ("CCCCCC", "CCCCCC")),
        ("GRIM", "ALLD", ("CDDDDD", "DDDDDD")),
        ("WSLS", "ALLC", ("CCCCCC", "CCCCCC")),
    ],
)
def test_known_matches(first, second, expected):
    assert play(first, second, 6) == expected


def test_wsls_recovers_mutual_cooperation_after_one_slip():
    # Both play WSLS and the second has just slipped: D D once, then C for good.
    a, b = [0], [1]
    for _ in range(4):
        moves = cooperation("WSLS", a, b), cooperation("WSLS", b, a)
        a.append(int(1 - moves[0]))
        b.append(int(1 - moves[1]))
    assert (a, b) == ([0, 1, 0, 0, 0], [1, 1, 0, 0, 0])


def test_random_has_its_probability_in_every_round():
    assert cooperation("RANDOM", [], []) == 0.5
    assert cooperation("RANDOM", [1, 1], [0, 1], p=0.25) == 0.25
    assert cooperation("TFT", [0], [1], p=0.25) == 0.0


def test_tft_with_errors_does_the_opposite_now_and_then():
    assert cooperation("TFT_ERRORS", [], []) == 0.9
    assert cooperation("TFT_ERRORS", [0], [1]) == 0.1
    assert cooperation("TFT_ERRORS", [0, 1], [1, 0], p=0.25) == 0.75
    for other in ([], [0], [1], [1, 0]):
        own = [0] * len(other)
        assert cooperation("TFT_ERRORS", own, other, p=0.0) == cooperation("TFT", own, other)


def test_histories_are_not_changed():
    own, other = (0, 1), (1, 0)
    for name in STRATEGIES:
        cooperation(name, own, other)


def test_errors_name_what_was_found():
    with pytest.raises(DataError, match=r"'TITFORTAT'.*ALLC"):
        cooperation("TITFORTAT", [], [])
    with pytest.raises(DataError, match="1 and 0"):
        cooperation("TFT", [0], [])


def test_sampling_follows_the_probability_of_action_0():
    rng = stream(1, "sample")
    assert [sample_action(1.0, rng) for _ in range(5)] == [0] * 5
    assert [sample_action(0.0, rng) for _ in range(5)] == [1] * 5
    share = sum(sample_action(0.8, rng) == 0 for _ in range(4000)) / 4000
    assert 0.77 < share < 0.83
