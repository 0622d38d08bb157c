"""Rule fit_probes: every target's probe at every layer, with its controls, and its transfer."""

from nashlens.activations.store import ActivationStore
from nashlens.config.layers import resolve_layers
from nashlens.probes.design import ProbeSettings
from nashlens.probes.study import study_probes
from nashlens.tables import read_table, write_table
from nashlens.vocabulary.positions import expand_positions
from nashlens.vocabulary.targets import CLAIM_TARGETS
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model, threads):
    options, store = config["probes"], ActivationStore(inputs["activations"])
    tables = study_probes(
        store,
        *(read_table(inputs[name]) for name in ("prompts", "lens")),
        resolve_layers(options["layers"], store.n_layers, first=0, key="probes.layers"),
        options["targets"],
        ProbeSettings(
            **{key: options[key] for key in ("C", "folds", "permutations", "device")},
            confidence=config["findings"]["confidence"],
            resamples=config["findings"]["bootstrap"],
            seed=config["experiment"]["seed"],
            model=model,
        ),
        part_targets=CLAIM_TARGETS,
        positions=expand_positions(options["positions"], config["prompts"]["rounds"]),
        untrained=ActivationStore(inputs["untrained"]) if inputs.get("untrained") else None,
        untrained_prompts=options["random_weights"],
        threads=threads,
    )
    for name, table in tables.items():
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
