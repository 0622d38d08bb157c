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
from nashlens.interventions import WORDING
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
        """Yield verdicts of some claims under one kind of spike; None is the model as it is.

        Nothing is yielded where the target could not be probed, or no layer of the spike was.
        """
        rows = at_position(self.probes)
        rows = rows[rows["split"] == "match"].reset_index(drop=True)
        target = PROBED[spike]
        how = replace(self.how, permutations=min(self.how.permutations, PERMUTATIONS))
        (question,) = prepare_questions(self.prompts, [target], how, splits=("match",))
        sound = rows[(rows["target"] == target) & (rows["status"] == "ok")]
        layers = (1,) if spike == "history" else self.layers
        tried = [layer for layer in layers if layer in sound["layer"].to_numpy()]
        if question.reason or not tried:
            return
        drawn = self._drawn_again(question)

        def numbers(layer: int, strength: float) -> list[dict[str, float]]:
            # With nothing written, still as a spike is judged: verdicts differ by the spike only.
            kind, permutations = (spike, how.permutations) if layer in tried else ("", 0)
            fit = self._fit(question, layer, kind, strength)
            return self._numbers(question, fit, drawn, permutations)

        # M2 compares with the last layer, which is as it was but for the histories.
        redrawn = list(dict.fromkeys((*tried, int(sound["layer"].max()))))
        own = each(redrawn, lambda layer: numbers(layer, 0.0), f"without spikes: {spike}")
        tables = [rows] * self.draws
        for layer, found in zip(redrawn, own, strict=True):
            tables = _replaced(tables, target, layer, found)
        for verdict in self._verdicts(claims, tables):
            yield None, verdict

        def judge(one: tuple[int, float]) -> list[SpikeVerdict]:
            return self._verdicts(claims, _replaced(tables, target, one[0], numbers(*one)))

        where = [(layer, strength) for layer in tried for strength in self.deviations]
        for one, verdicts in zip(where, each(where, judge, f"spikes: {spike}"), strict=True):
            for verdict in verdicts:
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
        """Return for each draw how often each history is drawn, and in each resample of that.

        A draw has as many histories as each game and wording has, as those of all other spikes.
        """
        names, first = np.unique(question.matches, return_index=True)
        matches, rows = len(names), self.prompts.iloc[question.target.rows[first]]
        alike = rows.reset_index(drop=True).groupby(["game", *WORDING]).indices.values()
        result = []
        for draw in range(self.draws):
            rng = stream(self.how.seed, "spikes", "draw", question.target.name, draw)
            once = np.zeros(matches, dtype=np.int64)
            for here in alike:
                once[here] = rng.multinomial(len(here), np.full(len(here), 1.0 / len(here)))
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

    def _verdicts(
        self, claims: Sequence[str], tables: Sequence[pd.DataFrame]
    ) -> list[SpikeVerdict]:
        """Judge some claims on the table of each draw."""
        found = []
        for draw, rows in enumerate(tables):
            given = {"probes": rows, "prompts": self.prompts}
            for claim in claims:
                module = PROBE_CLAIMS[claim]
                evidence = module.estimate(given, self.settings)
                found.append(SpikeVerdict.of(module.CLAIM, draw, evidence))
        return found


def _replaced(
    tables: Sequence[pd.DataFrame], target: str, layer: int, numbers: Sequence[dict[str, float]]
) -> list[pd.DataFrame]:
    """Return each draw's table of probes with the draw's numbers in one row."""
    result = []
    for table, new in zip(tables, numbers, strict=True):
        changed = table.copy()
        here = (table["target"] == target) & (table["layer"] == layer)
        changed.loc[here, list(new)] = list(new.values())
        result.append(changed)
    return result
