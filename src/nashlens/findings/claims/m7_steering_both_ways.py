"""M7: adding a Nash direction moves behaviour both ways, beyond random directions.

Directions are fitted on some games and added to the residual stream on others, in doses (alpha).
The estimate is the change of P from the smallest to the largest dose: of action 1 whichever word
stands for it, or for the `label` direction of words that it was not fitted on. It is taken for the
direction and the place where random directions, the control, can explain it least, with bounds that
hold for all directions and places at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from nashlens.findings.claim import (
    NOT_IN_DETAIL,
    Claim,
    JudgeSettings,
    Missing,
    Tables,
    joined,
    with_bounds,
)
from nashlens.findings.conditions import (
    Outcome,
    above,
    at_least,
    below,
    case,
    decided,
    told,
)
from nashlens.findings.shared.sweep import (
    CARRIES,
    LEAST_CHANGE,
    Best,
    SweepEvidence,
    WordChange,
    after_layers,
    choose_best,
    common_evidence,
    compare_with_random,
    complete_sweep,
    largest_word_change,
)
from nashlens.steering.readings import Target

MANY = 0.5
"""Share of random directions that move as much from which any push does."""
UP, DOWN, WHOLE = range(3)
"""What `Target.both_ways` reads."""


@dataclass(frozen=True, kw_only=True)
class SteeringBothWays(SweepEvidence):
    """The change of the target each way, what else moved, and that of random directions."""

    needs_p: ClassVar[bool] = False  # without random directions there is no p-value

    baseline: float
    """P(action 1) without an edit."""
    up: float
    """Change of the target from there to the largest alpha."""
    up_low: float
    """Its lower bound."""
    down: float
    """Change from the smallest alpha to there."""
    down_low: float
    """Its lower bound."""
    alpha_low: float
    """Smallest alpha."""
    alpha_high: float
    """Largest alpha."""
    action: float
    """Change of the action part, over all prompts."""
    word: float
    """Change of the word part, likewise."""
    place: float
    """Change of the place part, likewise."""
    seen_words: float
    """Change of the target on words that directions were fitted on; NaN where there are none."""
    unseen_words: float
    """The same on other words."""
    identity: float
    """Change towards the target under label map identity."""
    swapped: float
    """The same under the swapped one."""
    spread_label_set: float
    """Standard deviation of the target's change over label sets."""
    spread_template: float
    """The same over templates."""
    word_change: float
    """Largest change of a word part that is beyond doubt, of any direction at any place."""
    word_direction: str
    """Its kind of direction."""
    word_layers: str
    """Its place."""
    word_change_others: float
    """The same on words that no direction was fitted on."""
    words: WordChange = field(metadata=NOT_IN_DETAIL)
    """The last four."""


def estimate(tables: Tables, settings: JudgeSettings) -> SteeringBothWays | Missing:
    """Measure both halves of the dose-response of every direction at every place."""
    responses = complete_sweep(tables, "add", "steering.alphas")
    if isinstance(responses, Missing):
        return responses
    doses = responses.doses
    if doses[0] >= 0 or doses[-1] <= 0 or 0.0 not in doses:
        return Missing("steering.alphas needs a negative value, 0 and a positive value")
    best = choose_best(
        responses,
        Target.both_ways,
        "M7",
        settings,
        lambda bounds, high, least: high[bounds.at(WHOLE)] >= least,
    )
    if isinstance(best, Missing):
        return best
    found, random = best.bounds.found, compare_with_random(best)
    up, down = best.column(UP), best.column(DOWN)
    ways = [best.p_value(way, settings.resamples) for way in (UP, DOWN)]
    words = largest_word_change(responses, responses.kinds, settings.confidence)
    at_0 = float(doses[doses == 0.0][0])
    flat = responses.response(best.target.kind)
    return SteeringBothWays(
        **common_evidence(best, WHOLE),
        control=random.largest,
        # Both ways *and* beyond random.
        p_value=float(np.max([*ways, random.p_value])),
        baseline=float(flat.p[:, best.place, flat.doses == at_0].mean()),
        up=float(found.estimate[up]),
        up_low=float(best.bounds.low[up]),
        down=float(found.estimate[down]),
        down_low=float(best.bounds.low[down]),
        alpha_low=float(doses[0]),
        alpha_high=float(doses[-1]),
        **_what_moved(best),
        word_change=words.change,
        word_direction=words.kind,
        word_layers=words.layers,
        word_change_others=words.others,
        words=words,
        random=random,
    )


