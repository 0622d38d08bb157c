"""How models descend from one another, and how far the late layers of two of them differ.

The *late change* of a model is what its late layers do to a decision: the action part of the lens's
logit of prosocial over Nash at its peak late layer, less the mean of the layers before the late
ones (claim M6 has both). Two models are compared on the scenarios that both were asked, block by
block, so that what is hard about a scenario cancels. Each peak is chosen from the data; bounds hold
for all pairs of late layers at once, so that the choice costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import Array, p_floor
from nashlens.depth import is_late
from nashlens.factorial import ScenarioBlocks
from nashlens.findings.claim import (
    About,
    Claim,
    E,
    Evidence,
    Interval,
    JudgeSettings,
    Missing,
    Tables,
    fields_at,
)
from nashlens.findings.claims import m6_late_override as m6
from nashlens.findings.claims.m6_late_override import NO_FLOOR
from nashlens.findings.shared.lens import lens_problem
from nashlens.findings.shared.sizes import SizedModel, sized_models
from nashlens.lens.readings import Readings, conflicting

CONFLICT = "a prosocial action other than its Nash action"


@dataclass(frozen=True)
class Override:
    """What claim M6 says of one model."""

    late: float
    """Action part at its peak late layer, in logits."""
    low: float
    high: float
    early: float
    """Mean action part of the layers before the late ones."""
    layer: int
    """The peak."""
    verdict: str
    """M6's, before the correction over the family of claims."""
    p_value: float


@dataclass(frozen=True, kw_only=True)
class LateDifference(Evidence):
    """One model's late change less another one's."""

    change: float
    """Late change of the first, in logits."""
    other_change: float
    """Late change of the other."""
    same_prompts: float
    """Share of the prompts that both were asked in the same words."""


SubjectEvidence = Iterator[tuple[str, LateDifference | Missing]]
"""What a claim about models of one descent yields: each pair or family with its evidence, or with
why there is none."""


class Lineage:
    """Models with what they were trained from, and the lens of each.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        `lens` and `prompts` of all models, each with `model`, and `models`
        (`nashlens.models.table.read_models`).

    Attributes
    ----------
    models : list of SizedModel
        From small to large.
    pairs : list of (str, str)
        Each model that was trained from another one of them, and that one.
    """

    def __init__(self, tables: Tables):
        self.models: list[SizedModel] = sized_models(tables["models"])
        bases = dict(zip(tables["models"]["model"], tables["models"]["base"], strict=True))
        names = [model.name for model in self.models]
        self.pairs = [(name, bases[name]) for name in names if bases[name] in names]
        self._lens = {str(name): rows for name, rows in tables["lens"].groupby("model")}
        self._prompts = {
            str(name): conflicting(rows) for name, rows in tables["prompts"].groupby("model")
        }
        self._nothing = {name: tables[name][:0] for name in ("lens", "prompts")}

    def trained(self) -> list[SizedModel]:
        """List the models that no other one was trained from, from small to large."""
        bases = {base for _, base in self.pairs}
        return [model for model in self.models if model.name not in bases]

    def override(
        self, model: str, settings: JudgeSettings, blocks: Sequence[str] | None = None
    ) -> Override | Missing:
        """Judge M6 of one model.

        Parameters
        ----------
        model : str
        settings : JudgeSettings
        blocks : sequence of str, optional
            Only on these blocks; by default on all, which gives M6's own row.
        """
        prompts = self._asked(model)
        if blocks is not None:
            prompts = prompts[prompts["block_id"].isin(blocks)]
        tables = {"lens": self._read(model), "prompts": prompts}
        found = m6.estimate(tables, settings.about(model))
        if isinstance(found, Missing):
            return Missing(f"{model}: {found.reason}", found.verdict)
        return Override(
            found.estimate,
            found.low,
            found.high,
            found.early_action,
            found.peak_layer,
            m6.rule(found).verdict,
            found.p_value,
        )

    def shared_blocks(self, one: str, other: str) -> list[str]:
        """List the blocks that two models were asked whole."""
        return sorted(_whole(self._asked(one)) & _whole(self._asked(other)))

    def difference(
        self, one: str, other: str, settings: JudgeSettings, claim: str
    ) -> LateDifference | Missing:
        """Return the late change of one model less that of another, on what both were asked."""
        blocks = self.shared_blocks(one, other)
        if not blocks:
            return Missing(f"{one} and {other} were asked no scenario with {CONFLICT} in common")
        changes = [self._change(name, blocks, settings) for name in (one, other)]
        for change in changes:
            if isinstance(change, Missing):
                return change
        first, second = (change for change in changes if isinstance(change, _Change))
        return _difference(
            first, second, self._same_words(one, other, blocks), settings.rng(claim), settings
        )

    def _change(
        self, model: str, blocks: Sequence[str], settings: JudgeSettings
    ) -> _Change | Missing:
        prompts = self._asked(model)
        readings = Readings(self._read(model), prompts[prompts["block_id"].isin(blocks)])
        problem = lens_problem(readings, CONFLICT)
        if problem is not None:
            return Missing(f"{model}: {problem.reason}", problem.verdict)
        late = is_late(readings.layers, settings.late_fraction)
        if late.all():
            return Missing(f"{model}: no layer lies before the late ones: it is too shallow")
        return _Change.of(readings, late)

    def _same_words(self, one: str, other: str, blocks: Sequence[str]) -> float:
        """Return the share of the prompts of some blocks that two models were asked alike."""
        first, second = (
            prompts.loc[prompts["block_id"].isin(blocks), "text"]
            for prompts in (self._asked(one), self._asked(other))
        )
        return float(first.isin(set(second)).mean())

    def _asked(self, model: str) -> pd.DataFrame:
        return self._prompts.get(model, self._nothing["prompts"])

    def _read(self, model: str) -> pd.DataFrame:
        return self._lens.get(model, self._nothing["lens"])


