"""The prompt's text; the names say which bug of a public peer a test keeps out."""

import itertools
import re
from dataclasses import replace

import pytest

from nashlens.errors import DataError
from nashlens.games import CATALOG, SEATS, Game
from nashlens.prompts import Surface, decision_messages, plain_text, render
from nashlens.prompts.render import LABEL_MAPS, OPTION_ORDERS, short_number
from nashlens.prompts.templates import TEMPLATES

# Eight different payoffs, so that a cell cannot be taken for another.
GAME = Game("g", [[[10, 20], [11, 21]], [[12, 22], [13, 23]]], title="Zebra")
SURFACES = [
    Surface(template, "jf", ("J", "F"), label_map, order)
    for template, label_map, order in itertools.product(TEMPLATES, LABEL_MAPS, OPTION_ORDERS)
]
every_view = pytest.mark.parametrize(
    ("seat", "surface"),
    list(itertools.product(SEATS, SURFACES)),
    ids=lambda v: getattr(v, "code", v),
)

CELL = re.compile(
    r"If you choose option (\w+) and the other player chooses option (\w+),"
    r" you get (\S+) and the other player gets (\S+)\."
)
PLAYED = re.compile(
    r"Round (\d+): you chose option (\w+) and got (\S+);"
    r" the other player chose option (\w+) and got (\S+)\."
)
OWN, OTHER = [0, 0, 1, 1, 0], [0, 1, 0, 1, 1]


def user_text(seat="row", surface=SURFACES[0], own=(), other=(), game=GAME, total=None):
    messages = decision_messages(game, seat, surface, own, other, system=None, rounds_total=total)
    assert [message["role"] for message in messages] == ["user"]
    return messages[0]["content"]


@every_view
def test_no_payoff_cell_is_left_out_and_each_is_the_seats_own(seat, surface):
    actions = {surface.label(action): action for action in (0, 1)}
    cells = CELL.findall(user_text(seat, surface, OWN, OTHER))
    assert len(cells) == 4
    seen = {}
    for own, other, own_payoff, other_payoff in cells:
        seen[actions[own], actions[other]] = float(own_payoff), float(other_payoff)
    assert seen == {(i, j): GAME.own(seat, i, j) for i in (0, 1) for j in (0, 1)}


@every_view
def test_history_lines_do_not_swap_you_and_the_other(seat, surface):
    lines = PLAYED.findall(user_text(seat, surface, OWN, OTHER))
    assert [int(line[0]) for line in lines] == [1, 2, 3, 4, 5]
    for own, other, line in zip(OWN, OTHER, lines, strict=True):
        assert line[1] == surface.label(own)
        assert line[3] == surface.label(other)
        assert (float(line[2]), float(line[4])) == GAME.own(seat, own, other)


@pytest.mark.parametrize("name", CATALOG)
def test_decisions_are_inverted_in_no_game(name):
    game = CATALOG[name]
    for seat, surface in itertools.product(SEATS, SURFACES):
        text = user_text(seat, surface, [0, 1], [0, 1], game=game)
        label = {surface.label(action): action for action in (0, 1)}
        for own, other, mine, yours in CELL.findall(text):
            assert (float(mine), float(yours)) == game.own(seat, label[own], label[other])
        for line, action in zip(PLAYED.findall(text), (0, 1), strict=True):
            assert (label[line[1]], label[line[3]]) == (action, action)


def test_both_seats_of_one_match_see_the_same_events():
    surface = SURFACES[0]
    row = PLAYED.findall(user_text("row", surface, OWN, OTHER))
    column = PLAYED.findall(user_text("column", surface, OTHER, OWN))
    assert [line[1:3] for line in row] == [line[3:5] for line in column]
    assert [line[3:5] for line in row] == [line[1:3] for line in column]


def test_no_round_is_lost_or_gained():
    for played in range(5):
        text = user_text(own=OWN[:played], other=OTHER[:played], total=5)
        assert text.splitlines()[-1].startswith(f"Round {played + 1}: do you choose")
        assert len(PLAYED.findall(text)) == played
    with pytest.raises(DataError, match="round 6 of 5"):
        user_text(own=OWN, other=OTHER, total=5)


