"""Spikes in what interventions do to the answer, judged by the claims about causes.

The study's own tables hold what each ablation, patch and push did to each prompt. A spike adds `s`
logits there, where an intervention with that effect would have added them:

- M4: ablating one arm's candidate group costs the Nash action `s`: of the arm that has the fewest
  histories to test on, which finds the least;
- M7, M8: the largest dose along the abstract direction, after one layer, moves the answer `s`
  towards action 1, the smallest one as far from it, and those between in proportion;
- M9: ablating the late components that write against Nash brings the Nash action `s`, and
  exchanging them moves the answer as far;
- M10: the same effect, of which each of these components has an equal share, where they are enough
  to be a choir;
- M11: exchanged payoffs move the answer `s` more, and one place before the decision carries it.

The effects that a model has by itself, and their noise, stay. What must not be found is as large:
the same by word only (towards the pair's first label, whatever it means), and for M10 an effect
that one component has alone. Nothing is run. M9 and M10 are asked as if the lens showed an
override, which is a claim of its own (M6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from nashlens.chunks import each
from nashlens.circuits.readings import ARMS
from nashlens.findings.claims import (
    m4_no_nash_components,
    m7_steering_both_ways,
    m8_clamping_monotone,
    m9_late_cause,
    m10_choir,
    m11_computed_from_payoffs,
)
from nashlens.interventions import WORDING
from nashlens.seeds import stream
from nashlens.steering.spiked_lens import Spike, SpikeVerdict, drawn_again
from nashlens.vocabulary.positions import DECISION

if TYPE_CHECKING:
    from nashlens.findings.claim import Evidence, JudgeSettings, Missing

ANSWER, BY_WORD, SOLOIST = "answer", "answer_word", "answer_soloist"
"""Kinds of spike: what the claim is about, and what it must not be taken for."""
UNIT = "logits"
_LEAST = 1e-12
_NAMES = ("match_id", "block_id", "prompt_id", "pair_id")


class _Asked(NamedTuple):
    """A claim that a spike is put to."""

    module: Any
    table: str
    rows: Callable[[pd.DataFrame], pd.DataFrame]
    """What its estimate reads."""
    spiked: Callable[[pd.DataFrame, str, float], pd.DataFrame]
    """From rows, a kind of spike and its strength to other rows."""
    judged: Callable[[pd.DataFrame, JudgeSettings], Evidence | Missing]
    kinds: tuple[str, ...] = (ANSWER, BY_WORD)
    possible: Callable[[pd.DataFrame], bool] = lambda rows: True
    """Whether an effect of the claim's kind can be put into what was measured."""


def answer_verdicts(
    tables: Mapping[str, pd.DataFrame],
    strengths: tuple[float, ...],
    settings: JudgeSettings,
    draws: int,
    threads: int = 1,
) -> Iterator[tuple[Spike | None, SpikeVerdict]]:
    """Yield the verdicts of each claim under each spike; None is the model as it is.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        Of `heads`, `steering`, `override` and `patching` those that there are.
    strengths : tuple of float
        In logits of the answer. What must not be found is put in with the largest.
    settings : JudgeSettings
    draws : int
        How often histories are drawn again.
    threads : int
        Draws that are judged side by side, in processes of their own.
    """
    judges = []
    for claim, asked in ASKED.items():
        rows = asked.rows(tables[asked.table]) if asked.table in tables else pd.DataFrame()
        if rows.empty or not asked.possible(rows):
            continue
        spikes: list[Spike | None] = [None]
        spikes += [Spike(ANSWER, 0, strength, UNIT) for strength in strengths]
        spikes += [Spike(kind, 0, max(strengths), UNIT) for kind in asked.kinds[1:]]
        judges.append(_Judge(claim, rows, spikes, settings))
    units = list(product(judges, range(draws)))
    every = each(units, _verdicts, "draws", unit="draw", threads=threads, processes=True)
    for (judge, _), found in zip(units, every, strict=True):
        for spike, verdict in zip(judge.spikes, found, strict=True):
            yield spike, SpikeVerdict(*verdict)


