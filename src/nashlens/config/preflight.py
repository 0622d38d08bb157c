"""Checks that need the world outside the config, made before any job starts.

Files, models, devices, layer counts and tokenizers. Nothing is downloaded and no weights are
read; torch is not imported (a quantised model needs it, through bitsandbytes).
"""

from __future__ import annotations

import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from nashlens.config.cross import used_models
from nashlens.config.layers import resolve_layers
from nashlens.config.notes import design_problems
from nashlens.config.problems import dotted_path, problem_line
from nashlens.config.prompt_checks import PreflightFacts, prompt_problems
from nashlens.config.rules import RefusedError, lines_of, passed, places
from nashlens.config.sections import Config, ModelConfig
from nashlens.errors import ConfigError, ModelError, NashlensError
from nashlens.gpus import visible_gpus
from nashlens.models.intact import StrangerError, check_files
from nashlens.models.manifest import read_manifest
from nashlens.models.source import Source, user_path
from nashlens.vocabulary.patching import path_parts

SEABORN_PALETTES = ("deep", "muted", "pastel", "bright", "dark", "colorblind", "husl", "hls")


def preflight(
    config: Config,
    converted: Mapping[str, Path | None],
    *,
    dry_run: bool = False,
    remote: bool = False,
    say: Callable[[str], None] | None = None,
) -> list[str]:
    """Check a configuration against the machine and the models.

    Parameters
    ----------
    config : Config
        Or what of one passed (`check`): what reads a value that is wrong already says nothing.
    converted : mapping of str to path or None
        For each model in use the folder that it is converted to, None (or no such folder) where
        it is not converted yet. A manifest there of the same source saves looking at the source.
    dry_run : bool
        Nothing will be run: GPUs and the hub need not be there.
    remote : bool
        Jobs run on other machines (a cluster): GPUs need not be here, but must be asked for.
    say : callable, optional
        Is given one line for each chat template that is mended, or adds words to every prompt.

    Returns
    -------
    list of str
        One line a problem; empty where all is well.
    """
    problems = [*_palette_problems(config), *design_problems(config)]
    with ExitStack() as stack:
        for name in used_models(config):
            model = config.models[name]
            try:
                facts = _facts(name, model, converted.get(name), dry_run, stack)
            except RefusedError:
                facts = PreflightFacts()
            problems += facts.problems
            problems += lines_of(_adapter_problems, name, model)
            problems += lines_of(_tokenizer_problems, name, model)
            for check in (_device_problems, _pipeline_problems, _quantization_problems):
                problems += lines_of(check, name, model, dry_run, remote)
            problems += lines_of(_tensor_problems, name, model, facts.tokenizer, dry_run, remote)
            problems += _layer_problems(config, name, facts.n_layers)
            problems += _path_problems(config, name, facts.n_layers)
            try:
                problems += prompt_problems(config, name, facts, say)
            except NashlensError as error:
                problems.append(_source_line(name, model, str(error)))
    return problems


def _facts(
    name: str, model: ModelConfig, folder: Path | None, dry_run: bool, stack: ExitStack
) -> PreflightFacts:
    if folder is not None:
        # Damage is no problem here: it takes the manifest away, and the model is converted again.
        try:
            manifest = read_manifest(folder, mend=not dry_run)
            if manifest.get("source") == model.source:
                check_files(folder, weights=False, mend=not dry_run)
                n_layers = manifest.get("n_layers")
                return PreflightFacts(n_layers if isinstance(n_layers, int) else None, folder)
        except StrangerError as error:
            return PreflightFacts(problems=(_source_line(name, model, str(error)),))
        except ModelError:
            pass
    from nashlens.models.inspect import inspect_source
    from nashlens.models.source import parse_source

    try:
        source = parse_source(model.source)
        facts = inspect_source(source)
        found = list(facts.problems)
        if source.kind == "hub":
            if dry_run:
                found = []
            elif not found and facts.architecture is None:
                found = _unreachable(source.location, source.revision or "main")
        place = None
        if not found:
            with suppress(RefusedError):
                place = _tokenizer_folder(source, model, stack)
    except NashlensError as error:
        return PreflightFacts(problems=(_source_line(name, model, str(error)),))
    problems = tuple(_source_line(name, model, problem) for problem in found)
    stranger = source.kind != "planted"
    rows, special = facts.vocab_size, facts.special_tokens
    return PreflightFacts(
        facts.n_layers, place, facts.chat_template, special, stranger, rows, problems
    )


