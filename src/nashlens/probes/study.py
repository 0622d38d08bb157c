"""The probe study: every target in every split at every layer, with its controls.

A probe is L2 logistic regression with balanced class weights (ridge regression for a share) on
features scaled inside each training set, in which C is chosen as well. A match never stands on
both sides. In the split by match, permutations and control tasks are refitted; in the others,
where whole games, label sets or templates are held out, permutations exchange the held-out labels
under fixed predictions.

What can be decoded is not thereby used by the model. And a target that is constant within each
game (the Nash action of a fixed game) can be read off the game's identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import rank_p
from nashlens.errors import DataError
from nashlens.probes.baselines import bag_of_words, baseline
from nashlens.probes.design import Settings, usable
from nashlens.probes.questions import Question, ask, estimate, prepare

if TYPE_CHECKING:
    from nashlens.probes.parts import PartScores

LoadLayer = Callable[[int], NDArray[np.floating]]
Array = NDArray[np.float64]

_COUNTS = ("n", "n_missing", "n_matches", "n_parts", "n_class_0", "n_class_1")
_FLOATS = (
    "balanced_accuracy",
    "ci_low",
    "ci_high",
    "auroc",
    "auroc_low",
    "auroc_high",
    "r2",
    "r2_low",
    "r2_high",
    "permutation_mean",
    "permutation_high",
    "p_value",
    "permutation_max_high",
    "p_value_max",
    "minimum_detectable",
    "control_task",
    "selectivity",
    "selectivity_low",
    "selectivity_high",
    "majority",
    "embedding",
    "embedding_low",
    "embedding_high",
    "bag_of_words",
    "bag_of_words_low",
    "bag_of_words_high",
    "random_weights",
    "random_weights_low",
    "random_weights_high",
    "n_random_weights",
    "C",
    "unconverged",
)
COLUMNS = (
    "model",
    "target",
    "split",
    "layer",
    "measure",
    "status",
    "reason",
    *_COUNTS,
    *_FLOATS,
    "folds",
    "permutations",
    "confidence",
)


def load_features(load_layer: LoadLayer, layer: int, rows: int) -> Array:
    """Load a layer's activations in float64, (rows, width).

    Raises
    ------
    DataError
        If they do not fit the prompts, or are not finite.
    """
    features = np.asarray(load_layer(layer), dtype=np.float64)
    if features.ndim != 2 or len(features) != rows:
        raise DataError(
            f"activations of layer {layer}: found shape {features.shape}, need ({rows}, width),"
            " one row for each prompt that is not dropped; extract the activations again"
        )
    if not np.isfinite(features).all():
        raise DataError(
            f"activations of layer {layer} hold values that are not finite;"
            " extract them in float32 or bfloat16"
        )
    return features


def describe(question: Question) -> dict[str, object]:
    """Return what a row says of its question: sizes, and whether it can be asked."""
    target, labels = question.target, question.target.labels
    n = len(labels)
    row: dict[str, object] = {
        "target": target.name,
        "split": question.split,
        "measure": "r2" if target.regression else "balanced_accuracy",
        "status": "degenerate" if question.reason else "ok",
        "reason": question.reason,
        "n": n,
        "n_missing": target.n_missing,
        "n_matches": len(np.unique(question.matches)),
        "n_parts": len(np.unique(question.parts)),
    }
    if not target.regression:
        ones = int(labels.sum())
        row |= {"n_class_0": n - ones, "n_class_1": ones}
        row["majority"] = max(ones, n - ones) / n if n else np.nan
    return row


def correct(rows: list[dict[str, object]], nulls: list[Array], confidence: float) -> None:
    """Add to a question's rows, one a layer, what the largest null score over layers says."""
    if not nulls or not all(len(null) for null in nulls):
        return
    largest = np.max(nulls, axis=0)
    for row in rows:
        value = float(row[str(row["measure"])])  # type: ignore[arg-type]
        row["permutation_max_high"] = float(np.quantile(largest, confidence))
        row["p_value_max"] = rank_p(value, largest)


