"""Parts, and batches that are kept: a crash loses those that it falls in and nothing else."""

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from nashlens.games.catalog import CATALOG
from nashlens.play.chunks import chunk_key, play_job, split_into_chunks
from nashlens.play.run import decisions_table, play_rounds, texts_table
from nashlens.play.schedule import Agent
from nashlens.vocabulary.play import CHUNK_MATCHES, CHUNK_ROUNDS

from .fakes import ALL_FORMS, COT, MODEL, PAD, PD, cot, matches_of, players, same, settings

TFT = Agent("t", strategy="TFT")
KEY = ["match_id", "round", "seat"]


def ordered(frame):
    return frame.sort_values(KEY, ignore_index=True)


def write(prompt, seed):
    return f"thought {seed % 997}\nFinal answer: {'J' if seed % 3 else 'K'}"


def batch():
    return matches_of((COT, PAD), (COT, TFT), (MODEL, COT), repetitions=2)


def of_games(*counts, agent=MODEL, forms=ALL_FORMS):
    """So many matches of an agent with itself in each of some games."""
    games = [replace(PD, name=f"g{k}") for k in range(len(counts))]
    return [
        match
        for game, count in zip(games, counts, strict=True)
        for match in matches_of((agent, agent), games=[game], forms=forms, repetitions=count)
    ]


def stem(match):
    return match.game.name, match.surface.template, match.surface.label_set, match.game.variant


@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=4),
    st.sampled_from([1, 4, 6, 15, 16, 50]),
    st.sampled_from([MODEL, COT]),
)
def test_chunks_hold_every_match_once_and_keep_what_begins_alike_together(counts, rounds, agent):
    matches, options = of_games(*counts, agent=agent), settings(rounds=rounds)
    chunks = list(split_into_chunks(matches, options))
    flat = [match for chunk in chunks for match in chunk]
    assert Counter(m.match_id for m in flat) == Counter(m.match_id for m in matches)
    stems = [stem(match) for match in flat]
    assert len(set(stems)) == sum(a != b for a, b in zip(stems, [None, *stems], strict=False))
    for chunk in chunks:
        few = len(chunk) <= CHUNK_MATCHES
        assert few or (agent is MODEL and len(chunk) * rounds <= CHUNK_ROUNDS)
    # A chunk ends where it has no room, or with a game.
    for one, other in pairwise(chunks):
        size = len(one) + 1
        full = size > CHUNK_MATCHES and (agent is COT or size * rounds > CHUNK_ROUNDS)
        assert full or one[-1].game.name != other[0].game.name


def test_messages_are_written_too():
    matches = of_games(64)
    sizes = [
        [len(chunk) for chunk in split_into_chunks(matches, settings(rounds=6, talk_tokens=tokens))]
        for tokens in (0, 20)
    ]
    assert sizes == [[64], [32, 32]]


def test_games_of_few_matches_share_a_chunk_and_large_ones_keep_to_themselves():
    options = settings(rounds=50)

    def in_games(*counts):
        chunks = split_into_chunks(of_games(*counts), options)
        return [Counter(match.game.name for match in chunk) for chunk in chunks]

    assert in_games(8, 12, 12) == [{"g0": 8, "g1": 12, "g2": 12}]
    first, other = in_games(32, 24, 40), in_games(32, 28, 40)
    assert first == [{"g0": 32}, {"g1": 24}, {"g2": 32}, {"g2": 8}]
    assert [chunk for chunk in other if "g1" not in chunk] == [first[0], *first[2:]]


def test_parts_add_up_and_kept_batches_are_not_played_again(tmp_path):
    matches = matches_of(
        (MODEL, MODEL), (MODEL, TFT), games=[PD, CATALOG["chicken"]], repetitions=20
    )
    made, options = [], settings(rounds=16)

    def make():
        made.append(1)
        return players(same(0.5))

    def part(k, n, folder, fingerprint="f"):
        return play_job(
            matches, make, options, job=k, jobs=n, folder=folder, fingerprint=fingerprint
        )[0]

    whole = part(1, 1, tmp_path / "one")
    assert len(made) == 3
    split = pd.concat([part(k, 3, tmp_path / "three") for k in (1, 2, 3)])
    pd.testing.assert_frame_equal(ordered(whole), ordered(split))
    made.clear()
    pd.testing.assert_frame_equal(part(1, 1, tmp_path / "one"), whole)
    assert not made
    part(1, 1, tmp_path / "one", fingerprint="other model")
    assert len(made) == 3
    damaged = next((tmp_path / "one").glob("*.json"))
    damaged.write_bytes(b"half")
    pd.testing.assert_frame_equal(part(1, 1, tmp_path / "one"), whole)
    assert part(9, 9, tmp_path / "nine").empty


def test_transcripts_replay_to_the_same_table():
    """What agents wrote, and the numbers that scored it, are all that a table rests on."""
    options = settings(talk_tokens=30, cot=cot(answer="parsed", retries=1), rounds=5)
    rounds = play_rounds(batch(), lambda: players(same(0.3), write), options)
    decisions, texts = decisions_table(rounds), texts_table(rounds)
    recorded = dict(zip(texts["seed"], texts["text"], strict=True))
    chances = decisions.drop_duplicates("prompt_id").set_index("prompt_id")["p_action_0"]
    assert chances.notna().any()
    replayed = play_rounds(
        batch(), lambda: players(same(0.3), lambda prompt, seed: recorded[f"{seed:016x}"]), options
    )
    pd.testing.assert_frame_equal(decisions_table(replayed), decisions)
    pd.testing.assert_frame_equal(texts_table(replayed), texts)


def test_a_kept_batch_that_was_changed_is_played_again_and_no_other(tmp_path):
    matches = matches_of(
        (MODEL, MODEL), (MODEL, TFT), games=[PD, CATALOG["chicken"]], repetitions=20
    )
    made = []

    def play():
        made.clear()
        players_of = lambda: made.append(1) or players(same(0.5))  # noqa: E731
        options = {"job": 1, "jobs": 1, "folder": tmp_path, "fingerprint": "f"}
        return play_job(matches, players_of, settings(rounds=16), **options)[0]

    whole, (path, other, _) = play(), sorted(tmp_path.glob("*.json"))
    content = path.read_text()
    rounds = json.loads(content)
    rounds["value"]["rounds"][1][0][0]["action"] ^= 1
    wrong = f"{json.dumps(rounds)}\n"
    for changed in (wrong, content[:-1], "", "[1]", other.read_text()):
        path.write_text(changed)
        pd.testing.assert_frame_equal(play(), whole)
        assert made == [1]
        assert path.read_text() == content
    play()
    assert not made


def test_a_batchs_key_follows_everything_it_depends_on():
    def of(*pairs, **more):
        return matches_of(*pairs, repetitions=2, **more)

    matches = of((MODEL, MODEL))
    keys = [
        chunk_key(matches, settings(), "f"),
        chunk_key(matches, settings(), "g"),
        chunk_key(matches, settings(rounds=5), "f"),
        chunk_key(matches, settings(window=2), "f"),
        chunk_key(matches, settings(cot=cot(tokens=3)), "f"),
        chunk_key(matches[:1], settings(), "f"),
        chunk_key(of((COT, COT)), settings(), "f"),
        chunk_key(of((MODEL, MODEL), move_orders=["row_first"]), settings(), "f"),
        chunk_key(of((MODEL, MODEL), games=[CATALOG["chicken"]]), settings(), "f"),
    ]
    assert len(set(keys)) == len(keys)
