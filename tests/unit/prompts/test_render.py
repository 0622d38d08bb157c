"""The prompt's text; the names say which bug of a public peer a test keeps out."""

import itertools
import re
from dataclasses import replace

import pytest

from nashlens.errors import DataError
from nashlens.games import CATALOG, SEATS, Game
from nashlens.prompts.render import (
    Surface,
    View,
    action_question,
    decision_messages,
    question_messages,
    render,
    short_number,
)
from nashlens.prompts.templates import TEMPLATES
from nashlens.vocabulary.prompts import LABEL_MAPS, MOVE_ORDERS, OPTION_ORDERS

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

# What the four templates have in common: two options, two payoffs, in this order.
CELL = re.compile(
    r"^(?:If you choose option )?(\w+)(?: \| |.* option )(\w+)(?: \| |, you \w+ )(-?[\d.]+)"
    r"(?: \| | and the other \w+ \w+ )(-?[\d.]+?)\.?$",
    re.MULTILINE,
)
PLAYED = re.compile(
    r"Round (\d+): you chose option (\w+) and (?:got|earned) (\S+);"
    r" the other \w+ chose option (\w+) and (?:got|earned) (\S+)\."
)
OWN, OTHER = [0, 0, 1, 1, 0], [0, 1, 0, 1, 1]


def user_text(seat="row", surface=SURFACES[0], own=(), other=(), game=GAME, total=None):
    messages = decision_messages(View(game, seat, surface, own, other, total), system=None)
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
    assert seen == {(i, j): GAME.seat_payoffs(seat, i, j) for i in (0, 1) for j in (0, 1)}


@every_view
def test_history_lines_do_not_swap_you_and_the_other(seat, surface):
    lines = PLAYED.findall(user_text(seat, surface, OWN, OTHER))
    assert [int(line[0]) for line in lines] == [1, 2, 3, 4, 5]
    for own, other, line in zip(OWN, OTHER, lines, strict=True):
        assert line[1] == surface.label(own)
        assert line[3] == surface.label(other)
        assert (float(line[2]), float(line[4])) == GAME.seat_payoffs(seat, own, other)


@pytest.mark.parametrize("name", CATALOG)
def test_decisions_are_inverted_in_no_game(name):
    game = CATALOG[name]
    for seat, surface in itertools.product(SEATS, SURFACES):
        text = user_text(seat, surface, [0, 1], [0, 1], game=game)
        label = {surface.label(action): action for action in (0, 1)}
        for own, other, mine, yours in CELL.findall(text):
            assert (float(mine), float(yours)) == game.seat_payoffs(seat, label[own], label[other])
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
    assert text.count(f"option {second} or option {first}") == 0
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
    for surface in SURFACES[::4]:
        assert f" for {expected}" in user_text(surface=surface, total=total).splitlines()[0]


def test_system_message_comes_first_and_null_gives_none():
    messages = decision_messages(View(GAME, "row", SURFACES[0], [], []), system="Be brief.")
    assert messages[0] == {"role": "system", "content": "Be brief."}
    assert messages[1]["role"] == "user"


def plain_text(messages):
    return "".join(message["content"] + "\n\n" for message in messages if message["content"])


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


def view(place="simultaneous", seat="row", surface=SURFACES[0], own=OWN, other=OTHER, **more):
    return View(GAME, seat, surface, own, other, move_order=place, **more)


def text_of(view, last="?"):
    return question_messages(view, last, system=None)[0]["content"]


@pytest.mark.parametrize("surface", SURFACES, ids=lambda s: s.code)
def test_the_second_mover_sees_the_first_ones_move_and_the_first_sees_nothing(surface):
    for order, seat in itertools.product(MOVE_ORDERS[1:], SEATS):
        first = order == f"{seat}_first"
        asked = view(order, seat, surface, seen=None if first else 1)
        text = text_of(asked)
        line = f"Round 6: {asked.template.other} has chosen option {surface.label(1)}."
        assert (line in text.splitlines()) == (not first)
        assert ("In each round you choose" in text) == first
        assert "at the same time" not in text
        if first:
            with pytest.raises(DataError, match="moves first and sees no move"):
                view(order, seat, surface, seen=1)
    assert "has chosen" not in text_of(view(surface=surface))


def test_a_history_window_shows_the_last_rounds_under_their_own_numbers():
    whole = PLAYED.findall(text_of(view()))
    for window in range(7):
        shown = PLAYED.findall(text_of(view(window=window)))
        assert shown == (whole[-window:] if window else [])
        assert len(CELL.findall(text_of(view(window=window)))) == 4
    assert view(window=2).round == 6


def test_messages_stand_before_the_round_they_were_sent_in():
    said = [("hi", "")] + [("", "")] * 4 + [("now", "later")]
    lines = text_of(view(talk=said)).splitlines()
    assert lines[6] == 'Round 1: you said "hi"; the other player said nothing.'
    assert lines[7].startswith("Round 1: you chose")
    assert lines[-2] == 'Round 6: you said "now"; the other player said "later".'
    assert [line[1] for line in PLAYED.findall("\n".join(lines))] == list("JJFFJ")


def test_notes_are_the_seats_own_words_and_stand_last():
    assert text_of(view(notes="do {J}")).splitlines()[-2:] == [
        'Your private notes: "do {J}"',
        "?",
    ]
    assert "notes" not in text_of(view())


def test_thinking_names_both_final_answers_in_the_option_order():
    for surface in SURFACES:
        first, second = (surface.label(action) for action in surface.order)
        text = action_question(view(surface=surface), "Final answer: option")
        assert f'"Final answer: option {first}" or "Final answer: option {second}"' in text
        assert text.startswith(action_question(view(surface=surface)))


def test_the_stem_starts_every_later_prompt():
    stem = view(own=OWN[:2], other=OTHER[:2], talk=[("a", "b")] * 2).stem()
    later = view(talk=[("a", "b")] * 5, notes="x", seen=None).stem()
    assert later[: len(stem)] == stem


def test_swapping_the_seats_of_a_transposed_game_changes_no_word():
    for surface, order in itertools.product(SURFACES, MOVE_ORDERS):
        other = {"row_first": "column_first", "column_first": "row_first"}.get(order, order)
        row = View(GAME, "row", surface, OWN, OTHER, move_order=order)
        column = View(GAME.transpose(), "column", surface, OWN, OTHER, move_order=other)
        assert text_of(row) == text_of(column)


def test_relabelling_changes_the_labels_alone():
    for surface in SURFACES:
        other = replace(surface, label_set="xy", labels=("X", "Y"))
        swapped = text_of(view(surface=other)).replace("option X", "option J")
        swapped = swapped.replace("option Y", "option F")
        swapped = re.sub(r"^X \|", "J |", re.sub(r"^Y \|", "F |", swapped, flags=re.M), flags=re.M)
        swapped = swapped.replace("| X |", "| J |").replace("| Y |", "| F |")
        assert swapped == text_of(view(surface=surface))


def test_an_affine_payoff_change_moves_the_numbers_alone():
    scaled = Game(
        "g", [[[2 * x + 1 for x in c] for c in line] for line in GAME.payoffs], title="Zebra"
    )
    for surface in SURFACES:
        texts = (text_of(View(game, "row", surface, OWN, OTHER)) for game in (GAME, scaled))
        before, after = (re.split(r"(\b[1-9]\d+\b)", text) for text in texts)
        assert before[::2] == after[::2]
        assert [2 * int(x) + 1 for x in before[1::2]] == [int(x) for x in after[1::2]]
