"""Simulated studies: how often intervals hold the truth, and the smallest effect they find.

    python -m benchmarks.coverage                         the tables and curves of docs/explanation
    python -m benchmarks.coverage --figure power.svg      draws the curves as well
    python -m benchmarks.coverage --quick                 fewer studies

Whole studies are drawn from a design whose truth is known and estimated by `nashlens.factorial`.
Most are columns of one matrix, so that thousands cost one call.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from nashlens.contrasts import Array
from nashlens.factorial import PARTS, STRATA, BlockEstimate, ScenarioBlocks
from nashlens.vocabulary.prompts import LABEL_MAPS, OPTION_ORDERS

SIZES = (16, 48, 192)
CURVE_SIZES = (8, 12, 16, 24, 32, 48, 96, 192, 384)
SPREADS = (0.1, 0.3, 1.0)
"""Standard deviations between histories, in logits, of the power curves."""
LAYERS = 8
NULL_MODELS = 40


@dataclass(frozen=True)
class Design:
    """What is asked, and how much histories differ."""

    histories: int
    strata: int = 1
    """Pairs of template and label set of a game: 1, or an even number."""
    games: int = 1
    crossed: bool = False
    """Whether each history is asked in all strata of its game, or in one."""
    skewness: float = 0.0
    """Of the effects: 0 is normal, 2 exponential, and what lies between a gamma distribution."""
    uneven: float = 1.0
    """Largest standard deviation of a stratum over the smallest; where it is not 1, histories have
    1 to 4 rounds each, else 2."""

    def blocks(self) -> pd.DataFrame:
        """Return one row for each block, without its surface forms."""
        records = []
        for history in range(self.histories):
            game, own = history % self.games, history // self.games % self.strata
            for stratum in range(self.strata) if self.crossed else [own]:
                for number in range(2 if self.uneven == 1.0 else 1 + history % 4):
                    records.append((history, game, stratum % 2, stratum // 2, number))
        columns = ["match_id", "game", "template", "label_set", "round"]
        table = pd.DataFrame(records, columns=columns).astype(str)
        return table.assign(block_id=table.agg("/".join, axis=1))

    def parts(self, blocks: pd.DataFrame, studies: int, rng: np.random.Generator) -> Array:
        """Draw a part of each block whose true value is 0, (blocks, studies).

        Histories differ with a standard deviation of 1 (of about 1 where strata differ), rounds of
        one history with one of a half.
        """
        stratum = blocks.groupby(list(STRATA)).ngroup().to_numpy()
        ends = self.uneven**-0.5, self.uneven**0.5
        spread = np.geomspace(*ends, stratum.max() + 1)[stratum]
        history, _ = pd.factorize(blocks["match_id"])
        between = self._drawn((history.max() + 1, studies), rng)[history]
        within = 0.5 * self._drawn((len(blocks), studies), rng)
        return np.asarray(spread[:, None] * (between + within))

    def _drawn(self, size: tuple[int, int], rng: np.random.Generator) -> Array:
        if self.skewness == 0.0:
            return rng.normal(size=size)
        shape = 4.0 / self.skewness**2
        return np.asarray((rng.gamma(shape, size=size) - shape) / np.sqrt(shape))


def designs(histories: int) -> Iterator[Design]:
    """Yield the designs whose intervals are checked, of one size."""
    plain = Design(histories)
    six = replace(plain, strata=6)
    two_games = replace(plain, strata=2, games=2)
    for design in (plain, six, replace(six, crossed=True), two_games):
        yield design
        yield replace(design, skewness=1.0, uneven=2.0)


EXTREME = [Design(size, strata=6, skewness=2.0, uneven=4.0) for size in SIZES]
"""Designs for which Student's t is not made; they show what is lost."""


def coverage(design: Design, studies: int, seed: int = 0) -> float:
    """Return the share of studies whose 95% interval holds the truth."""
    blocks = design.blocks()
    values = design.parts(blocks, studies, np.random.default_rng(seed))
    low, high = BlockEstimate.of(blocks, values, "match_id", STRATA).interval(0.95)
    return float(((low <= 0) & (high >= 0)).mean())


def studies_of_layers(found: BlockEstimate) -> Iterator[BlockEstimate]:
    """Yield the studies whose layers are the columns of one estimate, `LAYERS` each."""
    for start in range(0, len(found.estimate), LAYERS):
        of = slice(start, start + LAYERS)
        yield replace(
            found,
            estimate=found.estimate[of],
            error=found.error[of],
            freedom=found.freedom[of],
            influence=found.influence[:, of],
            values=found.values[:, of],
        )


def coverage_at_once(design: Design, studies: int, seed: int = 0) -> float:
    """Return the share of studies whose bounds hold the truth at each of some correlated layers."""
    rng = np.random.default_rng(seed)
    blocks = design.blocks()
    common = np.repeat(design.parts(blocks, studies, rng), LAYERS, axis=1)
    values = 0.8 * common + 0.6 * design.parts(blocks, studies * LAYERS, rng)
    held = 0
    for study in studies_of_layers(BlockEstimate.of(blocks, values, "match_id", STRATA)):
        low, high, _ = study.simultaneous(0.95, 250, rng)
        held += bool(((low <= 0) & (high >= 0)).all())
    return held / studies


