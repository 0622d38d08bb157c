"""The stages of the DAG as data: what each reads of the config, and what it stands on.

A stage is named as its rule and its script. It runs once for each *subject*: for the experiment,
for each model that an agent uses, for each group of play, or for each figure. `Provenance` turns
the table into what a rule's `params:` carry: the slice of the config that the stage reads, and a
fingerprint of that slice, of the stage's code, and of everything upstream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from nashlens.figures.registry import FIGURES, OPTIONS, STUDY
from workflow.fingerprint import code_hash, digest

SEED = "experiment.seed"
TOKENIZER = "nashlens.models.tokenizer"
PRECISION = ("models.{model}.dtype", "models.{model}.quantization", "models.{model}.device")
# The surface forms of play and of the quiz.
SURFACES = (
    "matches.templates",
    "prompts.label_sets",
    "prompts.label_maps",
    "prompts.option_orders",
    "prompts.system",
)
PLAY = (
    "agents.{agent}",
    "modes.{mode}",
    *PRECISION,
    *SURFACES,
    "prompts.assistant_prefix",
    "matches.skip_games",
    "matches.rounds",
    "matches.repetitions",
    "matches.scripted_repetitions",
    "matches.self_play",
    "matches.scripted",
    "matches.move_orders",
    "matches.sequential_games",
    "matches.temperature",
    "matches.horizon",
    "matches.history_window",
    "matches.talk_tokens",
    SEED,
)
PLAYED = (
    "nashlens.play.chunks",
    "nashlens.play.writer",
    "nashlens.engine.session",
    "nashlens.models.load",
    TOKENIZER,
)
BOOTSTRAP = ("findings.confidence", "findings.bootstrap")


@dataclass(frozen=True)
class Stage:
    """One stage: one rule and its script."""

    per: Literal["experiment", "model", "group", "figure"]
    """What it runs once for each of."""
    reads: Sequence[str] = ()
    """Keys of the config, dotted; `{model}`, `{agent}`, `{mode}`: one for each of the subject's."""
    upstream: Sequence[str] = ()
    """Stages whose files it reads."""
    modules: Sequence[str] = ()
    """Code that its script imports by name at run time, or all its code where it has no script."""
    script: str | None = None
    """The script, where it is not called as the stage; empty for none."""


