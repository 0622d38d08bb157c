"""Rungs of the claims about what probes decode (M1, M3).

The published way puts prompts into folds at random, so that prompts of one history, and of one game
in other words, are trained on and tested. Such probes are fitted here, from stored activations;
those that respect histories are read from the table of the study's own probes.

Which action is Nash follows from the game. From the label map on, M3 is about which label the Nash
action has: the same game then has either.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.findings.claim import JudgeSettings, Missing, verdict_of
from nashlens.findings.claims.m1_history_early import DECODABLE
from nashlens.findings.claims.m3_nash_weak import WEAK_LIMIT
from nashlens.findings.rungs.reading import LadderData, RungReading
from nashlens.kept import at_position

FOLDS = 5
PENALTY = 0.003
"""Inverse strength of the penalty: the middle one of the default study."""
LAYERS = 6
"""Number of layers, spread evenly from the first to the last, at which M3's probes are fitted."""
MOST_PROMPTS = 400
"""Prompts, at most, that a probe of this ladder is fitted on."""


def _accuracy(
    data: LadderData, prompts: pd.DataFrame, target: str, layer: int, rng: np.random.Generator
) -> float | Missing:
    """Return the held-out accuracy of a probe whose folds are drawn prompt by prompt."""
    from nashlens.probes.design import HeldOut
    from nashlens.probes.fits import Features, LabelColumns, cross_fit

    labels = prompts[target].to_numpy(dtype=np.float64)
    fold: NDArray[np.int64] = rng.permutation(np.arange(len(prompts)) % FOLDS)
    if any(len(np.unique(labels[fold != k])) < 2 for k in range(FOLDS)):
        return Missing(f"{target} is the same at nearly every prompt of this rung")
    assert data.residuals is not None
    features = Features(np.asarray(data.residuals(layer, prompts), dtype=np.float64))
    columns = [LabelColumns(labels[:, None])]
    fitted = cross_fit(features, columns, HeldOut(fold), fold, [PENALTY], inner=1)[0]
    return float(((fitted.decisions[:, 0] > 0) == (labels == 1)).mean())


def _random_folds(
    data: LadderData,
    prompts: pd.DataFrame,
    settings: JudgeSettings,
    *,
    target: str,
    layers: int | None,
) -> tuple[float, int, pd.DataFrame] | Missing:
    """Return the largest accuracy over some layers, that layer, and the prompts that were used."""
    if data.residuals is None:
        return Missing("no activations are at hand to fit probes of this rung")
    if target not in prompts.columns:
        return Missing(f"the prompts have no {target}")
    known = prompts[prompts[target].notna()].reset_index(drop=True)
    rng = settings.rng(f"ladder {target}")
    if len(known) > MOST_PROMPTS:
        chosen = np.sort(rng.choice(len(known), MOST_PROMPTS, replace=False))
        known = known.iloc[chosen].reset_index(drop=True)
    if len(known) < 2 * FOLDS:
        return Missing(f"{len(known)} prompts of this rung have {target}: too few for a probe")
    last = int(data.tables["lens"]["layer"].max())
    places = [1] if layers is None else sorted({*np.linspace(1, last, layers).astype(int).tolist()})
    best, at = -1.0, places[0]
    for layer in places:
        found = _accuracy(data, known, target, layer, rng)
        if isinstance(found, Missing):
            return found
        if found > best:
            best, at = found, layer
    return best, at, known


def _reading(
    accuracy: float,
    half: float,
    layer: int,
    prompts: tuple[int, int],
    verdict: str,
    reason: str,
) -> RungReading:
    return RungReading(
        estimate=accuracy,
        low=max(accuracy - half, 0.0),
        high=min(accuracy + half, 1.0),
        unit="accuracy",
        n=prompts[0],
        n_matches=prompts[1],
        concludes=verdict,
        short=f"{accuracy:.2f} at layer {layer}",
        reason=reason,
    )


def random_folds(
    data: LadderData,
    prompts: pd.DataFrame,
    settings: JudgeSettings,
    *,
    target: str,
    weak: bool,
) -> RungReading | Missing:
    """Fit probes on folds of single prompts, with a binomial interval and without a baseline.

    Parameters
    ----------
    data : LadderData
    prompts : DataFrame
        Those that the rung takes.
    settings : JudgeSettings
    target : str
        What is decoded.
    weak : bool
        The claim is that it is hardly decodable at any layer (M3), and not that it is decodable at
        the first one (M1).
    """
    found = _random_folds(data, prompts, settings, target=target, layers=LAYERS if weak else None)
    if isinstance(found, Missing):
        return found
    accuracy, layer, used = found
    n = len(used)
    half = settings.z * float(np.sqrt(max(accuracy * (1.0 - accuracy), 0.25 / n) / n))
    where = "the largest accuracy is" if weak else "accuracy is"
    return _reading(
        accuracy,
        half,
        layer,
        (n, int(used["match_id"].nunique())),
        _verdict(accuracy - half, accuracy + half, weak),
        f"{where} {accuracy:.2f} at layer {layer}, with prompts put into folds at random",
    )


def _verdict(low: float, high: float, weak: bool) -> str:
    if weak:
        return verdict_of(high <= WEAK_LIMIT, low > WEAK_LIMIT)
    return verdict_of(low > DECODABLE, high < DECODABLE)


def grouped_folds(
    data: LadderData,
    prompts: pd.DataFrame,
    settings: JudgeSettings,
    *,
    target: str,
    split: str,
    weak: bool,
) -> RungReading | Missing:
    """Read the study's own probe of a split, next to what the prompt's bag of words reaches.

    Parameters
    ----------
    data, prompts, settings, target, weak
        As for `random_folds`.
    split : str
        What is held out together: `match` or `game`.
    """
    probes = data.tables.get("probes")
    if probes is None or probes.empty:
        return Missing("the study has no probes")
    probes = at_position(probes)
    rows = probes[(probes["target"] == target) & (probes["split"] == split)]
    rows = rows[(rows["status"] == "ok") & rows["balanced_accuracy"].notna()]
    rows = rows[rows["layer"] >= 1] if weak else rows[rows["layer"] == 1]
    if rows.empty:
        return Missing(f"the study has no probe of {target} with each {split} held out")
    row = rows.sort_values("balanced_accuracy", kind="stable").iloc[-1]
    accuracy, layer = float(row["balanced_accuracy"]), int(row["layer"])
    words = float(row["bag_of_words"])
    verdict = _verdict(float(row["ci_low"]), float(row["ci_high"]), weak)
    said = "contradicted" if weak else "supported"
    beaten = float(row["ci_low"]) > words
    if verdict == said and np.isfinite(words) and not beaten:
        verdict = "inconclusive"
    return RungReading(
        estimate=accuracy,
        low=float(row["ci_low"]),
        high=float(row["ci_high"]),
        unit="balanced accuracy",
        n=int(row["n"]),
        n_matches=int(row["n_matches"]),
        concludes=verdict,
        short=f"{accuracy:.2f} at layer {layer}, bag of words {words:.2f}",
        reason=f"with each {split} held out, balanced accuracy is {accuracy:.2f} at layer {layer};"
        f" the prompt's bag of words reaches {words:.2f}",
        control=f"bag of words {words:.2f}",
    )


history_random = partial(random_folds, target="opponent_last", weak=False)
history_grouped = partial(grouped_folds, target="opponent_last", split="match", weak=False)
nash_random = partial(random_folds, target="nash_action", weak=True)
label_random = partial(random_folds, target="nash_label", weak=True)
label_grouped = partial(grouped_folds, target="nash_label", split="match", weak=True)
