"""Steered players: what an edit does to plain text as plain hooks have it, and planted models."""

import numpy as np
import pytest

from nashlens.engine.core import Engine
from nashlens.engine.edits import Edit
from nashlens.engine.session import Session
from nashlens.engine.steered import steered
from nashlens.findings import PLAY_CLAIMS, JudgeSettings, judge
from nashlens.findings.claim import ALL_MODELS
from nashlens.games.table import games_table
from nashlens.models.convert import convert_source
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.play.join import with_doses
from nashlens.play.metrics.steered import steered_matches
from nashlens.play.player import Player
from nashlens.play.run import decisions_table, play_rounds
from nashlens.play.schedule import Agent
from nashlens.play.steered import ModelDirections, PlayerIntervention
from nashlens.steering.directions import fit_directions
from nashlens.steering.players import SKIPPED, final_residuals, text_damage, text_windows
from nashlens.steering.training import Training
from nashlens.vocabulary.edits import STEERED_TOKENS
from tests.designs import make_prompts, residuals_at
from tests.unit.engine.test_steered import forward, places_of
from tests.unit.findings.play_tables import models
from tests.unit.play.fakes import FORMS, PD, matches_of, settings


@pytest.mark.parametrize("positions", STEERED_TOKENS)
def test_plain_text_is_read_as_plain_hooks_have_it(tiny_model, positions):
    loaded = load_model(tiny_model, dtype="float32", device="cpu", native=False)
    engine = Engine(loaded)
    edits = (Edit(1, "add", np.random.default_rng(0).normal(size=engine.width), 4.0),)
    windows = text_windows(ChatTokenizer(tiny_model))[:3]
    found = text_damage(
        steered(engine, edits, positions), windows, final_residuals(engine, windows)
    )
    for row, window in zip(found.itertuples(), windows, strict=True):
        ids = window[:-1]
        n = len(ids)
        places = places_of("last" if positions == "last" else "all", n, n, n)
        first = n - 1 if positions == "last" else SKIPPED
        before, after = (
            forward(loaded, ids, some, places)[first:].astype(float) for some in ((), edits)
        )
        kl = (np.exp(before) * (before - after)).sum(axis=1).mean()
        next_token = (np.arange(n - first), window[first + 1 :])
        assert (row.n_tokens, row.kl) == (n - first, pytest.approx(kl, abs=1e-5))
        assert row.nll == pytest.approx(-after[next_token].mean(), abs=1e-5)
        assert row.nll_unsteered == pytest.approx(-before[next_token].mean(), abs=1e-5)
    assert (found["kl"] > 1e-4).all()


def test_no_push_does_nothing_to_plain_text(tiny_model):
    engine = Engine(load_model(tiny_model, dtype="float32", device="cpu", native=False))
    nothing = steered(engine, (Edit(1, "add", np.ones(engine.width), 0.0),), "all")
    windows = text_windows(ChatTokenizer(tiny_model))[:2]
    found = text_damage(nothing, windows, final_residuals(engine, windows))
    assert found["kl"].abs().max() < 1e-9
    assert (found["nll"] == found["nll_unsteered"]).all()


class Planted:
    """A planted model, with the directions of its own residuals."""

    def __init__(self, name, folder):
        convert_source(f"planted:{name}", folder)
        self.tokenizer = ChatTokenizer(folder)
        self.engine = Engine(load_model(folder, device="cpu"))

    def player(self, edits=None):
        engine = self.engine if edits is None else steered(self.engine, edits, "last")
        return Player(self.tokenizer, Session(engine))

    def directions(self, kind):
        # As many games of either Nash action; in deadlock both agree on the other one.
        names = ["prisoners_dilemma", "harmony", *(["deadlock"] if kind == "cooperation" else [])]
        prompts = make_prompts(names, self.tokenizer, rounds=[2], histories=4, seed=1)
        rows = Training.choose(prompts, names).rows(prompts)
        x = residuals_at(self.engine, rows)
        found = fit_directions(
            lambda k: x[:, k], self.engine.n_layers, rows, list(dict.fromkeys(["abstract", kind]))
        )
        return ModelDirections(found.units, found.mean, found.table)


CLAMPED = {"kind": "clamp", "layers": (7,), "doses": (-1.0, 0.0, 1.0)}
"""To what residuals of one Nash action have, to the mean, and to what those of the other have: a
push could not move an answer further that is sure already."""


def play_doses(model, kind, done, *, partner=None, rounds=1, random=()):
    """Return the matches of a planted model with each dose: with itself, or with a partner."""
    name, directions = "planted", model.directions(kind)
    players, agents, about = {}, [], {}
    for direction, dose in [(kind, d) for d in done["doses"]] + [("random", d) for d in random]:
        how = PlayerIntervention(
            direction, done["layers"], done["kind"], dose, "last", player=direction
        )
        agent = Agent(f"{direction}_{dose:g}", name, intervention=how)
        agents.append(agent)
        players[agent.name] = model.player(directions.edits(agent.name, how, seed=1))
        about[agent.name] = {
            "player": direction, "direction": direction, "kind": done["kind"], "value": dose,
            "layers": done["layers"],
        }  # fmt: skip
    pairs = [(agent, agent) for agent in agents]
    if partner is not None:
        players["partner"] = partner.player()
        pairs = [(agent, Agent("partner", "partner")) for agent in agents]
    matches = matches_of(*pairs, forms=FORMS, repetitions=32)
    table = decisions_table(play_rounds(matches, lambda: players, settings(rounds=rounds)))
    return steered_matches(with_doses(table, about), [PD], temperature=1.0, parsed=False)


def judged(claim, matches):
    claims = [one for one in PLAY_CLAIMS if one.id == claim]
    known = models(steerable=("planted", 1))
    tables = {"steered_matches": matches, "games": games_table([PD]), "models": known}
    settings = JudgeSettings(ALL_MODELS, 0.95, 1000, 3)
    return judge(tables, settings, claims).iloc[0]


def test_a_planted_model_that_looks_the_action_up_is_moved_in_play(tmp_path):
    model = Planted("steerable", tmp_path)
    row = judged("S1", play_doses(model, "abstract", CLAMPED, random=(-1.0, 1.0)))
    assert row["verdict"] == "supported", row["reason"]
    assert "random directions (1)" in row["reason"]
    assert row["estimate"] > 0.5


def test_a_planted_model_that_never_looks_is_not(tmp_path):
    row = judged("S1", play_doses(Planted("inert", tmp_path), "abstract", CLAMPED))
    assert row["verdict"] == "contradicted", row["reason"]
    assert row["estimate"] == pytest.approx(0.0, abs=1e-6)


def test_a_partner_that_copies_is_unravelled_and_one_that_does_not_look_is_not(tmp_path):
    """The seat's planted override cooperates until it is pushed."""
    model = Planted("override", tmp_path / "seat")
    pushed = {"kind": "add", "layers": (9,), "doses": (0.0, 0.6)}
    verdicts = {}
    for name in ("copy_last", "inert"):
        partner = Planted(name, tmp_path / name)
        found = play_doses(model, "cooperation", pushed, partner=partner, rounds=2)
        row = judged("S3", found)
        verdicts[name] = row["verdict"], row["reason"]
        assert row["control"] == 0
    assert verdicts["copy_last"][0] == "supported", verdicts
    assert verdicts["inert"][0] == "contradicted", verdicts