def _verdicts(unit: tuple[_Judge, int]) -> list[SpikeVerdict]:
    judge, draw = unit
    return judge.verdicts(draw)


class _Judge:
    """A claim's verdicts on draws of one table."""

    def __init__(
        self,
        claim: str,
        rows: pd.DataFrame,
        spikes: list[Spike | None],
        settings: JudgeSettings,
    ):
        self.spikes = spikes
        self._claim, self._settings = claim, settings
        self._rows = rows.reset_index(drop=True)
        self._where = self._rows.groupby("match_id").indices
        matches = self._rows.drop_duplicates("match_id")[["match_id", "game", *WORDING]]
        self._matches = matches.reset_index(drop=True)

    def verdicts(self, draw: int) -> list[SpikeVerdict]:
        """Return the verdicts of one draw, of the same histories for every spike."""
        rng = stream(self._settings.seed, "spikes", "draw", self._claim, draw)
        picked, copies = drawn_again(self._matches, rng)
        parts = [self._where[name] for name in self._matches["match_id"].iloc[picked]]
        table = self._rows.iloc[np.concatenate(parts)].reset_index(drop=True)
        suffix = np.repeat(copies, [len(part) for part in parts])
        renamed = {name: table[name].astype(str) + suffix for name in _NAMES if name in table}
        table = table.assign(**renamed)
        found = []
        # By name: some of its functions cannot be sent to another process.
        asked = ASKED[self._claim]
        for spike in self.spikes:
            changed = table
            if spike is not None:
                changed = asked.spiked(table, spike.spike, spike.strength)
            evidence = asked.judged(changed, self._settings)
            found.append(SpikeVerdict.of(asked.module.CLAIM, draw, evidence))
        return found


def _first_label(rows: pd.DataFrame) -> np.ndarray:
    """Return +1 where the pair's first label means action 1, else -1."""
    return np.where(rows["label_map"] == "swapped", 1.0, -1.0)


def _towards_nash(rows: pd.DataFrame, kind: str) -> np.ndarray:
    """Return +1 where a spike helps the Nash action, else -1: by word that differs by prompt."""
    if kind != BY_WORD:
        return np.ones(len(rows))
    nash = np.where(rows["nash_action"].to_numpy(dtype=float) == 1.0, 1.0, -1.0)
    return np.asarray(nash * _first_label(rows))


def _tested(heads: pd.DataFrame) -> pd.DataFrame:
    return heads[heads["phase"] == "test"]


def _dropped(rows: pd.DataFrame, drop: np.ndarray) -> pd.DataFrame:
    return rows.assign(drop=rows["drop"] + drop, logit_nash=rows["logit_nash"] - drop)


def _spiked_heads(rows: pd.DataFrame, kind: str, strength: float) -> pd.DataFrame:
    candidates = rows[rows["kind"] == "candidate"]
    tested = candidates.groupby(["component", "positions"])["match_id"].nunique()
    component, positions = min(tested.index, key=lambda arm: (tested[arm], list(ARMS).index(arm)))
    here = (rows["kind"] == "candidate") & (rows["component"] == component)
    here &= rows["positions"] == positions
    return _dropped(rows, strength * here.to_numpy(float) * _towards_nash(rows, kind))


def _spiked_override(rows: pd.DataFrame, kind: str, strength: float) -> pd.DataFrame:
    signs = {"candidate": -1.0, "destroy": -1.0, "restore": 1.0}
    share = rows["kind"].map(signs).fillna(0.0).to_numpy(float)
    return _dropped(rows, strength * share * _towards_nash(rows, kind))


def _writers(rows: pd.DataFrame) -> list[str]:
    """Return the late components that write against the Nash action, in their order."""
    whole = rows.loc[rows["kind"] == "first", "heads"].astype(str)
    return max(whole, key=len).split() if len(whole) else []


def _enough_for_a_choir(rows: pd.DataFrame) -> bool:
    """Say whether the first few of as many equal shares have less than what makes no choir."""
    return m10_choir.HALF * len(_writers(rows)) > m10_choir.FEW


