"""Activations as the rules store them: planned, extracted in parts, joined."""

import json

from nashlens.activations.extract import extract
from nashlens.activations.plan import join_manifest, plan_shards
from nashlens.files import write_json


def store_activations(
    engine, folder, prompts, tokens, *, parts=1, dtype="float32", fingerprint="f", **planned
):
    """Store prompts' activations; return the plan and the number of prompts that were run."""
    plan = plan_shards(folder, prompts, fingerprint=fingerprint, **planned)
    # From one job to the next it is a file.
    plan = json.loads(json.dumps(plan))
    how = {"parts": parts, "dtype": dtype, "places": getattr(tokens, "places", None)}
    made = [extract(engine, tokens, plan, folder, part=k, **how) for k in range(1, parts + 1)]
    manifest = join_manifest(plan, made, model="m", dtype=dtype, fingerprint="whole")
    write_json(folder / "manifest.json", manifest)
    return plan, sum(part["computed"] for part in made)
