"""Play through the real engine, with tiny models, where the other tests have fakes."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from nashlens.engine.core import Engine
from nashlens.engine.generation import generate
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.session import Session
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.play.chunks import play_job
from nashlens.play.join import join_decisions
from nashlens.play.player import Player, Scratchpad
from nashlens.play.quiz import ask_quiz, histories_of
from nashlens.play.run import decisions_table, play_rounds, texts_table
from nashlens.play.schedule import Agent
from tests import reference

from .fakes import ALL_FORMS, COT, MODEL, PAD, PD, cot, matches_of, settings

OPTIONS = {"rounds": 3, "talk_tokens": 3, "cot": cot(tokens=6), "scratchpad": Scratchpad(tokens=5)}


class Kept(Session):
    """A session that keeps what it was asked and what it said."""

    def __init__(self, engine):
        super().__init__(engine)
        self.seen = []

    def label_logprobs(self, prompts, kept=None):
        found = super().label_logprobs(prompts, kept)
        self.seen.append((list(prompts), found))
        return found


@pytest.fixture(scope="module")
def loaded(tiny_model):
    return load_model(tiny_model, dtype="float32", device="cpu", native=False)


@pytest.fixture
def player(tiny_model, loaded):
    def make(*, shares=True):
        engine, tokenizer = Engine(loaded), ChatTokenizer(tiny_model)
        session = Kept(engine)
        writes = partial(
            generate, engine, stop=tokenizer.stop_ids, session=session if shares else None
        )
        return Player(tokenizer, session, writes)

    return make


def batch():
    script = Agent("t", strategy="TFT")
    return matches_of(
        (MODEL, PAD), (COT, script), (COT, COT), forms=ALL_FORMS, repetitions=2,
        move_orders=["simultaneous", "column_first"],
    )  # fmt: skip


class Killed(BaseException):
    """As SIGKILL would: nothing is written any more."""


@pytest.mark.parametrize("asked", [1, 4, 6])
def test_a_job_that_was_killed_ends_when_run_again_in_the_same_bytes(player, tmp_path, asked):
    """Of a batch that is played on from its middle, others would be computed together."""

    def tables(folder, make):
        options = {"job": 1, "jobs": 1, "folder": tmp_path / folder, "fingerprint": "f"}
        return play_job(batch(), make, settings(**OPTIONS), **options)

    def dying():
        made, left = player(), [asked]
        score = made.scorer.label_logprobs

        def dies(prompts, kept=None):
            left[0] -= 1
            if not left[0]:
                raise Killed
            return score(prompts, kept)

        made.scorer.label_logprobs = dies
        return {"m": made}

    whole = tables("whole", lambda: {"m": player()})
    with pytest.raises(Killed):
        tables("killed", dying)
    for ours, theirs in zip(tables("killed", lambda: {"m": player()}), whole, strict=True):
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_neither_parts_nor_batch_tokens_change_a_bit_of_play(tiny_model, tmp_path, dtype):
    """A batch of matches is computed together, whoever plays it and however it is packed."""
    loaded, tokenizer = load_model(tiny_model, dtype=dtype, device="cpu"), ChatTokenizer(tiny_model)
    matches = [*batch(), *matches_of((PAD, PAD), (COT, MODEL), forms=ALL_FORMS, repetitions=16)]

    def make(tokens):
        engine = Engine(loaded, tokens)
        session = Session(engine)
        writes = partial(generate, engine, stop=tokenizer.stop_ids, session=session)
        return {"m": Player(tokenizer, session, writes)}

    def decisions(parts, tokens):
        folder, given = tmp_path / f"{parts}-{tokens}", settings(**OPTIONS)
        played = [
            play_job(
                matches, partial(make, tokens), given,
                job=k + 1, jobs=parts, folder=folder, fingerprint="f",
            )[0]
            for k in range(parts)
        ]  # fmt: skip
        return join_decisions(played)

    whole = decisions(1, 4096)
    assert whole["p_action_0"].nunique() > 50
    for parts, tokens in ((2, 4096), (1, 128)):
        pd.testing.assert_frame_equal(decisions(parts, tokens), whole, check_exact=True)


def test_every_modes_scores_are_those_of_a_full_forward(player, loaded):
    made = player()
    rounds = play_rounds(batch(), lambda: {"m": made}, settings(**OPTIONS))
    frame = decisions_table(rounds)
    assert set(frame["mode"].dropna()) == {"direct", "cot", "scratchpad"}
    asked = 0
    for prompts, ours in made.scorer.seen:
        theirs = reference.label_logprobs(loaded, prompts)
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
        asked += len(prompts)
    assert asked == frame["model"].notna().sum()


def test_what_a_session_knows_changes_no_text(player):
    # Of 96 texts drawn by seed 3, one falls within rounding of another token.
    options = settings(seed=4, **OPTIONS)
    shared, alone = (
        texts_table(play_rounds(batch(), lambda p=p: {"m": p}, options))
        for p in (player(), player(shares=False))
    )
    pd.testing.assert_frame_equal(shared, alone)


def test_texts_are_bounded_and_do_not_depend_on_batch_mates(player):
    whole = texts_table(play_rounds(batch(), lambda: {"m": player()}, settings(**OPTIONS)))
    alone = pd.concat(
        texts_table(play_rounds([match], lambda: {"m": player()}, settings(**OPTIONS)))
        for match in batch()
    )
    key = ["match_id", "round", "seat", "kind"]
    pd.testing.assert_frame_equal(
        whole.sort_values(key, ignore_index=True), alone.sort_values(key, ignore_index=True)
    )
    bounds = {"reasoning": 6, "notes": 5, "message": 3}
    assert set(whole["kind"]) == set(bounds)
    assert (whole["n_tokens"] <= whole["kind"].map(bounds)).all()
    assert (whole["n_tokens"] == whole["kind"].map(bounds))[~whole["stopped"]].all()
    assert whole["text"].nunique() > len(whole) / 2


def test_greedy_play_is_one_trajectory_whatever_the_seed(player):
    tables = [
        play_rounds(batch(), lambda: {"m": player()}, settings(temperature=0.0, seed=s, **OPTIONS))
        for s in (3, 4)
    ]
    one, other = (texts_table(table)["text"].tolist() for table in tables)
    assert one == other
    one, other = (decisions_table(table)["action"].tolist() for table in tables)
    assert one == other


def test_the_quiz_is_scored_by_whole_answers(tiny_model, loaded):
    tokenizer = ChatTokenizer(tiny_model)
    histories = histories_of([PD], lambda game: ALL_FORMS, histories=1, cycles=1, seed=1)
    frame = ask_quiz(histories, tokenizer, Engine(loaded), system="Hi.", model="m", seed=1)
    assert (frame["dropped"] == "").all()
    assert frame["answer_mass"].between(0, 1).all()
    row = frame[frame["kind"] == "move_other"].iloc[0]
    history = next(h for h in histories if h.name == row["history_id"])
    assert row["right"] in history.view.surface.labels
    # By hand: the question after the history, the answer's start, then label and full stop.
    body = "\n".join([*history.view.stem(), row["question"]])
    start = f"{history.view.template.other.capitalize()} chose option"
    messages = [{"role": "system", "content": "Hi."}, {"role": "user", "content": body}]
    ids = tokenizer.encode(tokenizer.chat(messages) + start)
    answers = [tokenizer.encode(f"{row[k]}.")[1:] for k in ("right", "wrong")]
    logp = reference.label_logprobs(loaded, [LabelledPrompt(ids, tuple(answers))])[0]
    assert row["p_right"] == pytest.approx(1 / (1 + np.exp(logp[1] - logp[0])), abs=1e-5)
    assert row["n_tokens"] == len(ids)
