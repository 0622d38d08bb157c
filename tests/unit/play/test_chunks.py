"""Parts, and rounds that are kept: a crash loses the round that it falls in and nothing else."""

import json

import pandas as pd
import pytest

from nashlens.games.catalog import CATALOG
from nashlens.play.chunks import chunk_key, play_job
from nashlens.play.journal import Journal
from nashlens.play.run import decisions_table, play_rounds, texts_table
from nashlens.play.schedule import Agent

from .fakes import COT, MODEL, PAD, PD, cot, matches_of, players, same, settings

TFT = Agent("t", strategy="TFT")
KEY = ["match_id", "round", "seat"]


def ordered(frame):
    return frame.sort_values(KEY, ignore_index=True)


def write(prompt, seed):
    return f"thought {seed % 997}\nFinal answer: {'J' if seed % 3 else 'K'}"


def batch():
    return matches_of((COT, PAD), (COT, TFT), (MODEL, COT), repetitions=2)


def test_parts_add_up_and_kept_batches_are_not_played_again(tmp_path):
    matches = matches_of(
        (MODEL, MODEL), (MODEL, TFT), games=[PD, CATALOG["chicken"]], repetitions=20
    )
    made = []

    def make():
        made.append(1)
        return players(same(0.5))

    def part(k, n, folder, fingerprint="f"):
        return play_job(
            matches, make, settings(), job=k, jobs=n, folder=folder, fingerprint=fingerprint
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
    damaged = next((tmp_path / "one").glob("*.jsonl"))
    damaged.write_bytes(b"half")
    pd.testing.assert_frame_equal(part(1, 1, tmp_path / "one"), whole)
    assert part(9, 9, tmp_path / "nine").empty


@pytest.mark.parametrize("rounds_before", [0, 1, 3])
@pytest.mark.parametrize("answer", ["scored", "parsed"])
def test_a_crash_mid_match_resumes_without_replaying_a_finished_round(
    tmp_path, rounds_before, answer
):
    options = settings(talk_tokens=30, cot=cot(answer=answer, retries=0), rounds=5)
    whole = play_rounds(batch(), lambda: players(same(0.5), write), options)

    def crash():
        player = players(same(0.5), write)
        score = player["m"].scorer.label_logprobs
        left = iter(range(rounds_before))

        def dies(prompts, kept=None):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return score(prompts, kept)

        player["m"].scorer.label_logprobs = dies
        return player

    path = tmp_path / "chunk.jsonl"
    journal = Journal(path, "k")
    with pytest.raises(KeyboardInterrupt):
        play_rounds(batch(), crash, options, save=journal.append)
    # The line that it was about to write when it died.
    path.parent.mkdir(exist_ok=True)
    with open(path, "ab") as file:
        file.write(b'{"key": "k", "round": 9, "rows": [')
    kept = Journal(path, "k")
    assert len(kept.rounds) == rounds_before
    player = players(same(0.5), write)
    done = tuple(kept.rounds)
    rest = play_rounds(batch(), lambda: player, options, done=done, save=kept.append)
    assert {text["round"] for played in rest[rounds_before:] for text in played.texts} == set(
        range(rounds_before + 1, len(whole) + 1)
    )
    for table in (decisions_table, texts_table):
        pd.testing.assert_frame_equal(table(rest), table(whole))
        pd.testing.assert_frame_equal(table(Journal(path, "k").rounds), table(whole))


def test_finished_matches_are_not_played_on_after_a_crash(tmp_path):
    short = Agent("b", model="m", rounds=1)
    matches = matches_of((MODEL, MODEL), (short, short))
    journal = Journal(tmp_path / "j", "k")
    rounds = play_rounds(matches, lambda: players(), settings(rounds=3), save=journal.append)
    player = players()
    again = play_rounds(matches, lambda: player, settings(rounds=3), done=rounds[:1])
    assert [len(texts) for texts, _ in player["m"].scorer.calls] == [2, 2]
    pd.testing.assert_frame_equal(decisions_table(again), decisions_table(rounds))
    play_rounds(matches, lambda: pytest.fail("no model is needed"), settings(rounds=3), done=rounds)


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


def test_a_journal_passes_over_what_is_not_its_next_round(tmp_path):
    path = tmp_path / "j"
    journal = Journal(path, "k")
    played = play_rounds(matches_of((TFT, TFT)), dict, settings(rounds=3), save=journal.append)
    lines = [line for line in path.read_bytes().split(b"\n") if line]
    other = json.dumps(json.loads(lines[2]) | {"key": "other"}).encode()
    path.write_bytes(b"\n".join([lines[0], lines[0], b"[1]", b"{", lines[1], other, lines[2]]))
    assert decisions_table(Journal(path, "k").rounds).equals(decisions_table(played))
    path.write_bytes(b"\n".join([lines[1], lines[2]]))
    assert Journal(path, "k").rounds == []
    # An action that was changed on disk is no round that was played.
    changed = json.loads(lines[1])
    changed["rows"][0]["action"] = 1 - changed["rows"][0]["action"]
    path.write_bytes(b"\n".join([lines[0], json.dumps(changed).encode(), lines[2]]))
    assert len(Journal(path, "k").rounds) == 1


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