def _what_moved(best: Best) -> dict[str, Any]:
    """Return the changes of all parts, of the target by words and label map, and its spread."""
    target, responses = best.target, best.target.responses
    everything = np.ones(len(responses), dtype=bool)
    parts = {
        part: float(target.change_on(everything, part).estimate[best.place])
        for part in ("action", "word", "place")
    }
    # Towards the target; under the first map the first label means action 0.
    mapped = {
        name: float(responses.blocks.estimate(change).estimate[best.place])
        * (-1.0 if target.part == "word" and name == "identity" else 1.0)
        for name, change in responses.by_map(target.kind).items()
    }
    unseen = responses.unseen
    of_target = target.change_on(everything)
    return {
        **parts,
        "seen_words": float(target.change_on(~unseen).estimate[best.place]),
        "unseen_words": float(target.change_on(unseen).estimate[best.place]),
        **mapped,
        **{
            f"spread_{column}": float(of_target.over(column)[2][best.place])
            for column in ("label_set", "template")
        },
    }


def rule(e: SteeringBothWays) -> Outcome:
    """Ask for a change of the target that counts, both ways, and beyond every random direction."""
    beaten = e.random.condition
    reach = told(
        f"some direction's target can reach a change of {LEAST_CHANGE:g} of P, and what half of the"
        " random directions do, at some place",
        e.within_reach,
    )
    words = at_least(
        "largest change of a word part beyond doubt, in size", abs(e.words.change), LEAST_CHANGE
    )
    like_most = above("rank p of the direction among random ones", e.random.rank_p, MANY)
    return decided(
        case(
            "inconclusive",
            below("number of random directions", e.random.n, 1),
            because="there is no random direction to compare with",
        ),
        case(
            "supported",
            above("lower bound of the change up (P)", e.up_low, 0.0),
            above("lower bound of the change down (P)", e.down_low, 0.0),
            at_least("change both ways (P)", e.estimate, e.least),
            beaten,
        ),
        case("contradicted", words, without=[reach], because="only words move"),
        case("contradicted", without=[reach], because="no layer moves it"),
        case("contradicted", like_most, because="most random directions move it as much"),
        case("inconclusive", without=[beaten], because="a random direction moves it as much"),
        case("inconclusive", because="it does not clearly move both ways"),
    )


def reason(e: SteeringBothWays, outcome: Outcome) -> str:
    """Say the change each way, what else moved, and that of random directions if there are any."""
    text = (
        f"the {e.direction} direction {after_layers(e.layers)} moves the {e.part} by {e.up:+.2f} at"
        f" alpha {e.alpha_high:g} and by {-e.down:+.2f} at {e.alpha_low:g}, in all"
        f" {with_bounds(e)} of P (unseen words {e.unseen_words:+.2f}; label maps {e.identity:+.2f}"
        f" and {e.swapped:+.2f})"
    )
    if e.random.n:
        text += f"; random directions up to {e.control:.2f} (rank p {e.random.rank_p:.2f})"
    if e.words.kind:
        text += (
            f"; most of a word moves the {e.words.kind} direction {after_layers(e.words.layers)}:"
            f" {e.words.change:+.2f}, of words that it does not know {e.words.others:+.2f}"
        )
    return joined(text, outcome.because)


CLAIM = Claim(
    id="M7",
    statement="Adding the Nash direction moves behaviour both ways, beyond random directions.",
    measure="change of P from the smallest to the largest alpha, for the kind of direction and the"
    " place where it moves its target and random directions move it least: the action part, or for"
    " the `label` direction the word part on words that it was not fitted on",
    unit="of P",
    largest_effect=1.0,
    control="largest such change, in size, of any random direction: of the action at the same"
    " place, of words at any place",
    paper="at the first three layers cooperation rises from 0.1% to 98.6%; alpha -5: 99.2%"
    " defection; +10: 88.7% cooperation",
    tables=("steering",),
    interval="student",
    supported="both halves of the target's dose-response lie above 0 with their intervals, the"
    f" change is at least {LEAST_CHANGE:g} (and for the `label` direction at least {CARRIES:.0%} of"
    " that on words that it knows), and no random direction changes it as much",
    contradicted="no direction's target can reach that change, and what half of the random"
    " directions do, at any place (only words move, or nothing), or more than"
    f" {MANY:.0%} of the random directions change it as much",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
