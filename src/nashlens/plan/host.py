"""Peak host memory of each rule's job: what a plan says, and what jobs ask for.

A sum of what the job holds at once, by the sizes of its model and of the design; nothing is read
and nothing counted one by one, since each call of Snakemake asks it of every job. Held against what
jobs took in `docs/benchmarks.md`, and by a test of every stage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nashlens.models.shapes import Shape
from nashlens.plan.memory import GB, peak_bytes
from nashlens.vocabulary.models import COMPILED_FROM
from nashlens.vocabulary.positions import expand_positions

LIGHT = 0.34 * GB
"""A process that reads, counts and draws tables: measured 0.10 to 0.32."""
TORCH = 0.42 * GB
"""The same with torch, and what it needs for one forward pass: measured 0.34 to 0.39."""
LIBRARIES = 0.56 * GB
"""The same with transformers or scikit-learn as well, before it has a model: 0.44 to 0.52."""
CUDA_BUILD = 0.28 * GB
"""What a torch that comes with CUDA takes more where no GPU is used: 0.64 in all of a job that has
nothing to do (docs/benchmarks.md)."""
CUDA = 1.3 * GB
"""The same where it uses one, the driver's context included: jobs of small models took 1.25 to 1.7
in all, of large ones 1.3 to 2.2."""
COMPILER = 5 * 0.35 * GB
"""Processes that compile (`engine.flex.COMPILERS`) and the one that starts them: 0.31 each."""
SNAKEMAKE = 0.25 * GB
"""Snakemake itself: it starts a job's script on a cluster's node, and some jobs read the Snakefile
again. Measured 0.19."""
UNKNOWN = 16 * GB
"""Of a model whose size nothing here tells."""
SHARD = 10 * GB
"""Largest file of published weights: where transformers reads them, as much of one is mapped."""
ROOM = 1.25
"""What is asked for over what is counted. The default takes 1.21 times that in one rule."""
_COPIES = 6 * (1 << 27)  # batches of residuals on their way (`engine.core.COPY_BYTES`)
_BLOCK, _PIECE = 4096, 512  # as in `lens.vocabulary`
_PROMPT = 8e3  # bytes of a row of the prompts table: its text, its tokens, and a copy
_ROW = 600.0  # bytes of a row of a stage's table in pandas, with the copy that is written

ON_MODEL = frozenset(
    {
        "play_part", "check_players", "ask_quiz", "ask_beliefs", "extract_activations",
        "extract_untrained", "fit_tuned_lens", "sweep_steering", "ablate_heads", "patch_pairs",
        "attribute_answers", "spike_model",
    }
)  # fmt: skip
"""Rules whose jobs run a model."""
READERS = frozenset({"read_lens", "read_tuned_lens"})
"""Rules whose jobs read residuals through an unembedding, on a GPU where the model may."""
SIDE_BY_SIDE = READERS | {"fit_probes", "spike_model"}
"""Rules whose jobs have as many threads as a machine has to spare."""
_WITH_TORCH = READERS | {"fit_probes"}
_WITH_SNAKEMAKE = {"price_jobs", "tell_status"}
_WITH_MORE = {
    *("build_report", "climb_ladder", "compare_experiments"),
    *("convert_model", "extract_untrained", "spike_model"),
}


@dataclass(frozen=True)
class HostJob:
    """A job, as far as its memory goes."""

    rule: str
    models: Sequence[str]
    """Models that it is about."""
    on_gpu: bool = False
    """Whether it runs them, or fits, on a GPU."""
    players: Sequence[str] = ()
    """Agents that play in it."""
    threads: int = 1


def host_bytes(job: HostJob, config: Mapping[str, Any], shapes: Mapping[str, Shape]) -> float:
    """Return the most bytes of host memory that a job takes.

    Parameters
    ----------
    job : HostJob
    config : mapping
        The checked config, doses of agents written out.
    shapes : mapping of str to Shape
        By model, of those that are known. A job that holds another one takes `UNKNOWN` for it.

    Returns
    -------
    float
    """
    known = [name for name in job.models if name in shapes]
    runs_model = job.rule in ON_MODEL
    base = LIGHT
    if runs_model or job.rule in _WITH_TORCH:
        base = TORCH
    if job.rule in _WITH_MORE:
        base = LIBRARIES
    if job.rule in _WITH_SNAKEMAKE:
        base = LIGHT + SNAKEMAKE
    if base > LIGHT and job.rule not in _WITH_SNAKEMAKE and cuda_build() and not job.on_gpu:
        base += CUDA_BUILD
    if job.on_gpu:
        large = any(shapes[name].parameters() >= COMPILED_FROM for name in known)
        base += CUDA + COMPILER * (runs_model and (large or not known))
    besides = _BESIDES.get(job.rule)
    total = base + sum(besides(config, name, shapes[name], job) for name in known if besides)
    if runs_model:
        total += sum(_running(config, name, shapes[name], job) for name in known)
    if runs_model or job.rule == "convert_model":
        total += UNKNOWN * (len(job.models) - len(known))
    if not known:
        # Of all models together.
        total += sum(_tables(config, job, shape) for shape in shapes.values())
    return total * ROOM


@cache
def cuda_build() -> bool:
    """Say whether the torch that is installed here comes with CUDA; it is not imported for that."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return False
    return (Path(found.origin).parent / "lib" / "libtorch_cuda.so").is_file()


