"""Chain of thought on the embedded model: what is scored is the model's own answer."""

from functools import partial

import numpy as np
import pytest

from nashlens.engine.core import Engine
from nashlens.engine.generation import generate
from nashlens.engine.labels import label_probabilities
from nashlens.engine.session import Session
from nashlens.games.catalog import CATALOG
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.play.player import Cot, Player, PlaySettings
from nashlens.play.run import decisions_table, play_rounds, texts_table
from nashlens.play.schedule import Agent, schedule
from nashlens.prompts.design import surfaces
from nashlens.prompts.templates import ANCHOR, SYSTEM
from tests import reference

pytestmark = pytest.mark.embedded


def test_reasoning_then_scored_labels_equal_a_full_forward(embedded_model):
    loaded, theirs = (
        load_model(embedded_model, dtype="float32", device="cpu", native=native)
        for native in (True, False)
    )
    tokenizer, engine, asked = ChatTokenizer(embedded_model), Engine(loaded), []

    class Kept(Session):
        def label_logprobs(self, prompts, kept=None):
            asked.extend(prompts)
            return super().label_logprobs(prompts, kept)

    agents = Agent("c", model="m", mode="cot"), Agent("t", strategy="TFT")
    forms = surfaces(["cover"], {"jf": ["J", "F"]}, ["identity"], ["forward"])
    matches = schedule(
        [CATALOG["stag_hunt"]], [agents], forms, repetitions=1, scripted_repetitions=1, seed=1
    )
    session = Kept(engine)
    write = partial(generate, engine, stop=tokenizer.stop_ids, session=session)
    player = Player(tokenizer, session, write)
    rounds = play_rounds(
        matches,
        lambda: {"m": player},
        PlaySettings(
            rounds=2,
            temperature=1.0,
            horizon_known=False,
            system=SYSTEM,
            assistant_prefix="I choose option",
            seed=1,
            window=None,
            talk_tokens=0,
            cot=Cot(tokens=8, answer="scored", retries=0, anchor=ANCHOR),
            scratchpad=None,
        ),
    )
    frame, texts = decisions_table(rounds), texts_table(rounds)
    mine = frame[frame["agent"] == "c"]
    p, mass = label_probabilities(reference.label_logprobs(theirs, asked))
    np.testing.assert_allclose(mine["p_action_0"], p[:, 0], atol=1e-4)
    np.testing.assert_allclose(mine["label_mass"], mass, atol=1e-4)
    assert (mass > 0.3).all(), "after the anchor the labels are what comes next"
    assert all(
        text in tokenizer.decode(q.ids) for text, q in zip(texts["text"], asked, strict=True)
    )
