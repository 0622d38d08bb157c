"""X3: who moves first determines which equilibrium a coordination game reaches.

In games with two equilibria that the seats rank differently, matches in which row moves first are
compared with matches in which column does. With S the share of rounds in row's preferred
equilibrium less the share in column's, the estimate is half of the difference of S between them, so
that what belongs to a seat, an action or a label cancels; it has Student's interval over matches.
The control is S when both move at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from nashlens.findings.claim import ALL_MODELS, JudgeSettings, Missing, with_bounds
from nashlens.findings.conditions import (
    Outcome,
    above,
    at_least,
    below,
    case,
    decided,
    supported_unless,
)
from nashlens.findings.shared.arms import comparable_arms, rows_of_games
from nashlens.findings.shared.field import PlayField
from nashlens.findings.shared.means import ArmMeans
from nashlens.findings.shared.play import (
    EvidenceBySubject,
    PlayClaim,
    PlayEvidence,
    play_reason,
    surface_case,
)
from nashlens.findings.shared.sizes import SizedModel

ORDERS = ("row_first", "column_first", "simultaneous")
LEAST_SELECTION = 0.1
"""Swing of the equilibrium with the move order that counts."""
COORDINATED = 0.5
"""Share of rounds in an equilibrium under uniformly random play, and with any seat that does not
look."""


@dataclass(frozen=True, kw_only=True)
class FirstMoverEvidence(PlayEvidence):
    """How the equilibrium changes with the move order; the control is S at once."""

    row_first: float
    """S when row moves first."""
    column_first: float
    """S when column moves first."""
    mover: float
    """Share of rounds in the first mover's preferred equilibrium."""
    either: float
    """Share of rounds in a seat's preferred equilibrium when both move at once, mean of seats."""
    beyond: float
    """`mover` less `either`."""
    beyond_low: float
    coordinated: float
    """Share of rounds in an equilibrium when one moves first."""
    coordinated_low: float
    cells: list[str]
    """Each game with who sits in the row seat."""


def estimate(play: PlayField, settings: JudgeSettings) -> EvidenceBySubject:
    """Yield, of each model with itself and each two that meet, the swing with the move order."""
    pairs = [(model, model) for model in play.models] + list(combinations(play.models, 2))
    found = False
    for one, two in pairs:
        rows = rows_of_games(_from_row_seat(play, one, two), play.contested)
        if not rows.empty:
            found = True
            subject = one.name if one == two else f"{one.name}--{two.name}"
            yield subject, _of_pair(play, settings.about(subject), rows, one, two)
    if not found:
        lacking = "no match in mode direct of a game with two pure equilibria of which each seat"
        yield (
            ALL_MODELS,
            Missing(f"{lacking} earns more in another one (Battle of the Sexes, Chicken)"),
        )


def _from_row_seat(play: PlayField, one: SizedModel, two: SizedModel) -> pd.DataFrame:
    """Return the matches of two models, or of one with itself, in all move orders."""
    if one == two:
        return play.self_play_in_all_orders(one.name)
    both = [
        play.cross_play_in_all_orders(own.name, other.name)
        for own, other in ((one, two), (two, one))
    ]
    rows = pd.concat(both)
    return rows[rows["seat"] == "row"]


