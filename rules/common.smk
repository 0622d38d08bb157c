"""What all rules share: the checked config, paths, `params:` and `resources:`."""

import os
import re
import sys
from dataclasses import astuple
from pathlib import Path

ROOT = Path(workflow.basedir)
# First-party code is found here, in this process.
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from nashlens import workers
from nashlens.figures.registry import FIGURES, STUDY
from nashlens.models.inspect import local_files
from nashlens.prompts.templates import TEMPLATES, vocabulary
from nashlens.vocabulary.models import ADAPTER_FILES, TOKENIZER_FILES
from nashlens.vocabulary.page import SHOWN as PAGE_SHOWN, TRACED as PAGE_TRACED
from nashlens.vocabulary.play import BELIEF_OPPONENTS
from nashlens.vocabulary.stages import INTERVENTION, NULLABLE, left_out_by
from workflow.call import (
    calibrating,
    config_layers,
    nested,
    planning,
    put_nulls,
    take_asked,
    verifying,
)
from workflow.choice import choose_by_records
from workflow.claims import begin_run
from workflow.experiment import Experiment, export_path, more_each_try
from workflow.fingerprint import OPTIONAL
from workflow.intake import watch
from workflow.provenance import STRATEGIES, Stage
from workflow.scheduler import mend_scheduler
from workflow.slurm import be_patient

# And here in the jobs' Python.
export_path(ROOT, ROOT / "src")
# Only executors that run jobs elsewhere are given a number of nodes.
REMOTE = workflow.resource_settings.nodes is not None

if workflow.is_main_process:
    watch(workflow.config_settings)
# A job on a cluster has a Snakemake of its own, which ends as well.
mend_scheduler()


configfile: "config.yaml"


if calibrating():

    configfile: "experiments/calibration.yaml"


LAYERS = config_layers(workflow)
put_nulls(config, LAYERS[-1])
ASKED = take_asked(config)
EXPERIMENT = Experiment.load(
    config,
    ROOT,
    lambda: workflow.rules,
    LAYERS,
    problems=ASKED.problems,
    # Jobs on a cluster parse this file again: what was checked once holds.
    preflight=workflow.is_main_process and not nested(),
    dry_run=workflow.output_settings.dryrun or verifying() or planning(),
    remote=REMOTE,
)
CONFIG = EXPERIMENT.config
COMPARED = ASKED.compared or [EXPERIMENT.name]
MODELS = EXPERIMENT.models
GROUPS = EXPERIMENT.groups
PARTS = CONFIG["resources"]["parts"]
# The published protocol asks about the games' own words.
HAS_LADDER = "actions" in CONFIG["prompts"]["label_sets"].values()

# Keys of the config that several rules read.
SEED = "experiment.seed"
# How a model is loaded: several GPUs add up in another order than one.
PRECISION = [f"models.{{model}}.{key}" for key in ("dtype", "quantization", "device", "parallel")]
SURFACES = [
    "matches.templates",
    "matches.label_sets",
    "prompts.label_sets",
    "prompts.label_maps",
    "prompts.option_orders",
    "prompts.system",
]
GAMES = [
    f"games.{{game}}.{key}" for key in ("canonical", "payoffs", "actions", "title", "variants")
]
UNTRAINED = ["probes.random_weights", "probes.positions", "prompts.rounds"]
BOOTSTRAP = ["findings.confidence", "findings.bootstrap"]


wildcard_constraints:
    model=r"[A-Za-z0-9._-]+",
    group=r"[A-Za-z0-9._-]+",
    part=r"\d+",
    parts=r"\d+",


if workflow.is_main_process:
    if not nested():
        begin_run()
    if REMOTE:
        be_patient()
    # What is on disk, and right, decides which jobs run.
    choose_by_records(
        workflow,
        EXPERIMENT.provenance,
        EXPERIMENT.digests,
        rerun_versions=CONFIG["experiment"]["versions"] == "rerun",
    )

if workflow.is_main_process and not REMOTE:
    limits = workflow.global_resources
    if EXPERIMENT.here and "gpu" not in limits:
        # On this machine jobs share the GPUs as far as their memory fits; which one a job gets is
        # for its lease (workflow/leases.py). What the command line limits is its own.
        limits.setdefault("gpu_mb", sum(gpu.total for gpu in EXPERIMENT.here))
    else:
        # Of GPUs that nothing is known of: one job at a time.
        limits.setdefault("gpu", max(1, EXPERIMENT.gpus()))


def results(path):
    """Return a path inside this experiment's results."""
    return f"results/{EXPERIMENT.name}/{path}"


