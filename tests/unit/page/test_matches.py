"""Which matches are in the page, and what it says that their agents saw."""

import json

import pandas as pd
import pytest

from nashlens.games.table import build_games
from nashlens.page import build_page
from nashlens.page.matches import browse
from nashlens.page.samples import lines, samples
from nashlens.page.transcripts import Wording, transcripts
from tests.unit.page.studies import CONFIG, play, study


def test_all_matches_are_in_where_they_fit():
    found = browse(study(("one", "two"), repetitions=6))
    assert (found.played, found.shown, found.why) == (12, 12, "")
    assert json.loads(json.dumps(found.data, allow_nan=False)) == found.data


def test_a_bounded_sample_takes_strata_in_turn_and_says_what_it_leaves_out():
    found = browse(study(("one", "two"), repetitions=6), most=5)
    assert found.why == "5 matches at most"
    assert [one.shown for one in found.strata] in ([3, 2], [2, 3])
    assert [one.played for one in found.strata] == [6, 6]
    assert {one.game for one in found.strata} == {"A game"}
    assert [one.agents for one in found.strata] == ["one with tft", "two with tft"]
    again = browse(study(("one", "two"), repetitions=6), most=5)
    assert again.data == found.data


def test_a_sample_ends_before_its_bytes_do():
    everything = browse(study(repetitions=40))
    size = len(json.dumps(everything.data, ensure_ascii=False).encode()) // 2
    found = browse(study(repetitions=40), size=size)
    assert 0 < found.shown < 40
    assert "MB of text at most" in found.why
    assert len(found.data["matches"]) == found.shown
    assert len(json.dumps(found.data["matches"], ensure_ascii=False).encode()) <= size


def test_steered_players_are_in_it():
    steered = study()
    own, texts = play(["small_2"], "", 3)
    steered.tables["steered_play"], steered.tables["steered_texts"] = own, texts
    found = browse(steered)
    assert found.played == 7
    assert found.tables == ["play", "steered_play", "texts", "steered_texts"]
    assert "pd.concat([study['texts'], study['steered_texts']])" in found.code


def test_how_to_read_them_names_the_tables_that_there_are():
    found = browse(study())
    assert found.tables == ["play", "texts"]
    assert found.code.splitlines()[2:4] == ["play = study['play']", "texts = study['texts']"]
    assert f"match_id == '{found.data['matches'][0]['id']}'" in found.code


def test_a_few_matches_stand_in_plain_html():
    found = browse(study(("one", "two"), repetitions=6)).data
    shown = samples(found)
    assert [one.title for one in shown[:2]] == ["A game: one with tft", "A game: two with tft"]
    assert len(shown) == 4
    first, rows = shown[0], found["matches"][0]["seats"][0]["n"]
    assert len(first.rounds) == 2
    move = first.rounds[0][0]
    assert (move.agent, move.p_first, move.payoff) == ("one", 0.25, 3.0)
    assert move.action == ("help", "harm")[rows[0]["a"]]
    assert move.wrote == [("reasoning", "I think ")]
    assert first.question == found["lines"][rows[0]["q"]]
    assert samples({"matches": []}) == []


def test_of_more_matches_there_is_what_was_done(monkeypatch):
    found = browse(study(("one", "two"), repetitions=6)).data
    assert len(lines(found)) == 12
    first, seats = lines(found)[0], found["matches"][0]["seats"]
    assert (first.game, first.agents, first.order) == ("A game", "one with tft", "simultaneous")
    acts = [", ".join(("help", "harm")[seat["n"][k]["a"]] for seat in seats) for k in (0, 1)]
    assert first.rounds == acts
    monkeypatch.setattr("nashlens.page.samples.MOST_LINES", 5)
    assert len(lines(found)) == 5


def test_samples_that_are_long_are_fewer(monkeypatch):
    monkeypatch.setattr("nashlens.page.samples.MOST_LETTERS", 10)
    assert len(samples(browse(study(repetitions=6)).data)) == 1


def test_no_play_is_no_match():
    empty = study()
    empty.tables["play"] = empty.tables["play"].iloc[:0]
    assert browse(empty).data["matches"] == []
    assert "matches-code" not in build_page(empty)


def seen(rows, texts=(), **wording):
    """Return what both seats of one match saw."""
    by_round = {}
    for row in rows.to_dict("records"):
        by_round.setdefault(row["round"], [{}, {}])[row["seat"] == "column"] = row
    rounds = [tuple(pair) for _, pair in sorted(by_round.items())]
    spec = {"pd": {"payoffs": [[[3, 3], [0, 5]], [[5, 0], [1, 1]]], "actions": ["a", "b"]}}
    words = Wording(CONFIG["prompts"]["label_sets"], **wording)
    return transcripts(rounds, list(texts), build_games(spec, 0)[0], words)


@pytest.fixture
def one():
    rows, _ = play(["small"], "", 1)
    return rows


def test_a_window_hides_early_rounds(one):
    third = one[one["round"] == 2].assign(round=3)
    row, _ = seen(pd.concat([one, third]))
    assert "Round 1:" in row.prompt(3, None)
    assert "Round 1:" not in row.prompt(3, 1)
    assert "Round 2:" in row.prompt(3, 1)


def test_who_moves_second_sees_the_first_move(one):
    row, column = seen(one.assign(move_order="row_first"))
    assert "has chosen option" in column.prompt(1, None)
    assert "has chosen option" not in row.prompt(1, None)


def test_messages_and_notes_are_where_the_agents_saw_them(one):
    common = {"attempt": 1, "round": 1}
    said = [
        {**common, "seat": "row", "kind": "message", "text": 'let us "help"\nmore'},
        {**common, "seat": "column", "kind": "message", "text": ""},
        {**common, "seat": "row", "kind": "notes", "text": "it helps"},
    ]
    row, column = seen(one, said)
    assert "Round 1: you said \"let us 'help'\"; the other player said nothing." in row.prompt(
        1, None
    )
    assert 'Your private notes: "it helps"' in row.prompt(1, None)
    assert "private notes" not in column.prompt(1, None)
    # Notes are of their round; the messages stay.
    assert "private notes" not in row.prompt(2, None)
    assert "you said nothing" in column.prompt(2, None)


def test_a_match_that_broke_off_is_shown_up_to_there(one):
    last = one["round"] == 2
    one.loc[last & (one["seat"] == "row"), "action"] = None
    one.loc[last & (one["seat"] == "column"), "opponent_action"] = None
    broken = one[~(last & (one["seat"] == "column"))]
    row, column = seen(broken)
    assert len(row.rounds) == len(column.rounds) == 2
    assert row.rounds[1].played is None
