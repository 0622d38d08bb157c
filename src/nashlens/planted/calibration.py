"""What is planted compared with what is found: the study of models whose truth is known.

Each planted fact is looked for in the study's own tables by one rule, the same for every model:

- **history**, **nash**, **nash_label**, **nash_place** (probes): a layer holds a target where the
  probe's balanced accuracy is what M1 calls decodable, its interval is above 0.5, and no
  permutation did as well at any layer;
- **favoured**, **override** (lens): `nash_from` and `flip_layer` of the lens summary, whose bounds
  hold for all layers at once;
- **steerable** (steering): from the smallest to the largest value that is added along the abstract
  direction, the action part of P rises by what claims about steering call a change, with a lower
  bound above 0 for all layers at once, and by more than any random direction changes it there;
- **label** (steering): the same for the word part along the label direction, on words that it was
  fitted on; it *carries over* where words that it was not fitted on move before the last layer, and
  moves *jointly* where these do at the planted layers together and at none of them by itself;
- **follows**: the lens summary's decision between action and word;
- **answering_heads**: claim M4 (no heads or MLPs compute the Nash action) is contradicted;
- **computed_at**: where claim M11 is supported, the layer of its place, if its tokens are the
  planted ones;
- **components**: where claim M9 is supported, the late components that it ablates, compared one by
  one with those that are planted: found if all of these are named;
- **answering_group**: where claim M4's group of heads at the decision costs the Nash action more
  than random groups do, these heads, compared one by one with those that bring and write the Nash
  answer: found if all that are named are planted ones, or all planted ones are named;
- **claims** (`CLAIMS`): supported in the findings table. Those that a study leaves out have no row.
  Where the truth is not only that a claim does not hold, but that a study must see so, the claim's
  row is followed by one that asks for the verdict *contradicted*;
- **spike** (of each claim): the largest effect of its kind that is put into the model is found in
  four draws of five, at some layer; **wrong_spike**: one of the wrong kind is taken for it in more
  draws than an interval's error allows. Draws in which the claim holds without a spike do not
  count, and where these are four of five or more, the claim has neither row.

A planted fact that is found is a *hit*, and its layer error is the distance between the two
layers; a fact found where there is none by construction is a *false positive*.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.findings import PLAY_CLAIMS, JudgeSettings, combine, judge
from nashlens.findings.claim import ALL_MODELS
from nashlens.findings.claims.m1_history_early import DECODABLE
from nashlens.findings.claims.m1_history_early import TARGET as HISTORY
from nashlens.findings.claims.m3_nash_weak import GAME_TARGET as NASH
from nashlens.findings.judge import LEFT_OUT
from nashlens.findings.shared.sweep import LEAST_CHANGE
from nashlens.kept import at_position
from nashlens.planted.facts import Facts
from nashlens.planted.outcomes import component_row, group_row, layer_row, truth_row
from nashlens.seeds import stream
from nashlens.steering.readings import Responses, Target
from nashlens.steering.spike_summary import worth

LAYER_FACTS = {
    "history_from": "probes",
    "history_until": "probes",
    "nash_from": "probes",
    "nash_until": "probes",
    "nash_label_from": "probes",
    "nash_label_until": "probes",
    "nash_place_from": "probes",
    "favoured_from": "lens",
    "override_at": "lens",
    "steerable_from": "steering",
    "steerable_until": "steering",
}
"""Facts that are layers -> what they are looked for in."""
CLAIMS = ("M1", "M5", "M6", "M7", "M9", "M10", "M11", "B7", "S1")
COLUMNS = (
    *("model", "null", "fact", "planted", "found", "layer_error", "precision", "recall"),
    *("outcome", "basis"),
)

Span = tuple[float, float]
_NOWHERE: Span = (np.nan, np.nan)


def check(
    facts: Facts,
    tables: Mapping[str, pd.DataFrame],
    *,
    model: str,
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Compare one model's facts with what the study found.

    Parameters
    ----------
    facts : Facts
        What is planted.
    tables : mapping of str to DataFrame
        `probes`, `lens_summary`, `steering` and `findings` (after the correction over the
        family), `override` and `spikes_summary` where there are such; rows of other models, and
        tables that are not about models, are left out.
    model : str
    confidence : float
        Coverage of the steering's bounds.
    resamples : int
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        One row per fact, columns `COLUMNS`: layers, or 1 and 0 for what holds or does not;
        missing if a fact is nowhere. Of components, how many there are, and the `precision` and
        `recall` of those that are named. `outcome` is hit, miss, false_positive, true_negative or
        unknown (nothing is planted that would decide it).
    """
    mine = {
        name: table[table["model"] == model] for name, table in tables.items() if "model" in table
    }
    lens = {row["quantity"]: row for row in mine["lens_summary"].to_dict("records")}
    found: dict[str, float] = {}
    found["history_from"], found["history_until"] = _readable(mine["probes"], HISTORY)
    found["nash_from"], found["nash_until"] = _readable(mine["probes"], NASH)
    found["nash_label_from"], found["nash_label_until"] = _readable(mine["probes"], "nash_label")
    found["nash_place_from"], _ = _readable(mine["probes"], "nash_place")
    found["favoured_from"] = float(lens["nash_from"]["estimate"])
    found["override_at"] = float(lens["flip_layer"]["estimate"])
    found["steerable_from"], found["steerable_until"] = steerable_layers(
        mine["steering"], confidence=confidence, resamples=resamples, rng=rng
    )
    rows = []
    asked = set(mine["probes"]["target"])
    for name, basis in LAYER_FACTS.items():
        planted = getattr(facts, name)
        if name.startswith(("nash_label", "nash_place")) and name.rpartition("_")[0] not in asked:
            continue
        # A fact that is nowhere has one row: its last layer says nothing more than its first.
        if not (name.endswith("until") and planted is None):
            rows.append(layer_row(name, planted, found[name]) | {"basis": basis})
    rows += _label_rows(
        facts, mine["steering"], confidence=confidence, resamples=resamples, rng=rng
    )
    if facts.follows != "unknown":
        decided = str(lens["follows_action"]["reason"]).removeprefix("follows the ")
        row = truth_row(f"follows_{facts.follows}", True, decided == facts.follows)
        rows.append(row | {"basis": "lens"})
    findings = mine["findings"].set_index("claim")
    findings = findings[~findings["reason"].str.startswith(LEFT_OUT)]
    verdicts = findings["verdict"]
    rows += _cause_rows(facts, findings, mine.get("override"))
    judged = []
    if "M4" in verdicts:
        carried = None if facts.answering_heads == "unknown" else facts.answering_heads
        judged.append(truth_row("answering_heads", carried, verdicts["M4"] == "contradicted"))
        if facts.answered_by:
            judged.append(group_row(facts, str(findings["detail"]["M4"])))
    for claim in (claim for claim in CLAIMS if claim in verdicts):
        holds = True if claim in facts.claims else False if claim in facts.denied else None
        judged.append(truth_row(claim, holds, verdicts[claim] == "supported"))
        if claim in facts.contradicted:
            refuted = verdicts[claim] == "contradicted"
            judged.append(truth_row(f"{claim}_contradicted", True, refuted))
    rows += [row | {"basis": "findings"} for row in judged]
    if "spikes_summary" in mine:
        rows += [
            row | {"basis": "spikes"}
            for row in _spike_rows(mine["spikes_summary"], confidence)
            # A planted model's own effects may stand against one that is put in.
            if facts.null or not row["planted"]
        ]
    frame = pd.DataFrame(rows).assign(model=model, null=facts.null)
    return frame.reindex(columns=list(COLUMNS))