STAGES: dict[str, Stage] = {
    "convert_model": Stage("model", ("models.{model}.source",)),
    "build_games": Stage("experiment", ("games", SEED)),
    "build_prompts": Stage("model", ("prompts", SEED), ("build_games", "convert_model")),
    # What a batch of matches hangs on beside the matches: a game added elsewhere changes none.
    "batches": Stage("group", PRECISION, ("convert_model",), PLAYED, script=""),
    "play_part": Stage("group", PLAY, ("build_games", "convert_model", "batches")),
    "join_play": Stage("experiment", (), ("play_part",)),
    "ask_quiz": Stage(
        "model",
        ("quiz", *PRECISION, *SURFACES, "matches.skip_games", SEED),
        ("build_games", "convert_model"),
    ),
    "join_quiz": Stage("experiment", (*BOOTSTRAP, SEED), ("ask_quiz",)),
    "measure_play": Stage(
        "experiment",
        (*BOOTSTRAP, "models.{model}.family", SEED),
        ("build_games", "join_play", "join_quiz", "convert_model"),
    ),
    # What a shard's content hangs on beside its prompts: a prompt added elsewhere changes none.
    "shards": Stage(
        "model",
        (*PRECISION, "activations.dtype"),
        ("convert_model",),
        ("nashlens.activations.extract", "nashlens.engine.core", "nashlens.models.load"),
        script="",
    ),
    "plan_activations": Stage("model", ("activations",), ("build_prompts", "shards")),
    "extract_activations": Stage(
        "model", (*PRECISION, "activations"), ("plan_activations", "convert_model")
    ),
    "join_activations": Stage("model", ("activations",), ("extract_activations",)),
    "read_lens": Stage("model", (), ("build_prompts", "join_activations", "convert_model")),
    "fit_tuned_lens": Stage("model", (*PRECISION, "lens.tuned_tokens", SEED), ("convert_model",)),
    "read_tuned_lens": Stage(
        "model", (), ("build_prompts", "join_activations", "convert_model", "fit_tuned_lens")
    ),
    "summarise_lens": Stage("model", (*BOOTSTRAP, SEED), ("build_prompts", "read_lens")),
    # As `shards`, for the model with random weights.
    "untrained_shards": Stage(
        "model",
        (*PRECISION, "activations.dtype", SEED),
        ("convert_model",),
        ("nashlens.activations.extract", "nashlens.engine.core", "nashlens.models.untrained"),
        script="",
    ),
    "extract_untrained": Stage(
        "model",
        (*PRECISION, "activations", "probes.random_weights", SEED),
        ("build_prompts", "untrained_shards"),
    ),
    "fit_probes": Stage(
        "model",
        ("probes", *BOOTSTRAP, SEED),
        ("build_prompts", "join_activations", "read_lens", "extract_untrained"),
    ),
    "fit_directions": Stage(
        "model", ("steering.train_games",), ("build_prompts", "join_activations")
    ),
    "sweep_steering": Stage(
        "model",
        (
            *PRECISION,
            "steering.test_games",
            "steering.layers",
            "steering.positions",
            "steering.alphas",
            "steering.clamps",
            "steering.ablate",
            "steering.random_directions",
            "steering.prompts",
            SEED,
        ),
        ("build_prompts", "fit_directions", "convert_model"),
    ),
    "ablate_heads": Stage(
        "model", (*PRECISION, "circuits", SEED), ("build_prompts", "convert_model")
    ),
    "judge_findings": Stage(
        "model",
        (*BOOTSTRAP, "findings.late_fraction", "lens.min_label_mass", SEED),
        ("build_prompts", "fit_probes", "read_lens", "sweep_steering", "ablate_heads"),
    ),
    "judge_play": Stage(
        "experiment",
        (*BOOTSTRAP, "models.{model}.family", SEED),
        ("measure_play", "build_games", "convert_model"),
    ),
    "join_findings": Stage("experiment", ("findings.q_value",), ("judge_findings", "judge_play")),
    "calibrate": Stage(
        "experiment",
        (*BOOTSTRAP, "findings.q_value", SEED),
        ("convert_model", "fit_probes", "summarise_lens", "sweep_steering", "judge_findings"),
    ),
    "build_report": Stage("experiment", (), ("draw_figure", "join_findings")),
}
TABLES = {
    "games": "build_games",
    "prompts": "build_prompts",
    "play": "join_play",
    "texts": "join_play",
    "quiz": "join_quiz",
    "matches": "measure_play",
    "metrics": "measure_play",
    "probes": "fit_probes",
    "transfer": "fit_probes",
    "lens": "read_lens",
    "lens_summary": "summarise_lens",
    "tuned_lens": "fit_tuned_lens",
    "lens_tuned": "read_tuned_lens",
    "steering": "sweep_steering",
    "heads": "ablate_heads",
    "findings": "join_findings",
    "sensitivity": "join_findings",
    "calibration": "calibrate",
}
"""Table as figures name it -> the stage that makes it."""
OPTION_KEYS = {
    "confidence": "findings.confidence",
    "resamples": "findings.bootstrap",
    "min_label_mass": "lens.min_label_mass",
}
"""A figure's own option -> its key of the config."""


def figure_stage(name: str) -> Stage:
    """Return the stage of one figure: its tables, its styles, its module."""
    module, tables = FIGURES[name]
    reads = ["figures.formats", "figures.dpi", "figures.palette", f"figures.styles.{name}"]
    reads += [OPTION_KEYS[option] for option in OPTIONS[name]]
    upstream = [TABLES[table] for table in tables]
    return Stage("figure", reads, upstream, [module], script="draw_figure")