def table_files(table):
    """Return the files of a table, as the rules above make it: one, or one for each model.

    Tables of steered players are those of the models that play as one.
    """
    made = {str(path) for rule in workflow.rules for path in rule.output}
    if results(f"{table}.parquet") in made:
        return results(f"{table}.parquet")
    models = EXPERIMENT.steered_models() if left_out_by(table) == INTERVENTION else MODELS
    return expand(results(f"{table}/{{model}}.parquet"), model=models)


PAGE_TEMPLATES = sorted(map(str, (ROOT / "src" / "nashlens" / "page" / "templates").iterdir()))
"""Texts that the page is made of besides code."""


def left_out(tables):
    """Say whether the config leaves out a stage that makes one of some tables."""
    nulls = {key for key in NULLABLE if CONFIG[key] is None}
    nulls |= set() if EXPERIMENT.steered else {INTERVENTION}
    return any(left_out_by(table) in nulls for table in tables)


def made(**inputs):
    """Return the inputs, tables by name, without those of stages that the config leaves out."""
    return {name: path for name, path in inputs.items() if not left_out([name])}


def model_tables(table):
    """Return a table of each model, or nothing where the config leaves its stage out."""
    return list(made(**{table: table_files(table)}).values())


SHOWN = [name for name in STUDY if not left_out(FIGURES[name].tables)]
"""Figures of the study that this config has tables for."""


def figure_files(name):
    """Return a figure's files: page by page, one for each format."""
    pages = range(1, FIGURES[name].pages(len(MODELS)) + 1)
    stems = [f"figures/{name}" if page == 1 else f"figures/{name}_{page}" for page in pages]
    return [
        results(f"{stem}.{format}") for stem in stems for format in CONFIG["figures"]["formats"]
    ]


def untrained_manifest(wildcards):
    """Return the activations of the model with random weights, where they can be had.

    Random weights are neither quantised nor spread over GPUs.
    """
    model = CONFIG["models"][wildcards.model]
    whole = model["quantization"] == "none" and model["parallel"] == "none"
    if not (whole and CONFIG["probes"]["random_weights"]):
        return []
    return results(f"activations/{wildcards.model}/untrained/manifest.json")


def own_files(wildcards):
    """Return the files that a model is made from, where they are a user's own, as inputs."""
    kind, _, location = CONFIG["models"][wildcards.model]["source"].partition(":")
    own = [str(Path(location).expanduser())] if kind == "gguf" else []
    # Snakemake takes braces in an input for wildcards, and nothing escapes them.
    files = [*own, *added_files(wildcards)]
    return [path for path in files if "{" not in path and "}" not in path]


def source_files(wildcards):
    """Return all files that a model is made from: what they hold counts, wherever they lie."""
    source = CONFIG["models"][wildcards["model"]]["source"]
    return [*map(str, local_files(source)), *added_files(wildcards)]


def added_files(wildcards):
    """Return a model's adapter and tokenizer: what they hold counts, wherever they lie."""
    model = CONFIG["models"][wildcards["model"]]
    parts = [(model["adapter"], ADAPTER_FILES), (model["tokenizer"], TOKENIZER_FILES)]
    paths = [
        Path(folder).expanduser() / name
        for folder, names in parts
        if folder is not None
        for name in names
    ]
    return [str(path) for path in paths if path.name in ADAPTER_FILES or path.is_file()]


def made_up_code(wildcards):
    """Name the code that makes a planted or a random model: it is no part of a real one."""
    kind = CONFIG["models"][wildcards["model"]]["source"].partition(":")[0]
    shape = [name for name in OPTIONAL if name.startswith("nashlens.models.")]
    return {
        "planted": ["nashlens.planted"],
        "shape": [*shape, "nashlens.planted.tokenizer"],
    }.get(kind, [])


def planted_words(wildcards):
    """Return the words that a planted or a random model knows, and the wording it is trained in."""
    kind, _, name = CONFIG["models"][wildcards["model"]]["source"].partition(":")
    if kind not in ("planted", "shape"):
        return []
    return [vocabulary(), *(astuple(TEMPLATES["neutral"]) if name.startswith("trained") else ())]


def claim_modules(letters):
    """Name the modules of claims, by the letters that they start with: they are found by name."""
    folder = ROOT / "src" / "nashlens" / "findings" / "claims"
    return [
        f"nashlens.findings.claims.{path.stem}" for path in sorted(folder.glob(f"[{letters}]*.py"))
    ]


def provenance(name, reads=(), modules=(), uses=None, words=None, files=None, anew=False, **pieces):
    """Return the `params:` of the script rule of a name.

    They are the slice of the config that the rule `reads`, and the fingerprint of that slice, of
    the script's code closure and of everything that made the rule's input. Whatever changes a
    result changes it, and nothing else does: so a downstream file never looks current when an
    upstream rule failed. `modules` are code that the script imports by name at run time, `uses`
    wordings and strategies that its code names (those that the slice names count by themselves),
    `words` a value that counts, `files` a user's own whose bytes count, `anew` says that the job is
    about what lies on disk, so that who asks is answered anew, and `pieces` are further
    fingerprints, of what a job keeps for later runs.
    """
    more = {"uses": uses or {}, "words": words, "files": files}
    stage = Stage(reads, modules, anew=anew, pieces=pieces, **more)
    return EXPERIMENT.provenance.params(name, stage)