def _of_pair(
    play: PlayField,
    settings: JudgeSettings,
    rows: pd.DataFrame,
    one: SizedModel,
    two: SizedModel,
) -> FirstMoverEvidence | Missing:
    rows = _with_shares(rows)
    by_order = {order: rows[rows["move_order"] == order] for order in ORDERS}
    lacking = [order for order, part in by_order.items() if part.empty]
    if lacking:
        return Missing(
            f"matches.move_orders or matches.sequential_games lacks {', '.join(lacking)} here"
        )
    arms = comparable_arms(by_order, "cell")
    if isinstance(arms, Missing):
        return arms
    columns = ["lead", "own", "other", "either", "coordinated"]
    means = ArmMeans(arms.rows, columns, settings, cell="cell", ranges={"lead": (-1.0, 1.0)})
    if means.missing is not None:
        return means.missing
    swing = means.contrast("lead", {"row_first": 0.5, "column_first": -0.5})
    # Each order's share of rounds in the equilibrium that the first mover prefers.
    mover = {"row_first": "own", "column_first": "other", "simultaneous": "either"}
    in_turn = {"row_first": 0.5, "column_first": 0.5}
    beyond = means.contrast(mover, in_turn | {"simultaneous": -1.0})
    coordinated = means.contrast("coordinated", in_turn)
    players = [(model, "direct") for model in dict.fromkeys((one, two))]
    return FirstMoverEvidence(
        **swing.fields(),
        control=means.of_arm("lead", "simultaneous").value,
        p_value=max(swing.p_above(0.0), beyond.p_above(0.0), coordinated.p_above(COORDINATED)),
        row_first=means.of_arm("lead", "row_first").value,
        column_first=means.of_arm("lead", "column_first").value,
        mover=means.contrast(mover, in_turn).value,
        either=means.of_arm("either", "simultaneous").value,
        beyond=beyond.value,
        beyond_low=beyond.bounds()[0],
        coordinated=coordinated.value,
        coordinated_low=coordinated.bounds()[0],
        cells=means.cells,
        left_out=arms.left_out,
        surface=play.first_surface_problem(players, arms.games, settings.confidence),
    )


def _with_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Add whose preferred equilibria a match was in, as shares of its rounds."""
    own, other = rows["n_own_preferred"], rows["n_other_preferred"]
    length = rows["n_rounds"].astype(float)
    return rows.assign(
        # Who sits in the row seat is balanced over orders, and each such model weighs the same.
        cell=rows["game"] + ", row " + rows["model"].astype(str),
        lead=(own - other) / length,
        own=own / length,
        other=other / length,
        either=(own + other) / length / 2,
        coordinated=rows["n_equilibrium"] / length,
    )


def rule(evidence: FirstMoverEvidence) -> Outcome:
    """Decide from the swing, and from whether the second mover follows the first."""
    high = "upper bound of the swing"
    return decided(
        surface_case(evidence),
        case(
            "contradicted",
            below(high, evidence.high, LEAST_SELECTION),
            below(high, evidence.high, 0.0),
            because="the second mover gets its own",
        ),
        case(
            "contradicted",
            below(high, evidence.high, LEAST_SELECTION),
            because="the order changes little",
        ),
        *supported_unless(
            [
                above("lower bound of the swing", evidence.low, 0.0),
                at_least("swing with the move order", evidence.estimate, LEAST_SELECTION),
            ],
            (
                above(
                    "lower bound of what the first mover gets more than a seat at once",
                    evidence.beyond_low,
                    0.0,
                ),
                "not clearly more than at once",
            ),
            (
                above(
                    "lower bound of the share of rounds in an equilibrium",
                    evidence.coordinated_low,
                    COORDINATED,
                ),
                "a second mover that does not look would do",
            ),
        ),
    )


def reason(evidence: FirstMoverEvidence, outcome: Outcome) -> str:
    """Return what decided and the numbers."""
    numbers = (
        f"the first mover gets its own equilibrium in {evidence.mover:.2f} of rounds, either seat"
        f" at once in {evidence.either:.2f}; row's less column's is {evidence.row_first:+.2f} when"
        f" row moves first, {evidence.column_first:+.2f} when column does, {evidence.control:+.2f}"
        f" at once, half the difference {with_bounds(evidence)}; {evidence.coordinated:.2f} of"
        " rounds are in an equilibrium"
    )
    return play_reason(evidence, outcome, numbers)


CLAIM = PlayClaim(
    id="X3",
    statement="Who moves first determines which equilibrium a coordination game reaches.",
    measure="share of rounds in the row seat's preferred equilibrium less that in the column"
    " seat's: half the difference between row moving first and column moving first",
    unit="in the share of rounds",
    largest_effect=1.0,
    control="that share less that share when both move at once",
    paper="the first mover selects the equilibrium",
    supported="the first mover's preferred equilibrium follows the move order by at least"
    f" {LEAST_SELECTION:g}, with the interval above 0, the first mover gets it more often than a"
    f" seat does at once, and more than {COORDINATED:g} of rounds are in an equilibrium",
    contradicted=f"the interval stays below {LEAST_SELECTION:g}",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
