"""Spikes that probes must read: written into a layer's residuals, whose probe is fitted again.

What is written is a known thing of rank one, added to the stored residuals of all prompts, so
nothing is run. Folds, C and control tasks are the study's. Histories are drawn again over the
held-out predictions, which are not fitted again for each draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nashlens.chunks import each
from nashlens.contrasts import percentile_interval
from nashlens.findings.claims import m1_history_early, m2_history_consumed, m3_nash_weak
from nashlens.kept import at_position
from nashlens.probes.questions import (
    ProbeQuestion,
    fit_questions,
    null_scores,
    prepare_questions,
)
from nashlens.probes.scores import permutation_columns, score_draws
from nashlens.seeds import stream
from nashlens.steering.conflicts import LoadLayer, deviation, inert_direction, signs_of
from nashlens.steering.spiked_lens import Spike, SpikeVerdict

if TYPE_CHECKING:
    from nashlens.findings.claim import JudgeSettings
    from nashlens.probes.design import ProbeSettings
    from nashlens.probes.fits import CrossFit

PERMUTATIONS = 20
"""Label permutations, at most, that a spiked probe is compared with."""
PROBED = {"history": "opponent_last", "nash_code": "nash_label"}
"""Spike -> the target that its sign follows."""
PROBE_CLAIMS: dict[str, Any] = {
    "M1": m1_history_early,
    "M2": m2_history_consumed,
    "M3": m3_nash_weak,
}
"""Claims about probes, and their modules."""
UNIT = "standard deviations"


@dataclass(frozen=True)
class SpikedProbes:
    """The study's probes, one row of which a spike replaces.

    Attributes
    ----------
    load : callable
        The model's own residuals.
    along : numpy.ndarray
        `(k, width)`, what the lens reads labels along: a Nash code lies across it.
    prompts : DataFrame
        Usable prompts.
    probes : DataFrame
        The study's.
    how : ProbeSettings
        As the study's.
    settings : JudgeSettings
    layers : sequence of int
        Where a Nash code is written; a history is written after layer 1.
    deviations : sequence of float
    draws : int
    """

    load: LoadLayer
    along: np.ndarray
    prompts: pd.DataFrame
    probes: pd.DataFrame
    how: ProbeSettings
    settings: JudgeSettings
    layers: Sequence[int]
    deviations: Sequence[float]
    draws: int

    def verdicts(
        self, spike: str, claims: Sequence[str]
    ) -> Iterator[tuple[Spike | None, SpikeVerdict]]:
        """Yield verdicts of some claims under one kind of spike; None is the model as it is."""
        rows = at_position(self.probes)
        rows = rows[rows["split"] == "match"].reset_index(drop=True)
        for claim in claims:
            yield None, self._verdict(claim, rows, 0)
        target = PROBED[spike]
        how = replace(self.how, permutations=min(self.how.permutations, PERMUTATIONS))
        (question,) = prepare_questions(self.prompts, [target], how, splits=("match",))
        sound = rows[(rows["target"] == target) & (rows["status"] == "ok")]
        if question.reason or sound.empty:
            return
        drawn = self._drawn_again(question)
        # M2 compares with the last layer, which is as it was but for the histories.
        last = int(sound["layer"].max())
        kept = self._numbers(question, self._fit(question, last), drawn)
        layers = (1,) if spike == "history" else self.layers
        where = [(k, s) for k in layers for s in self.deviations if k in sound["layer"].to_numpy()]

        def judge(one: tuple[int, float]) -> list[SpikeVerdict]:
            fitted = self._fit(question, one[0], spike, one[1])
            numbers = self._numbers(question, fitted, drawn, permutations=how.permutations)
            found = []
            for draw, (after, new) in enumerate(zip(kept, numbers, strict=True)):
                table = _replaced(_replaced(rows, target, last, after), target, one[0], new)
                found += [self._verdict(claim, table, draw) for claim in claims]
            return found

        for one, found in zip(where, each(where, judge, f"spikes: {spike}"), strict=True):
            for verdict in found:
                yield Spike(spike, *one, UNIT), SpikeVerdict(*verdict)

    def _fit(
        self, question: ProbeQuestion, layer: int, spike: str = "", strength: float = 0.0
    ) -> CrossFit:
        """Fit a layer's probe, with its controls where something is written into it."""
        values = np.asarray(self.load(layer, self.prompts["prompt_id"].tolist()), dtype=np.float64)
        if spike:
            rng = stream(self.how.seed, "spikes", spike, layer)
            # The history may lie anywhere; a Nash code must not be read by the unembedding.
            none = np.zeros((1, values.shape[1]))
            direction = inert_direction(self.along if spike == "nash_code" else none, rng)
            size = strength * deviation(values, direction)
            signs = signs_of(self.prompts[PROBED[spike]])
            values = values + np.outer(size * signs, direction)
        return fit_questions(values, [question], self.how, controls=bool(spike)).fits[0]

    def _drawn_again(self, question: ProbeQuestion) -> list[np.ndarray]:
        """Return for each draw how often each history is drawn, and in each resample of that."""
        matches = len(np.unique(question.matches))
        result = []
        for draw in range(self.draws):
            rng = stream(self.how.seed, "spikes", "draw", question.target.name, draw)
            once = rng.multinomial(matches, np.full(matches, 1.0 / matches))
            again = rng.multinomial(matches, once / matches, size=self.settings.resamples)
            result.append(np.vstack((once, again)).astype(np.float64))
        return result

    def _numbers(
        self,
        question: ProbeQuestion,
        fit: CrossFit,
        drawn: Sequence[np.ndarray],
        permutations: int = 0,
    ) -> list[dict[str, float]]:
        """Return what a row of the probes table says in each draw."""
        null, confidence = null_scores(question, fit), self.settings.confidence
        result = []
        for counts in drawn:
            scores = score_draws(
                question.columns[:, :1],
                fit.decisions[:, :1],
                fit.baseline[:, :1],
                question.target.regression,
                question.matches,
                counts,
            )
            low, high = percentile_interval(scores[1:], confidence)
            value = float(scores[0, 0])
            row = {"balanced_accuracy": value, "ci_low": float(low[0]), "ci_high": float(high[0])}
            if permutations:
                row |= {
                    "permutations": permutations,
                    **permutation_columns(value, null, confidence),
                }
            result.append(row)
        return result

    def _verdict(self, claim: str, rows: pd.DataFrame, draw: int) -> SpikeVerdict:
        tables = {"probes": rows, "prompts": self.prompts}
        module = PROBE_CLAIMS[claim]
        return SpikeVerdict.of(module.CLAIM, draw, module.estimate(tables, self.settings))


def _replaced(
    rows: pd.DataFrame, target: str, layer: int, numbers: dict[str, float]
) -> pd.DataFrame:
    """Return a table of probes with other numbers in one row."""
    table = rows.copy()
    here = (table["target"] == target) & (table["layer"] == layer)
    table.loc[here, list(numbers)] = list(numbers.values())
    return table