def cluster_default(name):
    """Return a default resource that a profile sets for the rules to read, as written, or None."""
    default = (workflow.resource_settings.default_resources or {}).get(name)
    return None if default is None else default.raw


GPU_PARTITION, GPU_REQUEST = map(cluster_default, ("gpu_partition", "gpu_request"))
MOST = {name: cluster_default(f"most_{name}") for name in ("mem_mb", "runtime")}
# What is a plain word or number is no expression to be evaluated anew for every job.
for defaults in [workflow.resource_settings._parsed_default_resources]:
    for name, default in list(defaults.items()):
        if re.fullmatch(r"[\w.-]+", str(default.raw)) and name != "tmpdir":
            defaults[name] = default.raw


def gpu_job(ask, gpus):
    """Return the `resources:` that ask for a GPU.

    How a cluster's GPU is asked for (`gpu` or `gres`) and where is for the profile to say. On a
    machine the memory of it counts. A resource that no job here needs is left out: each is computed
    for every job.

    Parameters
    ----------
    ask, gpus : callable
        From wildcards and the rule's name to what a job asks of the GPUs where it runs, and from
        wildcards to their number.
    """
    resources = {}
    if not (workflow.is_main_process and REMOTE):
        resources["gpu_ask"] = ask
    if workflow.is_main_process and not REMOTE:
        resources["gpu_mb"] = lambda wildcards, rulename: EXPERIMENT.gpu_mb(
            ask(wildcards, rulename)
        )
    if not EXPERIMENT.gpus():
        return resources
    if GPU_REQUEST == "gres":
        resources["gres"] = lambda wildcards: f"gpu:{n}" if (n := gpus(wildcards)) else None
    else:
        resources["gpu"] = lambda wildcards: gpus(wildcards) or None
    if GPU_PARTITION:
        others = cluster_default("slurm_partition")
        resources["slurm_partition"] = lambda wildcards: (
            GPU_PARTITION if gpus(wildcards) else others
        )
    # One task, however many GPUs: some versions of SLURM's plugin start one for each.
    return {**resources, "tasks_per_gpu": 0}


def memory(wildcards, rulename, threads, attempt):
    """Return the memory that a job asks for, more with each try."""
    first = EXPERIMENT.mem_mb(wildcards, rulename, threads)
    return more_each_try(first, MOST["mem_mb"])(wildcards, attempt)


def converting_job():
    """Return the `resources:` of a rule that holds a model's weights and runs nothing."""
    return {
        "mem_mb": memory,
        "runtime": more_each_try(CONFIG["resources"]["model_runtime"], MOST["runtime"]),
    }


def model_job():
    """Return the `resources:` of a rule that runs a model."""
    return {
        **converting_job(),
        "batch_tokens": CONFIG["resources"]["batch_tokens"],
        **gpu_job(EXPERIMENT.model_ask, EXPERIMENT.gpus),
    }


def lens_gpu(tuned):
    """Return the `resources:` that ask for a share of a GPU, to read a lens there."""
    return gpu_job(
        lambda wildcards, rulename: EXPERIMENT.readout_ask(wildcards.model, tuned=tuned),
        lambda wildcards: min(1, EXPERIMENT.gpus(wildcards)),
    )


NESTED_CALL = {
    "configfiles": [os.path.relpath(path) for path in workflow.config_settings.configfiles],
    "settings": list(workflow.config_settings.config_args or []),
}
"""`params:` of a job that reads the Snakefile again."""


def spare_threads():
    """Return the threads of a job that works on its layers side by side.

    A cluster counts what a job asks for, so there it is what the config says.
    """
    least = CONFIG["resources"]["threads"]
    cores = workflow.resource_settings.cores
    if REMOTE or not cores:
        return least
    if not workflow.is_main_process:
        # In the job itself: its own cores.
        return cores
    return workers.spare_threads(min(cores, os.cpu_count() or 1), len(MODELS), least)


def lens_threads(wildcards):
    """Return the threads of a lens: a GPU reads layers one after the other."""
    here = not REMOTE and EXPERIMENT.readout_ask(wildcards.model, tuned=False)
    return CONFIG["resources"]["threads"] if here else spare_threads()


def light_job():
    """Return the `resources:` of every other rule."""
    return {
        "mem_mb": memory,
        "runtime": more_each_try(CONFIG["resources"]["light_runtime"], MOST["runtime"]),
    }