def _source_line(name: str, model: ModelConfig, problem: str) -> str:
    text = " ".join(problem.split())
    for prefix in (f"source {model.source!r}: ", f"{model.source}: "):
        text = text.removeprefix(prefix)
    return problem_line(("models", name, "source"), model.source, text)


def _adapter_problems(name: str, model: ModelConfig) -> Iterator[str]:
    """Yield why an adapter cannot be merged, as far as it and a source's own folder tell."""
    if model.adapter is None:
        return
    from nashlens.models.adapter import check_adapter, read_adapter
    from nashlens.models.weights import WeightReader

    path, source = ("models", name, "adapter"), model.source.partition(":")[2]
    try:
        adapter = read_adapter(model.adapter)
    except NashlensError as error:
        yield problem_line(path, model.adapter, str(error))
        return
    try:
        base = WeightReader(user_path(source)) if model.source.startswith("path:") else None
    except NashlensError:
        # That is the source's own problem.
        return
    try:
        if base is not None:
            check_adapter(adapter, base)
    except NashlensError as error:
        yield problem_line(path, model.adapter, str(error))


def _tokenizer_problems(name: str, model: ModelConfig) -> Iterator[str]:
    """Yield why a shape's tokenizer cannot be taken."""
    path = ("models", name, "tokenizer")
    if model.tokenizer is None:
        return
    if not model.source.startswith("shape:"):
        yield problem_line(
            path, model.tokenizer, f"{model.source} brings its own: set tokenizer: null"
        )
        return
    try:
        found = (user_path(model.tokenizer) / "tokenizer.json").is_file()
        why = "it has no tokenizer.json; give the folder of a tokenizer"
    except NashlensError as error:
        found, why = False, str(error)
    if not found:
        yield problem_line(path, model.tokenizer, why)


def _unreachable(repository: str, revision: str) -> list[str]:
    """Ask the hub for a model's page; any answer but 404 will do, as the model may be gated."""
    root = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    url = f"{root}/api/models/{repository}/revision/{revision}"
    unseen = "it is not in the cache and the hub cannot be reached"
    cure = "go online, or use path: with a local copy"
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5).close()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return [f"the hub has no {repository} at {revision}; check the name and revision"]
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        # The hub's own client may trust other certificates than Python does.
        if "CERTIFICATE" not in str(reason):
            return [f"{unseen} ({reason}); {cure}"]
    return []


def _tokenizer_folder(source: Source, model: ModelConfig, stack: ExitStack) -> Path | None:
    """Find a tokenizer that costs little to read; a GGUF file's does not."""
    if source.kind == "path":
        return user_path(source.location)
    if source.kind == "hub":
        from nashlens.models.inspect import cached_folder

        folder = cached_folder(source)
        return folder if folder is not None and (folder / "tokenizer.json").is_file() else None
    if source.kind == "shape" and model.tokenizer is not None:
        folder = user_path(model.tokenizer)
        return folder if (folder / "tokenizer.json").is_file() else None
    if source.kind in ("planted", "shape"):
        from nashlens.planted.recipes import find_recipe, write_recipe_tokenizer
        from nashlens.planted.tokenizer import write_words

        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if source.kind == "shape":
            write_words(folder)
        else:
            write_recipe_tokenizer(find_recipe(source.location), folder)
        return folder
    return None