def _places(config: Mapping[str, Any], section: str) -> int:
    """Return the number of single positions that a section names."""
    return len(expand_positions(config[section]["positions"], config["prompts"]["rounds"]))


def _running(config: Mapping[str, Any], name: str, shape: Shape, job: HostJob) -> float:
    """Return what a model that runs takes of the host."""
    model = config["models"][name]
    batch = int(config["resources"]["batch_tokens"])
    # Residuals on their way: of every token of a row, or of a few for each prompt that it holds.
    nodes = {
        "extract_activations": 6.0 * batch / 16 * _places(config, "activations"),
        "extract_untrained": 6.0 * batch / 16 * _places(config, "probes"),
        "fit_tuned_lens": 3.0 * batch,
    }.get(job.rule, 0.0)
    copies = min(_COPIES, nodes * (shape.layers + 1) * shape.width * 4)
    if job.on_gpu:
        # Weights pass through in pieces where we read them, and random ones are made there.
        ours = model["quantization"] == "none" and model["parallel"] in ("none", "tensor")
        ours = ours or _kind(config, name) == "shape"
        return copies + (0.0 if ours else min(stored_bytes(config, name, shape), SHARD))
    return peak_bytes(config, job.rule, name, shape, False, job.players) + copies


def stored_bytes(config: Mapping[str, Any], name: str, shape: Shape) -> float:
    """Return what a model takes on disk: in float32 where it is made here, else as published."""
    kind = _kind(config, name)
    if kind == "shape":
        return 2.0 * _ends(shape)
    return shape.parameters() * _size(config, name)


def prompts_asked(config: Mapping[str, Any]) -> int:
    """Return the number of decision prompts of a model."""
    prompts, games = config["prompts"], config["games"].values()
    crossed = math.prod(len(prompts[name]) for name in prompts["crossed"])
    forms = crossed * len(prompts["label_maps"]) * len(prompts["option_orders"])
    histories = sum(game["histories"] or prompts["histories"] for game in games)
    # Each history has its mirror image.
    return int(2 * histories * len(prompts["rounds"]) * forms)


def _kind(config: Mapping[str, Any], name: str) -> str:
    return str(config["models"][name]["source"].partition(":")[0])


def _size(config: Mapping[str, Any], name: str) -> float:
    return 4.0 if _kind(config, name) in ("package", "gguf", "planted") else 2.0


def _ends(shape: Shape) -> float:
    """Return the weights before the first and after the last block."""
    return shape.parameters() - shape.layers * shape.block_parameters()


