"""B7: play is a best response to the stated belief.

After a history a model says which option the other takes next, and acts; the games are those where
the best action depends on that. The estimate is the share of its probability that is on the best
response to its own belief, over all forms of the questions so that a liking for a label or a place
adds nothing, with Student's interval over matches. The control exchanges its beliefs for those that
it states after other histories of the same game.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nashlens.contrasts import Array
from nashlens.factorial import BlockEstimate, ScenarioBlocks
from nashlens.findings.claim import JudgeSettings, Missing, Tables, fields_at, with_bounds
from nashlens.findings.conditions import Outcome, above, below, case, decided, supported_unless
from nashlens.findings.shared.play import (
    Bounded,
    EvidenceBySubject,
    PlayClaim,
    PlayEvidence,
    play_reason,
)
from nashlens.kept import kept, neutral
from nashlens.play.responses import expected_gain

BEYOND = 0.6
"""Share of best responses from which play follows a belief; chance is one half."""


@dataclass(frozen=True, kw_only=True)
class BeliefEvidence(PlayEvidence):
    """Share of best responses to own beliefs; the control is that to beliefs after others."""

    advantage: Bounded
    """Share with own beliefs less share with those of other histories."""
    loss: float
    """Expected payoff lost against the best response, in ranges of payoffs."""
    varied: float
    """Share of pairs of histories whose beliefs call for different actions."""
    mass: float
    """Median label mass of the answers about the other."""


def estimate(tables: Tables, settings: JudgeSettings) -> EvidenceBySubject:
    """Yield each model's share of best responses."""
    for model, rows in tables["beliefs"].groupby("model", sort=False):
        yield str(model), _of_model(rows, settings.about(str(model)))


def _of_model(rows: pd.DataFrame, settings: JudgeSettings) -> BeliefEvidence | Missing:
    asked = neutral(kept(rows))
    asked = asked[asked["best_response"].notna()].reset_index(drop=True)
    blocks = ScenarioBlocks(asked)
    if not len(blocks):
        return Missing("no history was asked in all label maps and option orders")
    acted = blocks.means(asked["p_action_1"])[:, 0]
    own, other, varied = shares(blocks.frame, acted)
    if np.isnan(other).all():
        return Missing("each game has one history: no other belief to compare with")
    found = blocks.estimate(np.column_stack([own, blocks.means(asked["loss"])[:, 0]]))
    # Games with one history have no control.
    paired = ~np.isnan(other)
    gained = blocks.estimate((own - other)[:, None], paired)
    p_values = [
        found.p_above(BEYOND, settings.resamples)[0],
        gained.p_above(0.0, settings.resamples)[0],
    ]
    left = rows["block_id"].nunique() - len(blocks)
    return BeliefEvidence(
        **fields_at(found, 0, *found.interval(settings.confidence)),
        control=float(blocks.estimate(other[:, None], paired).estimate[0]),
        p_value=float(np.max(p_values)),
        left_out=f"{left} blocks were not asked whole, or have no best response" if left else "",
        surface="",
        advantage=_bounded(gained, settings.confidence),
        loss=float(found.estimate[1]),
        varied=varied,
        mass=float(asked["belief_mass"].median()),
    )


def shares(frame: pd.DataFrame, acted: Array) -> tuple[Array, Array, float]:
    """Return how far blocks best-respond to their own belief, and to those of other histories.

    Parameters
    ----------
    frame : DataFrame
        One row a block: `game`, `match_id`, `belief`, `gain_0`, `gain_1`.
    acted : ndarray, shape (blocks,)
        Mean P(action 1).

    Returns
    -------
    own, other : ndarray, shape (blocks,)
        P(best response) to the own belief; mean of that to each other history's belief in the same
        game, which is the mean over all exchanges. NaN where a game has no other history.
    varied : float
        Share of such pairs of blocks whose beliefs call for different actions.
    """
    belief = frame["belief"].to_numpy(dtype=np.float64)
    games, matches = frame["game"].to_numpy(), frame["match_id"].to_numpy()
    best_is_1 = expected_gain(frame, belief) > 0
    own = np.where(best_is_1, acted, 1.0 - acted)
    other, changed = np.full(len(own), np.nan), []
    for i in range(len(own)):
        partners = (games == games[i]) & (matches != matches[i])
        if not partners.any():
            continue
        # The payoffs stay those of block i, and only what it expects is exchanged.
        mine = frame.iloc[np.full(int(partners.sum()), i)]
        instead = expected_gain(mine, belief[partners]) > 0
        other[i] = np.where(instead, acted[i], 1.0 - acted[i]).mean()
        changed += (instead != best_is_1[i]).tolist()
    return own, other, float(np.mean(changed)) if changed else float("nan")


def _bounded(found: BlockEstimate, confidence: float) -> Bounded:
    low, high = found.interval(confidence)
    return Bounded(float(found.estimate[0]), float(low[0]), float(high[0]))


def rule(evidence: BeliefEvidence) -> Outcome:
    """Decide from the bounds of the share and of what own beliefs add."""
    varied = above(
        "share of pairs of histories whose beliefs call for different actions", evidence.varied, 0.0
    )
    better = above("lower bound of what own beliefs add", evidence.advantage.low, 0.0)
    return decided(
        case(
            "contradicted",
            below("upper bound of P(best response)", evidence.high, BEYOND),
            because="what it does does not follow from what it expects",
        ),
        *supported_unless(
            [above("lower bound of P(best response)", evidence.low, BEYOND)],
            (varied, "its beliefs call for one action whatever the history"),
            (better, "beliefs after other histories fit as well"),
        ),
    )


def reason(evidence: BeliefEvidence, outcome: Outcome) -> str:
    """Return what decided and the numbers."""
    numbers = (
        f"P(best response to the own belief) {with_bounds(evidence)}; own beliefs add"
        f" {evidence.advantage} to those after other histories; {evidence.varied:.0%} of pairs of"
        f" histories call for different actions; {evidence.loss:.2f} of the range of payoffs lost"
    )
    return play_reason(evidence, outcome, numbers)


CLAIM = PlayClaim(
    id="B7",
    statement="Play is a best response to the stated belief.",
    measure="P(best response to the belief that the model states after the same history), in games"
    " without a dominant action",
    unit="in P(best response)",
    beyond=f"{BEYOND:g}",
    largest_effect=1.0 - BEYOND,
    control="the same with the beliefs stated after other histories of the game",
    paper="",
    tables=("beliefs",),
    reads=dict,
    supported=f"the lower bound is above {BEYOND:g}, and own beliefs do better than those after"
    " other histories, with the interval of the difference",
    contradicted=f"the upper bound is below {BEYOND:g}",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
