"""Adding a claim is adding one file to `nashlens.findings.claims`."""

import json

import pytest

from nashlens.findings import JudgeSettings, claims, judge
from nashlens.findings.claim import ALL_MODELS
from nashlens.games.table import games_table
from tests.unit.findings.play_tables import ALLC, ALLD, PD, itself, models, play

MADE_UP = """
from dataclasses import dataclass

from nashlens.findings.conditions import Outcome
from nashlens.findings.shared.play import PlayClaim, PlayEvidence, play_reason

LEAST_ROUNDS = 10


@dataclass(frozen=True, kw_only=True)
class RoundsEvidence(PlayEvidence):
    rounds: int


def estimate(play, settings):
    for model in play.with_mode("direct"):
        rows = play.self_play(model.name, "direct")
        mean = float(rows["n_rounds"].mean())
        yield model.name, RoundsEvidence(
            estimate=mean, low=mean, high=mean, n=int(rows["n_rounds"].sum()),
            n_matches=len(rows), control=0.0, p_value=0.01, rounds=int(mean),
            left_out="", surface="",
        )


def rule(evidence):
    return Outcome("supported" if evidence.low >= LEAST_ROUNDS else "contradicted", "counted")


def reason(evidence, outcome):
    return play_reason(evidence, outcome, f"{evidence.rounds} rounds")


CLAIM = PlayClaim(
    id="B12", statement="Matches are long.", measure="rounds", unit="rounds", control="none",
    paper="",
    supported=f"at least {LEAST_ROUNDS} rounds", contradicted=f"fewer than {LEAST_ROUNDS}",
    estimate=estimate, rule=rule, reason=reason,
)
"""


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    (tmp_path / "b12_long_matches.py").write_text(MADE_UP)
    monkeypatch.setattr(claims, "__path__", [*claims.__path__, str(tmp_path)])
    return claims.load("bxs")


def test_a_file_is_a_claim_that_is_found_in_its_place(made_up):
    names = [claim.id for claim in claims.PLAY_CLAIMS]
    assert [claim.id for claim in made_up] == [*names[:7], "B12", *names[7:]]
    assert "B12" not in names


@pytest.mark.parametrize(("rounds", "verdict"), [(12, "supported"), (8, "contradicted")])
def test_the_judge_judges_it(made_up, rounds, verdict):
    tables = {
        "matches": play(itself("a", ALLC), itself("b", ALLD), rounds=rounds, repetitions=4),
        "games": games_table([PD]),
        "models": models(a=("f", 8), b=("g", 70)),
    }
    table = judge(tables, JudgeSettings(ALL_MODELS, 0.95, 50, 3), made_up)
    rows = table[table["claim"] == "B12"]
    assert rows["model"].tolist() == ["a", "b"]
    assert set(rows["verdict"]) == {verdict}
    assert set(rows["reason"]) == {f"counted; {rounds} rounds"}
    assert json.loads(rows["detail"].iloc[0]) == {"left_out": "", "rounds": rounds, "surface": ""}
    assert rows["statement"].iloc[0] == "Matches are long."
    assert set(claims.PLAY_CLAIMS) < set(made_up)