@every_view
def test_options_and_payoff_rows_stand_in_the_option_order(seat, surface):
    text = user_text(seat, surface, OWN, OTHER)
    first, second = (surface.label(action) for action in surface.order)
    assert [cell[:2] for cell in CELL.findall(text)] == [
        *((first, first), (first, second)),
        *((second, first), (second, second)),
    ]
    assert f"both choose option {first} or option {second} at" in text
    assert text.endswith(f"Round 6: do you choose option {first} or option {second}?")


def test_label_map_and_option_order_are_independent():
    seen = {(s.label(0), s.label(s.order[0])) for s in SURFACES}
    assert seen == {("J", "J"), ("J", "F"), ("F", "J"), ("F", "F")}


@pytest.mark.parametrize("game", CATALOG.values(), ids=lambda game: game.name)
def test_only_the_named_template_gives_the_title(game):
    neutral = user_text(surface=SURFACES[0], game=game)
    named = user_text(surface=SURFACES[4], game=game)
    assert game.title in named
    words = {game.title, game.title.split()[0], game.name, *game.actions}
    assert not any(re.search(rf"\b{re.escape(word)}\b", neutral, re.I) for word in words)
    assert named.replace(f' called "{game.title}"', "") == neutral


def test_action_names_are_never_shown():
    for surface, game in itertools.product(SURFACES, CATALOG.values()):
        untitled = replace(game, title="Zebra")  # "Stag Hunt" itself names an action
        text = user_text(surface=surface, own=OWN, other=OTHER, game=untitled).lower()
        assert not any(re.search(rf"\b{action}\b", text) for action in game.actions)


@every_view
def test_a_round_only_adds_a_line_before_the_question(seat, surface):
    before = user_text(seat, surface, OWN[:3], OTHER[:3], total=9).splitlines()
    after = user_text(seat, surface, OWN[:4], OTHER[:4], total=9).splitlines()
    assert after[: len(before) - 1] == before[:-1]
    assert len(after) == len(before) + 1


@pytest.mark.parametrize(
    ("total", "expected"), [(None, "several rounds."), (1, "1 round."), (7, "7 rounds.")]
)
def test_horizon(total, expected):
    assert f"play a game for {expected}" in user_text(total=total)


def test_system_message_comes_first_and_null_gives_none():
    messages = decision_messages(
        GAME, "row", SURFACES[0], [], [], system="Be brief.", rounds_total=None
    )
    assert messages[0] == {"role": "system", "content": "Be brief."}
    assert messages[1]["role"] == "user"


def test_the_prefix_follows_the_generation_prompt_and_plain_text_is_the_fallback():
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    assert render(messages, plain_text, "I choose option") == "S\n\nU\n\nI choose option"


def test_short_numbers():
    numbers = [3, 0.5, -1, 0.1, 1e-5, 1e22, 12.25, -0.0]
    cells = [[[a, 0], [b, 0]] for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
    games = [Game("g", cells[:2]), Game("g", cells[2:])]
    shown = [short_number(game.payoffs[i][j][0]) for game in games for i in (0, 1) for j in (0, 1)]
    assert shown == ["3", "0.5", "-1", "0.1", "0.00001", "1" + "0" * 22, "12.25", "0"]


def test_a_title_with_braces_is_shown_as_it_is():
    game = Game("g", GAME.payoffs, title="{first} {x}")
    assert '"{first} {x}"' in user_text(surface=SURFACES[4], game=game)


@pytest.mark.parametrize(("own", "other"), [([0], []), ([2], [0]), ([0], [-1])])
def test_bad_histories_are_refused(own, other):
    with pytest.raises(DataError, match=r"round|action"):
        user_text(own=own, other=other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"template": "fancy"}, "template 'fancy'.*neutral"),
        ({"label_map": "mixed"}, "label_map 'mixed'"),
        ({"option_order": "up"}, "option_order 'up'"),
        ({"labels": ("A", "A")}, "two different labels"),
    ],
)
def test_bad_surfaces_are_refused(change, message):
    fields = {"template": "neutral", "label_set": "jf", "labels": ("J", "F")} | change
    with pytest.raises(DataError, match=message):
        Surface(**fields)