def check_all(
    facts: Mapping[str, Facts],
    tables: Mapping[str, pd.DataFrame],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Compare the facts of several models with what the study found, as `check` does.

    Parameters
    ----------
    facts : mapping of str to Facts
        Model -> what is planted in it.
    tables, confidence, resamples
        As for `check`.
    seed : int

    Returns
    -------
    DataFrame
        The rows of all models.
    """
    checks = [
        check(
            planted,
            tables,
            model=model,
            confidence=confidence,
            resamples=resamples,
            rng=stream(seed, "calibration", model),
        )
        for model, planted in facts.items()
    ]
    return pd.concat(checks, ignore_index=True)


def judged_together(
    findings: Sequence[pd.DataFrame],
    tables: Mapping[str, pd.DataFrame],
    *,
    confidence: float,
    resamples: int,
    q_value: float,
    seed: int,
) -> pd.DataFrame:
    """Correct the claims about all models as one family.

    Parameters
    ----------
    findings : sequence of DataFrame
        From `nashlens.findings.judge`, one a model.
    tables : mapping of str to DataFrame
        Those of the experiment that claims about play read, and any others: claims that need none
        besides are judged here.
    confidence, resamples, seed
        As for `check_all`.
    q_value : float
        The false-discovery rate.
    """
    claims = [claim for claim in PLAY_CLAIMS if set(claim.tables) <= set(tables)]
    judged = judge(tables, JudgeSettings(ALL_MODELS, confidence, resamples, seed), claims)
    return combine([*findings, judged], q_value)


def _cause_rows(
    facts: Facts, findings: pd.DataFrame, override: pd.DataFrame | None
) -> list[dict[str, Any]]:
    """Compare where the Nash label is computed, and who overrides it, with what is planted."""
    rows, verdicts = [], findings["verdict"]
    if "M11" in verdicts:
        place = json.loads(str(findings["detail"]["M11"]) or "{}")
        right = verdicts["M11"] == "supported" and (
            facts.computed_group is None or place["group"] == facts.computed_group
        )
        layer = float(place["layer"]) if right else np.nan
        rows.append(layer_row("computed_at", facts.computed_at, layer) | {"basis": "patching"})
    if override is not None and "M9" in verdicts:
        named: set[str] = set()
        if verdicts["M9"] == "supported":
            ablated = override.loc[override["kind"] == "candidate", "heads"]
            named = {name for group in ablated.unique() for name in group.split()}
        rows.append(component_row(facts, named) | {"basis": "override"})
    return rows


def _spike_rows(summary: pd.DataFrame, confidence: float) -> list[dict[str, Any]]:
    """Compare what was put into a model with what each claim found of it."""
    rows = []
    for one in worth(summary).to_dict("records"):
        claim = one["claim"]
        if pd.notna(one["spike_found"]):
            rows.append(truth_row(f"spike_{claim}", True, bool(np.isfinite(one["spike_found"]))))
        if pd.notna(one["spike_false"]):
            wrong = summary[(summary["claim"] == claim) & (summary["counts"] == "false")]
            taken = bool((wrong["ci_low"] > 1 - confidence).any())
            rows.append(truth_row(f"wrong_spike_{claim}", False, taken))
    return rows


def _span(layers: np.ndarray) -> Span:
    return (float(layers.min()), float(layers.max())) if len(layers) else _NOWHERE


def _readable(probes: pd.DataFrame, target: str) -> Span:
    """Return the first and last layer that holds a target."""
    probes = at_position(probes)
    rows = probes[(probes["target"] == target) & (probes["split"] == "match")]
    rows = rows[(rows["status"] == "ok") & (rows["layer"] > 0)]
    # The smallest p-value there is: no permutation reached the score. 1.5 allows for rounding.
    first = rows["p_value_max"] <= 1.5 / (1 + rows["permutations"])
    good = (rows["balanced_accuracy"] >= DECODABLE) & (rows["ci_low"] > 0.5) & first
    return _span(rows.loc[good, "layer"].to_numpy(dtype=float))


def steerable_layers(
    steering: pd.DataFrame, *, confidence: float, resamples: int, rng: np.random.Generator
) -> Span:
    """Return the first and last layer at which adding the abstract direction moves the action.

    Parameters
    ----------
    steering : DataFrame
        One model's steering table.
    confidence : float
        Coverage of the bounds, for all layers at once.
    resamples : int
    rng : numpy.random.Generator
    """
    responses = Responses(_single(steering), "add")
    (target,) = [target for target in responses.targets() if target.kind == "abstract"]
    moved = _moved(target, confidence, resamples, rng)
    return _span(responses.places["layer"].to_numpy(dtype=float)[moved])


def _single(steering: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of pushes at one layer."""
    return steering[~steering["layers"].str.contains("+", regex=False)]


def _moved(
    target: Target, confidence: float, resamples: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Tell at which places adding a direction moves its target, beyond every random direction."""
    found = target.change_on(target.chosen)
    low, _, _ = found.simultaneous(confidence, resamples, rng)
    # The largest mean change, in size, of any random direction at each place.
    random = np.abs(target.random_changes()).max(axis=0)
    moved = (low > 0) & (found.estimate >= LEAST_CHANGE) & (found.estimate > random)
    return np.asarray(moved)


def _label_rows(
    facts: Facts,
    steering: pd.DataFrame,
    *,
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Compare what pushes along the label direction move with what is planted, where that is."""
    if facts.label_from == "unknown" and not facts.joint_layers:
        return []

    def moved(responses: Responses, unseen: bool) -> pd.DataFrame:
        chosen = responses.unseen if unseen else ~responses.unseen
        target = Target(responses, "label", "word", chosen)
        return responses.places[_moved(target, confidence, resamples, rng)]

    single = Responses(_single(steering), "add")
    on_seen, on_unseen = moved(single, unseen=False), moved(single, unseen=True)
    first, last = _span(on_seen["layer"].to_numpy(dtype=float))
    rows = [layer_row("label_from", facts.label_from, first)]
    if facts.label_from is not None:
        rows.append(layer_row("label_until", facts.label_until, last))
        # After the last block a push of the answer itself moves words: nothing is carried there.
        before = on_unseen["layer"] < steering["layer"].max()
        carried = facts.label_words == "all"
        rows.append(truth_row("label_carries_over", carried, bool(before.any())))
    if facts.joint_layers:
        place = "+".join(str(layer) for layer in facts.joint_layers)
        together = moved(Responses(steering, "add"), unseen=True)["layers"]
        alone = on_unseen["layer"].isin(facts.joint_layers)
        rows.append(truth_row("label_jointly", True, place in set(together) and not alone.any()))
    return [row | {"basis": "steering"} for row in rows]