def null_answers(rows: pd.DataFrame, columns: int, rng: np.random.Generator) -> Array:
    """Draw the logits of a model that follows words and places only, (rows, columns).

    How much it likes a word differs between label sets and templates, as does what it makes of
    places; histories and single answers add what they add by chance.
    """
    word = np.where(rows["label_map"] == LABEL_MAPS[1], 1.0, -1.0)[:, None]
    place = np.where(rows["option_order"] == OPTION_ORDERS[1], 1.0, -1.0)[:, None]
    form = rows.groupby(["template", "label_set"]).ngroup().to_numpy()
    history, _ = pd.factorize(rows["match_id"])
    n_forms, n_histories = form.max() + 1, history.max() + 1

    def effects(mean: float) -> Array:
        liked = mean + mean * rng.normal(size=(n_forms, 1))
        return np.asarray(liked[form] + 0.3 * rng.normal(size=(n_histories, columns))[history])

    scale = np.exp(rng.normal(size=3))
    action = 0.2 * rng.normal(size=(n_histories, columns))[history]
    noise = 0.2 * rng.normal(size=(len(rows), columns))
    forms = word * effects(scale[0]) + place * effects(scale[1]) + word * place * effects(scale[2])
    return np.asarray(forms + action + noise)


def answers_of(blocks: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each block, label map and option order."""
    forms = pd.DataFrame(
        [(label_map, order) for label_map in LABEL_MAPS for order in OPTION_ORDERS],
        columns=["label_map", "option_order"],
    )
    return blocks.merge(forms, how="cross")


def false_positives(design: Design, studies: int, seed: int = 0) -> float:
    """Return the share of studies of null models that find an action part at any layer."""
    rng = np.random.default_rng(seed)
    rows = answers_of(design.blocks())
    blocks, found = ScenarioBlocks(rows), 0
    towards = np.where(rows["game"] == "0", 1.0, -1.0)
    for _ in range(NULL_MODELS):
        answers = null_answers(rows, studies * LAYERS, rng)
        estimate = blocks.estimate(blocks.parts(answers, towards)[PARTS[0]])
        for study in studies_of_layers(estimate):
            low, _, _ = study.simultaneous(0.95, 200, rng)
            found += bool((low > 0).any())
    return found / NULL_MODELS / studies


def smallest_found(design: Design, studies: int, seed: int = 0) -> tuple[float, float]:
    """Return the smallest effect that four studies in five find, simulated and by formula.

    An effect moves the interval and leaves its width: it is found where it exceeds by how far the
    lower bound of a study without it lies below 0.
    """
    blocks = design.blocks()
    values = design.parts(blocks, studies, np.random.default_rng(seed))
    found = BlockEstimate.of(blocks, values, "match_id", STRATA)
    low, _ = found.interval(0.95)
    formula = (stdtrit(found.freedom, 0.975) + stdtrit(found.freedom, 0.8)) * found.error
    return float(np.quantile(-low, 0.8)), float(np.median(formula))


def coverage_table(studies: int) -> pd.DataFrame:
    """Return one row for each design: its coverage, for one estimate and for several at once."""
    return pd.DataFrame(
        [
            {
                **asdict(design),
                "coverage": coverage(design, studies),
                "at_once": coverage_at_once(design, studies // 10),
            }
            for design in (*itertools.chain(*map(designs, SIZES)), *EXTREME)
        ]
    )


def power_table(studies: int) -> pd.DataFrame:
    """Return the smallest effect found by number of histories, for a spread of 1 between them."""
    records = []
    for histories in CURVE_SIZES:
        for strata in (1, 6):
            if histories < 2 * strata:
                continue
            simulated, formula = smallest_found(Design(histories, strata), studies)
            records.append((histories, strata, simulated, formula))
    return pd.DataFrame(records, columns=["histories", "strata", "simulated", "formula"])


def draw(power: pd.DataFrame, path: Path) -> None:
    """Draw the smallest effect found against the number of histories, one curve a spread."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "power", "font.size": 8}):
        figure = Figure(figsize=(5.4, 3.2), layout="constrained")
        axes = figure.subplots()
        marks = {1: "o", 6: "x"}
        for number, spread in enumerate(SPREADS):
            for strata, rows in power.groupby("strata"):
                color = f"C{number}"
                axes.plot(rows["histories"], spread * rows["simulated"], marks[int(str(strata))],
                          color=color, markersize=4)  # fmt: skip
            one = power[power["strata"] == 1]
            axes.plot(one["histories"], spread * one["formula"], color=f"C{number}",
                      label=f"SD between histories {spread:g}")  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="histories")
        axes.set_ylabel("smallest effect found\nfour times in five (logits)")
        axes.set_xticks(CURVE_SIZES, [str(size) for size in CURVE_SIZES])
        axes.minorticks_off()
        axes.grid(color="0.9")
        axes.legend(fontsize=7)
        figure.savefig(path, format="svg", metadata={"Date": None})


def main() -> None:
    """Simulate, print the tables, and the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small part of the work")
    parser.add_argument("--figure", type=Path, metavar="SVG", help="where to draw the curves")
    options = parser.parse_args()
    start, studies = time.perf_counter(), 200 if options.quick else 10_000
    covered, power = coverage_table(studies), power_table(studies)
    wrong = {n: false_positives(Design(n, 6, 2), 1 if options.quick else 50) for n in SIZES}
    for table in (covered, power):
        print(table.to_string(index=False, float_format="{:.3f}".format), end="\n\n")
    if options.figure is not None:
        draw(power, options.figure)
    figures = {
        "benchmark": "coverage",
        "studies": studies,
        "coverage": covered["coverage"].tolist(),
        "at_once": covered["at_once"].tolist(),
        "false_positives": wrong,
        "smallest_found": power.round(4).to_dict("records"),
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