def _device_problems(name: str, model: ModelConfig, dry_run: bool, remote: bool) -> Iterator[str]:
    path = ("models", name)
    if remote:
        if model.device.startswith("cuda") and not model.gpus:
            yield problem_line(
                (*path, "gpus"), 0, f"device {model.device} needs one: set it to 1 or more"
            )
        return
    if dry_run:
        return
    gpus = visible_gpus()
    _, _, index = model.device.partition(":")
    if not gpus and model.device.startswith("cuda"):
        yield problem_line(
            (*path, "device"), model.device, "there is no GPU here; allowed: auto, cpu"
        )
    elif index and int(index) >= gpus:
        yield problem_line((*path, "device"), model.device, f"allowed: cuda:0 to cuda:{gpus - 1}")


def _pipeline_problems(name: str, model: ModelConfig, dry_run: bool, remote: bool) -> Iterator[str]:
    if model.parallel == "pipeline" and not (dry_run or remote or visible_gpus()):
        yield problem_line(
            ("models", name, "parallel"), model.parallel, "there is no GPU here; allowed: none"
        )


def _quantization_problems(
    name: str, model: ModelConfig, dry_run: bool, remote: bool
) -> Iterator[str]:
    if model.quantization == "none" or dry_run or remote:
        return
    from nashlens.models.load import quantization_problem

    device = passed(model, "device", "auto") if visible_gpus() else "cpu"
    problem = quantization_problem(model.quantization, device)
    if problem:
        yield problem_line(("models", name, "quantization"), model.quantization, problem)


def _tensor_problems(
    name: str, model: ModelConfig, folder: Path | None, dry_run: bool, remote: bool
) -> Iterator[str]:
    if model.parallel != "tensor" or (dry_run and not remote):
        return
    from nashlens.models.inspect import read_config
    from nashlens.models.split import tensor_problem

    path, gpus = ("models", name, "parallel"), model.gpus if remote else visible_gpus()
    if gpus < 2:
        cure = f"set models.{name}.gpus to 2 or more" if remote else "allowed: none, pipeline"
        yield problem_line(
            path, model.parallel, f"it needs 2 GPUs or more, and there are {gpus}; {cure}"
        )
    elif folder is not None and (folder / "config.json").is_file():
        problem = tensor_problem(read_config(folder), gpus)
        if problem:
            yield problem_line(path, model.parallel, problem)


_LAYERS = {
    "probes.layers": 0,
    "steering.layers": 1,
    "steering.joint.*": 1,
    "patching.layers": 1,
    "spikes.layers": 1,
    "agents.*.intervention.layers": 1,
}
"""Keys of layers, and the first layer that each may name."""


def _layer_problems(config: Config, name: str, n_layers: int | None) -> Iterator[str]:
    if n_layers is None:
        return
    for pattern, first in _LAYERS.items():
        for path, spec, _ in places(config, pattern.split("."), partial=True):
            if path[0] == "agents" and passed(config.agents[str(path[1])], "model", None) != name:
                continue
            try:
                resolve_layers(spec, n_layers, first=first, key=dotted_path(path))
            except ConfigError as error:
                yield from (f"{problem}, in model {name}" for problem in error.problems)


def _path_problems(config: Config, name: str, n_layers: int | None) -> Iterator[str]:
    for path, found, _ in places(config, ["patching", "paths", "*"], partial=True):
        last = path_parts(found)[1].layer
        if n_layers is not None and last > n_layers:
            why = f"allowed: layers 1 to {n_layers} in model {name}"
            yield problem_line(path, found, why)


def _palette_problems(config: Config) -> Iterator[str]:
    allowed = f"allowed: {', '.join(SEABORN_PALETTES)}, or the name of a matplotlib colour map"
    for pattern in ("figures.palette", "figures.styles.*.palette"):
        for path, name, _ in places(config, pattern.split(".")):
            if name is not None and not _is_palette(name):
                yield problem_line(path, name, allowed)


def _is_palette(name: str) -> bool:
    if name in SEABORN_PALETTES:
        return True
    # Two seconds, only for palettes that seaborn takes and does not name itself.
    import seaborn

    try:
        seaborn.color_palette(name, 3)
    except ValueError:
        return False
    return True
