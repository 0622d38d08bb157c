"""Rule fit_probes: every target's probe at every layer, with its controls, and its transfer."""

from functools import partial

import torch

from nashlens.activations.plan import some_matches
from nashlens.activations.store import ActivationStore
from nashlens.config.layers import resolve_layers
from nashlens.probes import PartScores, Settings, add_choices, fit_probes, fit_transfer, usable
from nashlens.progress import progress
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model, threads):
    settings, seed = config["probes"], config["experiment"]["seed"]
    torch.set_num_threads(threads)
    if settings["device"] == "auto":
        settings = {**settings, "device": "cuda" if torch.cuda.is_available() else "cpu"}
    how = Settings(
        **{key: settings[key] for key in ("C", "folds", "permutations", "device")},
        confidence=config["findings"]["confidence"],
        resamples=config["findings"]["bootstrap"],
        seed=seed,
        model=model,
    )
    store = ActivationStore(inputs["activations"])
    prompts = add_choices(read_table(inputs["prompts"]), read_table(inputs["lens"]))
    untrained, some = None, None
    if inputs.get("untrained"):
        some = some_matches(prompts, settings["random_weights"], seed)
        untrained = ActivationStore(inputs["untrained"]).reader(some), some
    layers = resolve_layers(settings["layers"], store.n_layers, first=0, key="probes.layers")
    used, targets = usable(prompts), settings["targets"]
    load, parts = store.reader(used), PartScores(used, how, some)
    shown = partial(progress, unit="layer")
    probes = fit_probes(
        load,
        layers,
        prompts,
        targets,
        how,
        untrained=untrained,
        parts=parts,
        progress=partial(shown, name="probes"),
    )
    transfer = fit_transfer(
        load, layers, prompts, targets, how, progress=partial(shown, name="transfer")
    )
    tables = {"probes": probes, "probes_parts": parts.table(), "transfer": transfer}
    for name, table in tables.items():
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
