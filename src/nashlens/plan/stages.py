"""The work of each stage on one model, counted from the design that the stage itself would take.

Prompts are built and chosen by the stages' own functions. What follows from a model's answers (how
many late components write against the Nash action) is assumed, and said where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from nashlens.activations.plan import draw_matches, plan_shards
from nashlens.circuits.attribution import choose_decisions
from nashlens.circuits.override import late_components, late_layers, sizes_tried
from nashlens.circuits.patching import choose_pairs, directions_of
from nashlens.circuits.phases import PHASES, everywhere_rows, match_phases
from nashlens.config.layers import resolve_layers
from nashlens.engine.labels import LabelledPrompt, label_runs, labelled_prompts
from nashlens.engine.sweeps import PROMPTS_AT_ONCE
from nashlens.interventions import choose_prompts
from nashlens.kept import neutral
from nashlens.lens.logit import ResidualCounts
from nashlens.lens.positions import residuals_read
from nashlens.lens.tuned import HELD_OUT, KL_TOKENS, PENALTIES
from nashlens.models.shapes import Shape
from nashlens.plan.design import Design, Sequences
from nashlens.plan.patches import patched_copies, path_passes, screened_work
from nashlens.plan.spikes import count_verdicts
from nashlens.plan.work import Work
from nashlens.prompts.extra import extra_sequences
from nashlens.prompts.groups import group_indices
from nashlens.steering.conflicts import can_conflict
from nashlens.steering.doses import Doses, places_of
from nashlens.steering.players import text_windows
from nashlens.steering.sweep import swept_prompts
from nashlens.steering.training import Training
from nashlens.vocabulary.patching import path_parts
from nashlens.vocabulary.positions import expand_positions, position_column

EIGEN = 25
"""Operations of an eigendecomposition, in cubes of the matrix's side."""
PER_LOGIT, PER_LATER_LOGIT, PER_FINAL_LOGIT = 560.0, 160.0, 700.0
"""Operations that would take as long as what a lens does with one logit besides the product: with
those of a prompt (ranks, exponentials, sums), of a label's later token (no ranks), and of the last
layer (in float64). A narrow model pays as much for these as for the product (`benchmarks/lens.py`).
"""
_NEVER_THERE = Path("/nonexistent")