def fit_probes(
    load_layer: LoadLayer,
    layers: Sequence[int],
    prompts: pd.DataFrame,
    targets: Sequence[str],
    settings: Settings,
    *,
    untrained: tuple[LoadLayer, pd.DataFrame] | None = None,
    parts: PartScores | None = None,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> pd.DataFrame:
    """Fit every target's probe in every split at every layer.

    Parameters
    ----------
    load_layer : callable
        Layer to activations, (n, width): one row for each row of `prompts` whose `dropped` is
        empty, in that order.
    layers : sequence of int
        0 is the embedding.
    prompts : DataFrame
        The prompts table; equal prompts of different matches are kept.
    targets : sequence of str
        Columns of `prompts` with 0, 1 or missing (`opponent_cooperation`: a share or missing).
    settings : Settings
    untrained : (callable, DataFrame), optional
        Activations of the same architecture with random weights, and their prompts.
    parts : PartScores, optional
        Also gathers the same predictions' scores on parts of the prompts.
    progress : callable, optional
        Wraps the iteration over layers, as `tqdm.tqdm` does.

    Returns
    -------
    DataFrame
        One row per target, split and layer, columns as in docs/reference/results.md. A question
        that cannot be asked has status `degenerate`, its reason and no estimates.

    Raises
    ------
    DataError
        If a target is no fitting column, no prompt is left, or activations do not fit the prompts.
    """
    used = usable(prompts)
    if used.empty:
        raise DataError(
            f"probes of {settings.model}: every prompt was dropped; shorten the prompts"
        )
    questions = prepare(used, targets, settings)
    embedding = load_features(load_layer, 0, len(used))
    words = bag_of_words(used["text"].tolist())
    baselines = {
        name: (questions, ask(features, questions, settings, controls=False))
        for name, features in (("embedding", embedding), ("bag_of_words", words))
    }
    fixed = [baseline(name, *fits, settings) for name, fits in baselines.items()]
    if untrained is not None:
        load_random, some = untrained
        twins = prepare(some, targets, settings, splits=("match",), controls=False)
    records: list[list[dict[str, object]]] = [[] for _ in questions]
    nulls: list[list[Array]] = [[] for _ in questions]
    for layer in progress(list(layers)):
        values = load_features(load_layer, layer, len(used))
        fits = ask(values, questions, settings, controls=True)
        others = list(fixed)
        if untrained is not None:
            features = load_features(load_random, layer, len(some))
            random = twins, ask(features, twins, settings, controls=False)
            baselines["random_weights"] = random
            others.append(baseline("random_weights", *random, settings))
        if parts is not None:
            parts.add(layer, (questions, fits), baselines)
        for i, question in enumerate(questions):
            row = {**describe(question), "layer": layer}
            if i in fits:
                numbers, null = estimate(question, fits[i], settings.confidence)
                row |= numbers
                nulls[i].append(null)
            for found in others:
                row |= found.get((question.target.name, question.split), {})
            if "random_weights" in row:
                row["n_random_weights"] = len(some)
            records[i].append(row)
    for rows, of_layers in zip(records, nulls, strict=True):
        correct(rows, of_layers, settings.confidence)
    frame = pd.DataFrame.from_records([row for rows in records for row in rows])
    return finish(frame, settings, COLUMNS, _FLOATS, _COUNTS)


def finish(
    frame: pd.DataFrame,
    settings: Settings,
    columns: Sequence[str],
    floats: Sequence[str],
    counts: Sequence[str],
) -> pd.DataFrame:
    """Give a table of probes its settings, its order of columns and their types."""
    frame = frame.assign(
        model=settings.model,
        folds=settings.folds,
        permutations=settings.permutations,
        confidence=settings.confidence,
    ).reindex(columns=list(columns))
    frame[list(floats)] = frame[list(floats)].astype(np.float64)
    frame[list(counts)] = frame[list(counts)].astype("Int64")
    return frame