def _conversion(config: Mapping[str, Any], name: str, shape: Shape, job: HostJob) -> float:
    kind = _kind(config, name)
    if kind in ("package", "gguf", "planted"):
        # All weights in float32, and a copy of what is being written.
        return 1.5 * 4.0 * shape.parameters() + 0.1 * GB
    if kind == "shape":
        return 2.0 * 2.0 * _ends(shape)
    merged = config["models"][name]["adapter"] is not None
    return 3.0 * 4.0 * shape.vocab * shape.width * merged


def _layer(config: Mapping[str, Any], shape: Shape) -> float:
    """Return the bytes of one layer's residuals in float32."""
    return 4.0 * prompts_asked(config) * shape.width


def _prompts(config: Mapping[str, Any]) -> float:
    return _PROMPT * prompts_asked(config)


def _readings(config: Mapping[str, Any], shape: Shape, places: int) -> float:
    """Return the bytes of a table with a row for each prompt and layer."""
    return _ROW * prompts_asked(config) * (shape.layers + 1) * places


def _vocabulary(config: Mapping[str, Any], name: str, shape: Shape, rows: int) -> float:
    """Return what a pass of some residuals over the vocabulary takes: blocks, and the file."""
    logits = 28.0 * _BLOCK * min(rows, _PIECE)
    block = _BLOCK * shape.width * 4.0 * (2.0 if _size(config, name) < 4 else 1.0)
    return _size(config, name) * shape.vocab * shape.width + logits + block


def _lens(config: Mapping[str, Any], name: str, shape: Shape, job: HostJob) -> float:
    rows = prompts_asked(config)
    residuals = (3.0 + 4.0 * job.threads) * _layer(config, shape)
    blocks = (job.threads - 1) * _BLOCK * (8.0 * shape.width + 28.0 * _PIECE)
    translators = 0.0
    if job.rule == "read_tuned_lens":
        translators = (2.0 * shape.layers + 4.0 * job.threads) * shape.width**2
    return (
        _vocabulary(config, name, shape, rows)
        + residuals
        + blocks
        + translators
        + _prompts(config)
        + _readings(config, shape, _places(config, "lens"))
    )


def _tuned(config: Mapping[str, Any], name: str, shape: Shape, job: HostJob) -> float:
    tokens, width = float(config["lens"]["tuned_tokens"]), float(shape.width)
    side = min(tokens, width)
    residuals = 4.0 * tokens * (shape.layers + 1) * width
    fit = 12.0 * width**2
    if not job.on_gpu:
        # In float64: both sides with their weighted copies, the decomposition, and the solutions.
        fit += 8.0 * (8.0 * tokens * width + 4.0 * side**2 + 2.0 * width**2)
    # All translators, as when it was measured; they now go to disk one by one, which asks for less.
    matrices = 2.0 * shape.layers * width**2
    return residuals + fit + matrices + _vocabulary(config, name, shape, 128)


def _probes(config: Mapping[str, Any], name: str, shape: Shape, job: HostJob) -> float:
    rows, width = prompts_asked(config), shape.width
    basis = 8.0 * rows * (width + min(rows, width))
    held = 4.0 * _layer(config, shape) + 2.0 * _prompts(config) + 0.1 * GB
    # Labels and decision values of all permutations, with copies.
    settings = config["probes"]
    held += 5.0 * 8.0 * rows * len(settings["targets"]) * settings["permutations"]
    if job.on_gpu or job.threads == 1:
        return held + (3.0 + 3.0 * job.threads) * basis
    # Layers are fitted in processes of their own.
    process = _process() + _layer(config, shape) + _prompts(config)
    return held + 3.0 * basis + job.threads * (process + 3.0 * basis)


def _process() -> float:
    """Return the bytes of a process that works beside a job's own: 0.46 GB were taken by each."""
    return TORCH + CUDA_BUILD * cuda_build()


def _directions(config: Mapping[str, Any], name: str, shape: Shape, job: HostJob) -> float:
    return 6.0 * _layer(config, shape) + _prompts(config)


def _spikes(config: Mapping[str, Any], name: str, shape: Shape, job: HostJob) -> float:
    readings = _readings(config, shape, _places(config, "lens"))
    # Draws are judged in processes of their own.
    aside = (
        job.threads * (_process() + _swept(config, name, shape, job)) if job.threads > 1 else 0.0
    )
    return 4.0 * _layer(config, shape) + _vocabulary(config, name, shape, 128) + readings + aside


