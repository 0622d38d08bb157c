"""The paper's claims about play as data: within a model, between models, between seats.

To add a claim, add it here, name its estimator in `estimators/play/__init__.py` and its rule in
`play_verdicts.py`. The three tables are those of `estimators.play.Field`.
"""

from __future__ import annotations

from nashlens.findings.legacy import Claim

_TABLES = ("matches", "games", "models")
_TV = (
    "Nash distance nash_tv (total variation of a match's joint action frequencies from the nearest"
    " stage equilibrium)"
)
_RANDOM = "the same contrast if {} played uniformly at random"

PLAY_CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="B1",
        statement="In direct mode, every Prisoner's Dilemma match of a model with itself locks on"
        " cooperation.",
        measure="share of such matches whose last constant run, of cooperation by both, holds at"
        " least half of the rounds; of all models, the least such share",
        control_measure="chance of it under uniformly random play",
        paper="100% cooperation, every model",
        tables=_TABLES,
        interval="student",
    ),
    Claim(
        id="B2",
        statement="Chain of thought takes small models away from Nash play and brings the largest"
        " to it.",
        measure=f"{_TV}: mode cot less mode direct, in self-play; of a family, that difference in"
        " its largest model less that in its smallest",
        control_measure=_RANDOM.format("cot (of a family: the arms that count up)"),
        paper="worse in small models, near-perfect above 70B",
        tables=_TABLES,
        interval="student",
    ),
    Claim(
        id="B3",
        statement="In direct mode, the larger model of a family plays nearer to Nash.",
        measure=f"{_TV}: a family's largest model less its smallest, direct self-play",
        control_measure=_RANDOM.format("the largest"),
        paper="",
        tables=_TABLES,
        interval="student",
    ),
    Claim(
        id="B4",
        statement="Models of two families and one size differ in their Nash distance.",
        measure=f"{_TV}: the first model less the second, direct self-play",
        control_measure=_RANDOM.format("the first"),
        paper="",
        tables=_TABLES,
        interval="student",
    ),
    Claim(
        id="B5",
        statement="A scratchpad and chain of thought differ in their Nash distance.",
        measure=f"{_TV}: mode scratchpad less mode cot, in self-play",
        control_measure=_RANDOM.format("scratchpad"),
        paper="",
        tables=_TABLES,
        interval="student",
    ),
    Claim(
        id="B6",
        statement="No game converges to Nash distance zero within the horizon.",
        measure=f"{_TV} in the last third of rounds, where no equilibrium is pure less the control:"
        " the least of any game, direct self-play",
        control_measure="nash_tv of exact equilibrium play over as many rounds, in that game",
        paper="",
        tables=_TABLES,
        interval="student",
    ),
    Claim(
        id="X1",
        statement="A small model's early defection unravels a larger partner's cooperation.",
        measure="the larger model's cooperation in rounds that can answer the small one's first"
        " defection less that in rounds that cannot, Prisoner's Dilemma",
        control_measure="a seat that does not respond",
        paper="the small model defects in 98% of every cross-play pairing, and large partners then"
        " defect",
        tables=_TABLES,
        interval="student",
    ),
    Claim(
        id="X2",
        statement="Two large models keep up each other's cooperation.",
        measure="share of decisions that cooperate when two large models meet, Prisoner's Dilemma",
        control_measure="the same when each of them plays itself",
        paper="indefinitely; 100% cooperation",
        tables=_TABLES,
        interval="student",
    ),
    Claim(
        id="X3",
        statement="Who moves first determines which equilibrium a coordination game reaches.",
        measure="share of rounds in the row seat's preferred equilibrium less that in the column"
        " seat's: half the difference between row moving first and column moving first",
        control_measure="that share less that share when both move at once",
        paper="the first mover selects the equilibrium",
        tables=_TABLES,
        interval="student",
    ),
)
