"""The probe study: every target in every split at every layer, with its controls.

A probe is L2 logistic regression with balanced class weights (ridge regression for a share) on
features scaled inside each training set, in which C is chosen as well. Prompts of one match are
never both trained on and tested. In the split by match, permutations and control tasks are fitted
again; in the others, which hold out whole games, label sets or templates, permutations exchange the
held-out labels and predictions stay as they are.

That something can be decoded does not mean that the model uses it. And a target that is constant
within each game (the Nash action of a fixed game) can be read off the game's identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from nashlens.activations.plan import draw_matches
from nashlens.activations.store import ActivationStore, LoadLayer
from nashlens.chunks import each
from nashlens.errors import DataError
from nashlens.probes.baselines import bag_of_words, baseline_columns
from nashlens.probes.design import ProbeSettings, add_choices, usable
from nashlens.probes.parts import PartScores
from nashlens.probes.questions import estimate_columns, fit_questions, prepare_questions
from nashlens.probes.table import (
    LayerRow,
    LayerRows,
    ProbeColumns,
    load_features,
    question_columns,
)
from nashlens.probes.transfer import fit_transfer
from nashlens.vocabulary.positions import DECISION


def _bounded(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


COLUMNS = ProbeColumns(
    keys=("model", "position", "target", "split", "layer", "measure", "status", "reason"),
    counts=("n", "n_missing", "n_matches", "n_parts", "n_class_0", "n_class_1"),
    numbers=(
        *("balanced_accuracy", "ci_low", "ci_high", *_bounded("auroc"), *_bounded("r2")),
        *("permutation_mean", "permutation_high", "p_value"),
        *("permutation_max_high", "p_value_max", "minimum_detectable"),
        *("control_task", *_bounded("selectivity"), "majority"),
        *(*_bounded("embedding"), *_bounded("bag_of_words"), *_bounded("random_weights")),
        *("n_random_weights", "C", "unconverged"),
    ),
)


class ProbeTables(NamedTuple):
    """The probes of one model."""

    probes: pd.DataFrame
    """One row per target, split and layer."""
    parts: pd.DataFrame
    """One row per target, factor, level and layer: the same probes on parts of the prompts."""


def fit_probes(
    load_layer: LoadLayer,
    layers: Sequence[int],
    prompts: pd.DataFrame,
    targets: Sequence[str],
    settings: ProbeSettings,
    *,
    untrained: tuple[LoadLayer, pd.DataFrame] | None = None,
    part_targets: Sequence[str] = (),
    threads: int = 1,
) -> ProbeTables:
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
    settings : ProbeSettings
    untrained : (callable, DataFrame), optional
        Activations of the same architecture with random weights, and their prompts.
    part_targets : sequence of str
        Those of the targets that are scored on parts of the prompts as well.
    threads : int
        Layers that are fitted side by side: on a CPU in processes of their own.

    Returns
    -------
    ProbeTables
        Columns as in docs/reference/results.md. A question that cannot be asked has status
        `degenerate`, its reason and no estimates.

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
    questions = prepare_questions(used, targets, settings)
    # Two baselines are the same at every layer: they are fitted and scored once.
    features = {
        "embedding": load_features(load_layer, 0, len(used)),
        "bag_of_words": bag_of_words(used["text"].tolist()),
    }
    baselines = {
        name: fit_questions(values, questions, settings, controls=False)
        for name, values in features.items()
    }
    fixed_columns = [
        baseline_columns(name, fitted, settings.confidence) for name, fitted in baselines.items()
    ]
    untrained_prompts = None
    if untrained is not None:
        load_untrained, untrained_prompts = untrained
        untrained_questions = prepare_questions(
            untrained_prompts, targets, settings, splits=("match",), controls=False
        )
    parts = PartScores(used, part_targets, questions, settings, untrained_prompts)

    def fit(layer: int) -> tuple[list[LayerRow], list[LayerRow]]:
        values = load_features(load_layer, layer, len(used))
        fitted = fit_questions(values, questions, settings, controls=True)
        columns, compared = list(fixed_columns), dict(baselines)
        if untrained_prompts is not None:
            values = load_features(load_untrained, layer, len(untrained_prompts))
            random = fit_questions(values, untrained_questions, settings, controls=False)
            compared["random_weights"] = random
            columns.append(baseline_columns("random_weights", random, settings.confidence))
        rows: list[LayerRow] = []
        for i, question in enumerate(questions):
            row, null = question_columns(question) | {"layer": layer}, None
            if i in fitted.fits:
                numbers, null = estimate_columns(question, fitted.fits[i], settings.confidence)
                row |= numbers
            for found in columns:
                row |= found.get((question.target.name, question.split), {})
            if untrained_prompts is not None and "random_weights" in row:
                row["n_random_weights"] = len(untrained_prompts)
            rows.append((i, row, null))
        return rows, parts.scored(layer, fitted, compared)

    gathered = LayerRows()
    for rows, of_parts in each(
        layers, fit, "probes", unit="layer", threads=threads, processes=settings.device == "cpu"
    ):
        gathered.add(rows)
        parts.add(of_parts)
    probes = COLUMNS.table(gathered.rows(settings.confidence), settings)
    return ProbeTables(probes, parts.table())


@threadpool_limits.wrap(limits=1)  # so that the number of threads changes no result
def study_probes(
    store: ActivationStore,
    prompts: pd.DataFrame,
    lens: pd.DataFrame,
    layers: Sequence[int],
    targets: Sequence[str],
    settings: ProbeSettings,
    *,
    part_targets: Sequence[str],
    positions: Sequence[str] = (DECISION,),
    untrained: ActivationStore | None = None,
    untrained_prompts: int = 0,
    threads: int = 1,
) -> dict[str, pd.DataFrame]:
    """Fit a model's probes, with their baselines, their parts and their transfer between games.

    Parameters
    ----------
    store : ActivationStore
        The model's activations.
    prompts, lens : DataFrame
        The prompts table and the model's lens table, from which `chosen_action` is read.
    layers : sequence of int
    targets : sequence of str
    settings : ProbeSettings
    part_targets : sequence of str
        Those of the targets that are scored on parts of the prompts as well.
    positions : sequence of str
        Where in the prompts probes read. Each takes the prompts that have it.
    untrained : ActivationStore, optional
        Activations of the same architecture with random weights.
    untrained_prompts : int
        The largest number of prompts for which it was run (`draw_matches`).
    threads : int
        Layers that are fitted side by side, each as one alone would be, on a CPU in processes of
        their own.

    Returns
    -------
    dict of str to DataFrame
        `probes`, `probes_parts` and `transfer`, see docs/reference/results.md.
    """
    torch.set_num_threads(1)
    prompts = usable(add_choices(prompts, lens))
    some = prompts[:0]
    if untrained is not None:
        some = draw_matches(prompts, untrained_prompts, settings.seed)
    tables: dict[str, list[pd.DataFrame]] = {"probes": [], "probes_parts": [], "transfer": []}
    for position in positions:
        there, here = store.at(position), replace(settings, position=position)
        rows = there.having(prompts)
        if rows.empty and position != DECISION:
            continue
        random_weights = None
        if untrained is not None:
            drawn = untrained.at(position).having(some)
            random_weights = untrained.at(position).reader(drawn), drawn
        load = there.reader(rows)
        probes, parts = fit_probes(
            load,
            layers,
            rows,
            targets,
            here,
            untrained=random_weights,
            part_targets=part_targets,
            threads=threads,
        )
        tables["probes"].append(probes)
        tables["probes_parts"].append(parts)
        tables["transfer"].append(fit_transfer(load, layers, rows, targets, here, threads))
    return {name: pd.concat(found, ignore_index=True) for name, found in tables.items()}
