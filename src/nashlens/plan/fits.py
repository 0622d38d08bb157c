"""Whether models fit on the GPUs that their jobs ask for: asked before any job, with arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nashlens.models.shapes import Shape
from nashlens.plan.memory import CONTEXT, GB, peak_bytes


def gpu_problems(
    config: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    shapes: Mapping[str, Shape],
    each: float,
    most: int | None = None,
) -> list[str]:
    """Return why jobs of a model, or of a pair, cannot fit on the GPUs that they ask for.

    Parameters
    ----------
    config : mapping
        The checked config, doses of agents written out.
    groups : mapping of str to sequence of str
        Groups of play, each with its agents.
    shapes : mapping of str to Shape
        Those that are known; nothing is said of other models.
    each : float
        Bytes of one GPU.
    most : int, optional
        GPUs that there are on this machine, which models use that ask for none as well; by default
        as many as a job asks for.

    Returns
    -------
    list of str
        One line for each model, and for each pair of models that would fit by themselves.
    """
    models, agents = config["models"], config["agents"]
    gpus = {name: _gpus(models[name], most) for name in shapes}
    on_gpu = {name for name, number in gpus.items() if number}

    def needs(players: Sequence[str]) -> dict[str, float]:
        """Return the bytes that each model of some agents on GPUs needs at least, to play."""
        used = dict.fromkeys(agents[player]["model"] for player in players)
        return {
            m: peak_bytes(config, "play_part", m, shapes[m], True, players, roomy=False) + CONTEXT
            for m in used
            if m in on_gpu
        }

    alone: dict[str, float] = {}
    pairs: dict[tuple[str, ...], tuple[str, dict[str, float]]] = {}
    for group, players in groups.items():
        found = needs(players)
        for model, size in found.items() if len(found) == 1 else ():
            alone[model] = max(size, alone.get(model, 0.0))
        names = tuple(sorted(found))
        if len(names) > 1 and sum(found.values()) > sum(pairs.get(names, ("", {}))[1].values()):
            pairs[names] = group, found
    refused = {
        model: line
        for model, size in alone.items()
        if (line := _single_problem(model, models[model], gpus[model], size, each))
    }
    problems = list(refused.values())
    for group, found in pairs.values():
        if not any(
            m in refused or _single_problem(m, models[m], gpus[m], size, each)
            for m, size in found.items()
        ):
            problems += _pair_problems(group, models, gpus, found, each, most)
    return problems


def _gpus(model: Mapping[str, Any], most: int | None) -> int:
    """Return how many GPUs a model's job gets: on a machine that has some, one at least."""
    if model["gpus"] or not most or model["device"] == "cpu":
        return int(model["gpus"])
    return most if model["parallel"] != "none" else 1


def _single_problem(
    name: str, model: Mapping[str, Any], number: int, size: float, each: float
) -> str | None:
    gpus = number if model["parallel"] != "none" else 1
    if size <= gpus * each:
        return None
    cures = ["quantization: nf4"] if model["quantization"] == "none" else []
    wanted = -int(-size // each)
    cures.append(f"gpus: {wanted} with parallel: pipeline")
    return (
        f"models.{name}.gpus: found {model['gpus']}; it takes {size / GB:.1f} GB, and has"
        f" {gpus} x {each / GB:g} GB: set {' or '.join(cures)}"
    )


def _pair_problems(
    group: str,
    models: Mapping[str, Mapping[str, Any]],
    numbers: Mapping[str, int],
    found: Mapping[str, float],
    each: float,
    most: int | None,
) -> list[str]:
    asked = sum(numbers[name] for name in found)
    gpus = asked if most is None else min(asked, most)
    total = sum(found.values())
    # One that is not spread has a GPU of its own, where there are as many.
    spread = sum(size for name, size in found.items() if models[name]["parallel"] != "none")
    single = [size for name, size in found.items() if models[name]["parallel"] == "none"]
    fullest = total if gpus == 1 else spread / gpus + max(single, default=0.0)
    if fullest <= each:
        return []
    terms = " + ".join(f"{name} {size / GB:.1f}" for name, size in found.items())
    keys = " and ".join(f"models.{name}.gpus" for name in found)
    return [
        f"agents {group}: {terms} = {total / GB:.1f} GB, and their job"
        f" {'gets' if gpus < asked else 'asks for'} {gpus} x {each / GB:g} GB:"
        f" {'' if gpus < asked else f'set {keys} higher, or '}set matches.cross_play: false"
    ]
