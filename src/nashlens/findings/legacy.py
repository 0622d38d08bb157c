"""The paper's claims as data: what is said, how it is measured, against which control.

To add a claim, add it here, name its estimator in `estimators/__init__.py` and its rule in
`verdicts.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Claim:
    """One statement about a model that can turn out false."""

    id: str
    """Short name; also names its estimator and its verdict rule."""
    statement: str
    measure: str
    """What the estimate is, in words."""
    control_measure: str
    """What the control is, in words; empty where there is none."""
    paper: str
    """The paper's own figure, as text; empty where it gives none."""
    tables: tuple[str, ...]
    """Keys of the tables that the estimator reads."""
    interval: Literal["percentile", "student"] = "percentile"
    """What its bounds are: quantiles of a bootstrap over matches, too narrow where these are few,
    or Student's t, which allows for that."""
    missing: str = ""
    """Why no estimator exists yet; such a claim is `not_applicable`."""


CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="M1",
        statement="The opponent's last action is decodable at the first layer.",
        measure="balanced accuracy of the opponent_last probe at layer 1",
        control_measure="upper quantile of the same with labels permuted",
        paper="96% at the first layer",
        tables=("probes",),
    ),
    Claim(
        id="M2",
        statement="Later layers consume the opponent's history.",
        measure="balanced accuracy of the opponent_last probe, layer 1 minus the last layer",
        control_measure="the same difference with labels permuted (mean)",
        paper="consumed progressively by later layers",
        tables=("probes",),
    ),
    Claim(
        id="M3",
        statement="The Nash action is only weakly encoded, at every layer.",
        measure="largest balanced accuracy of the nash_action probe over layers",
        control_measure="upper quantile of the same with labels permuted",
        paper="never above 56%",
        tables=("probes", "prompts"),
    ),
    Claim(
        id="M4",
        statement="No dedicated group of heads computes the Nash action.",
        measure="drop of the Nash action's logit when a chosen group of heads is ablated, beyond"
        " the mean of random groups",
        control_measure="largest of the random groups, beyond their mean",
        paper="ablating the most plausible heads changes nothing",
        tables=("heads",),
        interval="student",
    ),
    Claim(
        id="M5",
        statement="The logit lens favours the Nash action through most layers.",
        measure="share of layers where P(Nash action), averaged over label maps, exceeds 0.51",
        control_measure="share of layers where P(first label of the pair) exceeds 0.51",
        paper="23 of 32 layers (Llama-3-8B)",
        tables=("lens", "prompts"),
    ),
    Claim(
        id="M6",
        statement="A late override turns the Nash action into the prosocial one.",
        measure="action part of the lens's logit of prosocial over Nash at its peak late layer",
        control_measure="token part: logit of the pair's first label over its second, there",
        paper="84% probability of cooperation at layer 30 of 32 (Llama-3-8B)",
        tables=("lens", "prompts"),
    ),
    Claim(
        id="M7",
        statement="Adding the Nash direction moves behaviour both ways, beyond random directions.",
        measure="P(action 1) at the largest alpha minus at the smallest, at the steepest layer",
        control_measure="largest such change, in size, of any random direction at any layer",
        paper="alpha -5: 99.2% defection; +10: 88.7% cooperation",
        tables=("steering",),
    ),
    Claim(
        id="M8",
        statement="Behaviour is monotone in the clamped value of the Nash direction.",
        measure="mean rank correlation of P(action 1) with the clamped value, steepest layer",
        control_measure="median size of it for random directions (added, if none was clamped)",
        paper="significant positive correlation with the injected value",
        tables=("steering",),
    ),
)