@dataclass(frozen=True, kw_only=True)
class LineageClaim(Claim[E]):
    """A claim about the late changes of models of one descent."""

    unit: str = "logits"
    control: str = "the same difference of the word part"
    tables: tuple[str, ...] = ("lens", "prompts", "models")
    interval: Interval = "student"
    about: About = "lineage"
    reads: Callable[[Tables], Any] = Lineage


@dataclass(frozen=True)
class _Change:
    """The late change of one model in each block, (blocks, late layers)."""

    readings: Readings
    action: Array
    word: Array
    peak: int
    """Late layer with the largest action part, by its place among them."""

    @classmethod
    def of(cls, readings: Readings, late: NDArray[np.bool_]) -> _Change:
        parts = readings.parts("prosocial_action")
        action, word = (
            parts[name][:, late] - parts[name][:, ~late].mean(axis=1, keepdims=True)
            for name in ("action", "word")
        )
        # What lies before is the same for all late layers, so this is M6's peak.
        return cls(readings, action, word, int(readings.estimate(action).estimate.argmax()))


def _difference(
    one: _Change, other: _Change, same: float, rng: np.random.Generator, settings: JudgeSettings
) -> LateDifference:
    frame = one.readings.blocks.frame
    order = pd.Index(other.readings.blocks.frame["block_id"]).get_indexer(frame["block_id"])
    pairs = (one.action[:, :, None] - other.action[order][:, None, :]).reshape(len(frame), -1)
    at = one.peak * other.action.shape[1] + other.peak
    found = one.readings.estimate(pairs)
    low, high, critical = found.simultaneous(settings.confidence, settings.resamples, rng)
    word = one.word[:, [one.peak]] - other.word[order][:, [other.peak]]
    # Bonferroni: choosing the peaks is paid.
    p_value = pairs.shape[1] * found.p_above(0.0, NO_FLOOR)[at]
    fields = fields_at(found, at, low, high, critical)
    fields["n"] *= 2
    return LateDifference(
        **fields,
        control=float(one.readings.estimate(word).estimate[0]),
        p_value=float(min(max(p_value, p_floor(found.n_clusters, settings.resamples)), 1.0)),
        change=float(one.readings.estimate(one.action).estimate[one.peak]),
        other_change=float(other.readings.estimate(other.action).estimate[other.peak]),
        same_prompts=same,
    )


def _whole(prompts: pd.DataFrame) -> set[str]:
    """Return the blocks that are whole."""
    return set(ScenarioBlocks(prompts).frame["block_id"])