class Provenance:
    """Slices and fingerprints of one experiment's stages.

    Parameters
    ----------
    config : mapping
        The checked config, as plain values.
    root : Path
        Where `scripts/` and `src/` lie.
    models : sequence of str
        The models that an agent uses.
    groups : mapping of str to sequence of str
        Group of play -> its agents.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        root: Path,
        models: Sequence[str],
        groups: Mapping[str, Sequence[str]],
    ):
        self.config = config
        self.root = root
        self.models = list(models)
        self.groups = groups
        self._fingerprints: dict[tuple[str, str], str] = {}
        self._code: dict[tuple[str, ...], str] = {}

    @cached_property
    def figures(self) -> list[str]:
        """Every figure of the study, by name."""
        return list(STUDY)

    def slice(self, stage: str, subject: str = "") -> dict[str, Any]:
        """Return what a stage reads of the config, nested as in the config."""
        agents = self.groups.get(subject, ())
        found = {
            "model": self._models_of(stage, subject),
            "agent": agents,
            "mode": sorted({self.config["agents"][agent]["mode"] for agent in agents}),
        }
        keys = []
        for key in self._stage(stage, subject).reads:
            kind = next((kind for kind in found if f"{{{kind}}}" in key), None)
            values = found[kind] if kind else ("",)
            keys += [key.replace(f"{{{kind}}}", value) for value in values]
        return pick(self.config, keys)

    def fingerprint(self, stage: str, subject: str = "") -> str:
        """Return the hash of a stage's slice, of its code, and of everything upstream."""
        known = self._fingerprints
        if (stage, subject) not in known:
            known[stage, subject] = digest(
                {
                    "slice": self.slice(stage, subject),
                    "code": self._code_hash(stage, subject),
                    "upstream": {
                        f"{name}/{other}": self.fingerprint(name, other)
                        for name, other in self.upstream(stage, subject)
                    },
                }
            )
        return known[stage, subject]

    def upstream(self, stage: str, subject: str = "") -> Iterator[tuple[str, str]]:
        """Yield the stages, with their subjects, whose files a stage reads."""
        own = self._stage(stage, subject)
        for name in own.upstream:
            per = "figure" if name == "draw_figure" else STAGES[name].per
            if per == "model":
                others = self._models_of(stage, subject)
            elif per == own.per:
                others = [subject]
            else:
                others = {
                    "experiment": [""],
                    "group": list(self.groups),
                    "figure": self.figures,
                }[per]
            yield from ((name, other) for other in others)

    def _stage(self, stage: str, subject: str) -> Stage:
        return figure_stage(subject) if stage == "draw_figure" else STAGES[stage]

    def _models_of(self, stage: str, subject: str) -> list[str]:
        per = self._stage(stage, subject).per
        if per == "model":
            return [subject]
        if per == "group":
            return self.group_models(subject)
        return self.models

    def group_models(self, group: str) -> list[str]:
        """List the models that play in a group, each once."""
        models = (self.config["agents"][agent]["model"] for agent in self.groups[group])
        return list(dict.fromkeys(model for model in models if model is not None))

    def _code_hash(self, stage: str, subject: str) -> str:
        own = self._stage(stage, subject)
        name = stage if own.script is None else own.script
        modules = list(own.modules)
        if stage == "convert_model" and self._source(subject).startswith("planted:"):
            modules.append("nashlens.planted")
        key = (name or stage, *modules)
        if key not in self._code:
            script = self.root / "scripts" / f"{name}.py" if name else None
            self._code[key] = code_hash(self.root / "src", script, modules)
        return self._code[key]

    def _source(self, model: str) -> str:
        return str(self.config["models"][model]["source"])


def pick(config: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return the part of a nested mapping under some dotted keys; keys that are not there are none.

    Names may hold dots (`models.qwen2.5.source`), so the longest name that fits is taken.
    """
    chosen: dict[str, Any] = {}
    for key in keys:
        source, target, parts = config, chosen, key.split(".")
        while parts:
            for end in range(len(parts), 0, -1):
                name = ".".join(parts[:end])
                if isinstance(source, Mapping) and name in source:
                    break
            else:
                break
            source, parts = source[name], parts[end:]
            if parts:
                target = target.setdefault(name, {})
            else:
                target[name] = source
    return chosen