def _swept(config: Mapping[str, Any], name: str, shape: Shape, job: HostJob) -> float:
    """Return the bytes of the sweep's table, and of another as long for what is made of it."""
    settings = config["steering"]
    if settings is None:
        return 0.0
    layers = settings["layers"]
    places = len(layers) if isinstance(layers, list) else shape.layers
    doses = len(settings["alphas"]) + len(settings["clamps"]) + 1
    # Random directions get the smallest and the largest dose of each kind.
    edits = len(settings["directions"]) * doses + settings["random_directions"] * min(doses, 5)
    # The published direction has prompts of its own.
    prompts = min(prompts_asked(config), settings["prompts"] * (len(settings["test_games"]) + 1))
    return 0.5 * _ROW * prompts * (places + len(settings["joint"])) * edits


def _of_prompts(config: Mapping[str, Any], name: str, shape: Shape, job: HostJob) -> float:
    return 2.0 * _prompts(config)


def _of_readings(config: Mapping[str, Any], name: str, shape: Shape, job: HostJob) -> float:
    return _prompts(config) + 2.0 * _readings(config, shape, _places(config, "lens"))


def _judged(config: Mapping[str, Any], name: str, shape: Shape, job: HostJob) -> float:
    """Return the same with what claims draw of the other tables."""
    return _of_readings(config, name, shape, job) + 0.08 * GB


def _attributed(config: Mapping[str, Any], name: str, shape: Shape, job: HostJob) -> float:
    """Return the bytes of what each component writes of each prompt, with a copy."""
    settings = config["attribution"]
    prompts = settings["prompts"] * len(settings["games"])
    return 2.0 * _ROW * prompts * shape.layers * (shape.heads + 1)


def _written(config: Mapping[str, Any], name: str, shape: Shape, job: HostJob) -> float:
    """Return the bytes of the weights' file, mapped once more for what components write.

    Beside a GPU it was not seen: pages of a file go where others need the memory.
    """
    return 0.0 if job.on_gpu else min(stored_bytes(config, name, shape), SHARD)


def _tables(config: Mapping[str, Any], job: HostJob, shape: Shape) -> float:
    """Return one model's share of the tables that a job over all models reads."""
    if job.rule in ("judge_lineage", "climb_ladder"):
        return _readings(config, shape, _places(config, "lens")) + _prompts(config)
    if job.rule in ("join_play", "measure_play", "judge_play", "measure_steered"):
        return _ROW * 4 * _decisions(config)
    return 0.0


def _decisions(config: Mapping[str, Any]) -> float:
    """Return about how many decisions a model's agents make in all, at most."""
    matches = config["matches"]
    games = sum(1 + game["variants"] for game in config["games"].values())
    agents = len(config["agents"])
    others = agents + 1 if matches["cross_play"] else 2
    pairings = matches["repetitions"] * others + matches["scripted_repetitions"] * agents
    return 2.0 * games * matches["rounds"] * pairings


_BESIDES: dict[str, Callable[[Mapping[str, Any], str, Shape, HostJob], float]] = {
    "attribute_answers": _written,
    "calibrate": _swept,
    "convert_model": _conversion,
    "build_prompts": _of_prompts,
    "build_pairs": _of_prompts,
    "plan_activations": _of_prompts,
    "extract_untrained": _of_prompts,
    "read_lens": _lens,
    "read_tuned_lens": _lens,
    "fit_tuned_lens": _tuned,
    "fit_probes": _probes,
    "fit_directions": _directions,
    "spike_model": _spikes,
    "sweep_steering": _swept,
    "summarise_steering": _swept,
    "summarise_lens": _of_readings,
    "summarise_tuned_lens": _of_readings,
    "estimate_effects": _of_readings,
    "judge_findings": _judged,
    "summarise_attribution": _attributed,
    "climb_ladder": _of_readings,
}
"""What a rule's job holds of a model besides a running one."""