def _spiked_choir(rows: pd.DataFrame, kind: str, strength: float) -> pd.DataFrame:
    groups, names = rows["heads"].astype(str), _writers(rows)
    share = groups.map(lambda group: len({*group.split()} & {*names})) / len(names)
    if kind == SOLOIST:
        alone = {group: float(names[0] in group.split()) for group in groups.unique()}
        share = groups.map(alone)
    here = rows["kind"].isin(["first", "order", "all"]).to_numpy(float) * share.to_numpy(float)
    return _dropped(rows, -strength * here * _towards_nash(rows, kind))


def _swept(edit: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda steering: steering[steering["kind"] == edit]


def _spiked_steering(rows: pd.DataFrame, kind: str, strength: float) -> pd.DataFrame:
    single = rows.loc[~rows["layers"].astype(str).str.contains("+", regex=False), "layer"]
    layers = sorted(single.unique())
    here = (rows["direction"] == "abstract") & (
        rows["layers"].astype(str) == str(layers[len(layers) // 2])
    )
    dose = rows["value"] / rows["value"].abs().max()
    sign = _first_label(rows) if kind == BY_WORD else 1.0
    odds = logit(rows["p_action_1"].clip(_LEAST, 1.0 - _LEAST))
    moved = expit(odds + strength * sign * dose)
    p = np.where(here, moved, rows["p_action_1"])
    return rows.assign(p_action_1=p, p_action_0=1.0 - p)


def _spiked_patching(rows: pd.DataFrame, kind: str, strength: float) -> pd.DataFrame:
    """Add to the whole difference, and to what one place carries, of pairs of payoffs."""
    # Into the design's own prompt the other one's values bring the other action.
    other = np.where(rows["nash_action"].to_numpy(dtype=float) == 1.0, -1.0, 1.0)
    towards = _first_label(rows) if kind == BY_WORD else other
    towards = towards * np.where(rows["direction"] == "destroy", 1.0, -1.0)
    payoffs = (rows["kind"] == "payoffs").to_numpy(float)
    before = ~rows["group"].isin([DECISION, *m11_computed_from_payoffs.NOT_BEFORE])
    # What was only screened is no place that a claim could name.
    exact = rows["effect"].notna() & (rows["kind"] == "payoffs")
    candidates = rows[(rows["site"] == "residual") & before & (rows["layer"] > 0) & exact]
    carried = np.zeros(len(rows))
    if len(candidates):
        place = candidates.sort_values("layer", kind="stable").iloc[0]
        here = (rows["site"] == "residual") & (rows["group"] == place["group"])
        carried = (here & (rows["layer"] >= place["layer"])).to_numpy(float)
    size = strength * towards * payoffs
    return rows.assign(total=rows["total"] + size, effect=rows["effect"] + size * carried)


def _everything(rows: pd.DataFrame) -> pd.DataFrame:
    return rows


def _of(module: Any, table: str) -> Callable[[pd.DataFrame, JudgeSettings], Evidence | Missing]:
    return lambda rows, settings: module.estimate({table: rows}, settings)


ASKED: dict[str, _Asked] = {
    "M4": _Asked(
        m4_no_nash_components,
        "heads",
        _tested,
        _spiked_heads,
        _of(m4_no_nash_components, "heads"),
    ),
    "M7": _Asked(
        m7_steering_both_ways,
        "steering",
        _swept("add"),
        _spiked_steering,
        _of(m7_steering_both_ways, "steering"),
    ),
    "M8": _Asked(
        m8_clamping_monotone,
        "steering",
        _swept("clamp"),
        _spiked_steering,
        _of(m8_clamping_monotone, "steering"),
    ),
    "M9": _Asked(
        m9_late_cause, "override", _everything, _spiked_override, m9_late_cause.from_override
    ),
    "M10": _Asked(
        m10_choir,
        "override",
        _everything,
        _spiked_choir,
        m10_choir.from_override,
        (ANSWER, BY_WORD, SOLOIST),
        _enough_for_a_choir,
    ),
    "M11": _Asked(
        m11_computed_from_payoffs,
        "patching",
        _everything,
        _spiked_patching,
        _of(m11_computed_from_payoffs, "patching"),
    ),
}
"""Claim -> how a spike is put to it."""