class ModelStages:
    """The work of all stages of one model.

    Parameters
    ----------
    design : Design
        The study's prompts in the model's tokenizer.
    model : str
    shape : Shape
    """

    def __init__(self, design: Design, model: str, shape: Shape):
        self.design, self.model, self.shape = design, model, shape
        self.config, self.seed, self.layers = design.config, design.seed, shape.layers

    @property
    def prompts(self) -> pd.DataFrame:
        """The prompts table."""
        return self.design.prompts

    def work(self, rule: str, part: int = 1, parts: int = 1) -> Work:
        """Return the work of a rule's job; none for rules that run no model and fit nothing."""
        if rule == "extract_activations":
            return sum(self._shards[part - 1 :: parts], start=Work())
        counted: Callable[[], Work] | None = getattr(self, f"_{rule}", None)
        return Work() if counted is None else counted()

    def _base(
        self, prompts: Sequence[LabelledPrompt], at_once: int | None = PROMPTS_AT_ONCE
    ) -> Work:
        """Return the work of prompts as they are, on which interventions stand."""
        sequences = [run.sequence for run in label_runs(prompts)]
        return Work(
            prompts=len(prompts),
            tokens=sum(len(prompt.ids) for prompt in prompts),
            rows=self.design.row_tokens(sequences, at_once) * self.layers,
        )

    def _resolved(self, spec: Any, first: int = 1) -> list[int]:
        return resolve_layers(spec, self.layers, first=first)

    # ---- activations, lens, probes ----

    def _build_prompts(self) -> Work:
        return Work(prompts=len(self.prompts), tokens=int(self.prompts["n_tokens"].sum()))

    @cached_property
    def _shards(self) -> list[Work]:
        """The work of each shard."""
        ids = dict(zip(self.prompts["prompt_id"], self.prompts["token_ids"], strict=True))
        extra = extra_sequences([self.prompts], ids)
        plan = plan_shards(
            _NEVER_THERE,
            self.prompts,
            fingerprint="",
            shard_prompts=self.config["activations"]["shard_prompts"],
            extra=extra,
            positions=self._positions("activations"),
        )
        for name, (after, tokens) in plan["extra"].items():
            ids[name] = [*(ids[after] if after else ()), *tokens]
        return [self._shard([ids[p] for p in one["prompt_ids"]], one) for one in plan["new"]]

    def _shard(self, sequences: Sequences, shard: Mapping[str, Any]) -> Work:
        size = 4 if self.config["activations"]["dtype"] == "float32" else 2
        stored = len(sequences) * len(shard.get("positions", ["decision"]))
        # After the last block only what is stored is needed.
        tokens = self.design.row_tokens(sequences)
        return Work(
            prompts=len(sequences),
            tokens=sum(map(len, sequences)),
            rows=tokens * (self.layers - 1) + min(stored, tokens),
            disk=stored * (self.layers + 1) * self.shape.width * size,
        )

    def _extract_untrained(self) -> Work:
        most = self.config["probes"]["random_weights"]
        chosen = draw_matches(self.prompts, most, self.seed).drop_duplicates("prompt_id")
        size = self.config["activations"]["shard_prompts"]
        total = Work()
        for _, rows in chosen.groupby("game"):
            ids = list(rows["token_ids"])
            for start in range(0, len(ids), size):
                total += self._shard(ids[start : start + size], {})
        return total

    def _positions(self, section: str) -> list[str]:
        """Return the single positions that a section names."""
        return expand_positions(self.config[section]["positions"], self.config["prompts"]["rounds"])

    @cached_property
    def _lens_counts(self) -> list[ResidualCounts]:
        return residuals_read(self.prompts, self._positions("lens"))

    def _read_lens(self) -> Work:
        """Return every layer's products with the unembedding, and what is done with each logit."""
        product = 2.0 * self.shape.width
        # Once, the last layer's own distributions take three such products.
        per_logit = sum(
            (self.layers + 1) * asked * (product + PER_LOGIT)
            + (self.layers + 1) * later * (product + PER_LATER_LOGIT)
            + asked * (3.0 * product + PER_FINAL_LOGIT)
            for asked, later in self._lens_counts
        )
        return Work(cpu=per_logit * self.shape.vocab)

    def _read_tuned_lens(self) -> Work:
        """Return the same, with a translation of every residual."""
        rows = (self.layers + 1) * sum(map(sum, self._lens_counts))
        return self._read_lens() + Work(cpu=2.0 * rows * self.shape.width**2)

    def _fit_tuned_lens(self) -> Work:
        tokens = self.config["lens"]["tuned_tokens"]
        width, layers = self.shape.width, self.layers
        # The translator; then the whole vocabulary at some tokens, through three lenses.
        fit = solving_operations(tokens, width)
        seen = 3 * 2.0 * KL_TOKENS * width * self.shape.vocab
        disk = layers * width**2 * 2.0
        return Work(tokens=tokens, rows=tokens * layers, cpu=layers * (fit + seen), disk=disk)

    def _fit_probes(self) -> Work:
        layers = self._resolved(self.config["probes"]["layers"], first=0)
        model = self.config["models"][self.model]
        # Weights that are quantised or spread over GPUs have no random counterpart.
        untrained = model["quantization"] == "none" and model["parallel"] == "none"
        counted = [
            self.design.probes(position, untrained) for position in self._positions("probes")
        ]
        return Work(cpu=sum(one.operations(self.shape.width, layers) for one in counted))

    # ---- questions ----

    def _asked(self, counts: tuple[int, int, int]) -> Work:
        prompts, tokens, new = counts
        return Work(prompts, tokens, rows=new * self.layers)

    def _ask_quiz(self) -> Work:
        return self._asked(self.design.quiz)

    def _ask_beliefs(self) -> Work:
        return self._asked(self.design.beliefs)

    def _check_players(self) -> Work:
        agents = self.config["agents"].values()
        mine = [a for a in agents if a["model"] == self.model and a["intervention"] is not None]
        played = len(set(self.config["games"]) - set(self.config["matches"]["skip_games"]))
        asked = sum(1.0 if a["games"] is None else len(a["games"]) / played for a in mine)
        windows = sum(len(window) - 1 for window in text_windows(self.design.tokenizer))
        return self._ask_quiz().times(asked) + Work(rows=windows * self.layers * (len(mine) + 1))

    # ---- interventions ----

    def _sweep_steering(self) -> Work:
        settings = self.config["steering"]
        doses = Doses(*(settings[name] for name in ("alphas", "clamps", "ablate", "units")))
        joint = [self._resolved(place) for place in settings["joint"]]
        places = places_of(self._resolved(settings["layers"]), joint)
        kinds, position = settings["directions"], settings["positions"]
        total = Work()
        for chosen, common in swept_prompts(
            self.prompts,
            Training.from_config(self.prompts, settings),
            settings["test_games"],
            settings["prompts"],
            self.seed,
            words="published" in kinds,
        ):
            along = len(kinds) if common else 1
            edits = along * _doses(doses) + common * settings["random_directions"] * _doses(
                doses.extremes()
            )
            blocks = sum(self.layers - min(place) for place in places)
            asked = labelled_prompts(chosen)
            total += self._base(asked)
            total += Work(forks=edits * blocks * self._steered_tokens(chosen, asked, position))
        return total

    def _steered_tokens(
        self, chosen: pd.DataFrame, asked: Sequence[LabelledPrompt], position: str
    ) -> int:
        """Return the tokens of all prompts that one edit computes again."""
        runs = label_runs(asked)
        if position == "all":
            return self.design.row_tokens([run.sequence for run in runs], PROMPTS_AT_ONCE)
        if position == "last":
            return sum(len(run.sequence) - run.length + 1 for run in runs)
        starts = chosen[position_column(position)].astype(int).tolist()
        return sum(len(run.sequence) - starts[run.prompt] for run in runs)

    def _ablate_heads(self) -> Work:
        settings = self.config["circuits"]
        chosen = choose_prompts(
            self.prompts,
            settings["games"],
            settings["prompts"],
            self.seed,
            "circuits prompts",
            key="circuits.games",
        )
        chosen = chosen[chosen["nash_action"].notna()].reset_index(drop=True)
        chosen = chosen.assign(phase=match_phases(chosen))
        choosing, testing = (labelled_prompts(chosen[chosen["phase"] == name]) for name in PHASES)
        layers = self.layers
        # What is ablated in block l changes blocks l and up. A group has some of each third.
        singles = (self.shape.heads + 1) * layers * (layers + 1) // 2
        groups = 2 * (settings["random_groups"] + 1) * layers
        total = Work()
        if settings["replacement"] == "mean":
            total += self._base(choosing, None)
        total += self._base(choosing) + Work(forks=_last_tokens(choosing) * singles)
        total += self._base(testing) + Work(forks=_last_tokens(testing) * groups)
        if settings["everywhere"] is None:
            return total
        wide = chosen[everywhere_rows(chosen, settings["everywhere"]["prompts"])]
        tokens = wide.groupby("phase")["token_ids"].agg(lambda ids: sum(map(len, ids)))
        # A forward and a backward pass for each that chooses, and most of a pass for each group.
        groups = settings["everywhere"]["random_groups"] + 1
        return total + Work(rows=(3 * tokens["choose"] + groups * tokens["test"]) * layers)

    def _patch_pairs(self) -> Work:
        settings = self.config["patching"]
        pairs = self.design.pairs
        total = Work()
        for kind in settings["kinds"]:
            chosen = choose_pairs(
                pairs, kind, settings["kinds"], settings["games"], settings["pairs"], self.seed
            )
            for direction in directions_of(kind, settings["directions"]):
                if len(chosen):
                    total += self._patched(chosen, direction, settings)
        return total

    def _patched(self, chosen: pd.DataFrame, direction: str, settings: Mapping[str, Any]) -> Work:
        names = ("ids", "source_ids") if direction == "destroy" else ("source_ids", "ids")
        into, source = (labelled_prompts(chosen, name) for name in names)
        paths = settings["paths"]
        wanted = [*settings["groups"], *settings["heads"], *(path_parts(one)[2] for one in paths)]
        groups = [group_indices(list(of_tokens), wanted) for of_tokens in chosen["groups"]]
        layers, batch = self._resolved(settings["layers"]), self.config["resources"]["batch_tokens"]
        copies = patched_copies(into, source, groups, settings, layers, self.shape, int(batch))
        if settings["screen"] is not None:
            copies = screened_work(copies, into, settings, layers, self.shape)
        copies += path_passes(into, groups, paths, self.layers)
        return self._base(into) + Work(rows=self._base(source).rows) + copies

    def _attribute_answers(self) -> Work:
        settings = self.config["attribution"]
        chosen = choose_decisions(self.prompts, settings["games"], settings["prompts"], self.seed)
        every = labelled_prompts(chosen)
        testing = labelled_prompts(chosen[chosen["phase"] == "test"])
        late = late_layers(self.layers, self.config["findings"]["late_fraction"])
        # As if half of them wrote against the Nash action, all the same.
        sizes = len(sizes_tried(max(1, len(late_components(late, self.shape.heads)) // 2)))
        draws, orders = settings["random_groups"], settings["orders"]
        changes = 3 + draws + sizes * (1 + orders)
        total = self._base(every, None) + self._base(testing)
        total += Work(forks=_last_tokens(testing) * changes * len(late))
        pairs = min(settings["pairs"] * len(settings["games"]), len(testing))
        if pairs:
            # Both prompts of a pair, each as the one that is changed and as the one that is read.
            some = self._base(testing[:pairs])
            total += some.times(4.0) + Work(forks=2 * pairs * (1 + draws) * len(late))
        return total

    def _spike_model(self) -> Work:
        settings = self.config["spikes"]
        used = neutral(self.prompts)
        conflicts = can_conflict(used)
        layers = self._resolved(settings["layers"])
        probed = self._resolved(self.config["probes"]["layers"], first=0)
        verdicts = count_verdicts(self.config, layers, probed, conflicts=len(conflicts) > 0)
        judging = Work(cpu=verdicts.operations())
        if not len(conflicts):
            return judging
        games = list(dict.fromkeys(conflicts["game"]))
        rows = [conflicts[conflicts["game"] == g].iloc[: settings["prompts"]] for g in games]
        asked = labelled_prompts(pd.concat(rows))
        # An override writes in every layer up to its own, a Nash code in its own.
        forks = len(asked) * sum(
            len(settings["logits"]) * 2 * self.layers + self.layers - layer for layer in layers
        )
        # Each residual is read over the vocabulary: as much work as so many packed passes.
        read = forks * self.shape.width * self.shape.vocab / self.shape.block_parameters()
        return self._base(asked, None) + Work(forks=forks, rows=read) + judging


def solving_operations(tokens: int, width: int) -> float:
    """Return the operations in float64 of solving for one layer's tuned lens.

    The smaller product, its eigenvectors, what each penalty predicts of the tokens held out, and
    the best one's matrix.
    """
    side = min(int(tokens * (1.0 - HELD_OUT)), width)
    tested = HELD_OUT * tokens * width * side
    fit = 2.0 * (2.0 * tokens * width * side + EIGEN * side**3 + width**2 * side)
    return fit + 2.0 * (1 + len(PENALTIES)) * tested


def _last_tokens(prompts: Sequence[LabelledPrompt]) -> int:
    """Return the tokens from the decision on, of all prompts' runs."""
    return sum(len(run.sequence) - run.length + 1 for run in label_runs(prompts))


def _doses(doses: Doses) -> int:
    """Return how many interventions along one direction at one place compute anything."""
    return sum(alpha != 0 for alpha in doses.alphas) + len(doses.clamps) + doses.ablate
