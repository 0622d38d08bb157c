"""Rule spike_model: known effects put into a model, and whether the claims find them."""

from pathlib import Path

from nashlens.activations.store import ActivationStore
from nashlens.config.layers import resolve_layers
from nashlens.engine.core import Engine
from nashlens.findings.claim import JudgeSettings
from nashlens.models.load import load_model
from nashlens.models.weights import load_readout
from nashlens.probes.design import ProbeSettings
from nashlens.steering.spikes import SpikeSettings, spike_tables
from nashlens.tables import read_table, write_table
from workflow.job import run_job

TABLES = ("prompts", "lens", "probes", "heads", "steering", "override", "patching")


def main(inputs, outputs, config, fingerprint, model, threads, batch_tokens):
    folder = Path(inputs["model"]).parent
    engine = Engine(load_model(folder, **config["models"][model], threads=threads), batch_tokens)
    options, rules = dict(config["spikes"]), config["findings"]
    layers = resolve_layers(options.pop("layers"), engine.n_layers, first=1, key="spikes.layers")
    mass, seed = config["lens"]["min_label_mass"], config["experiment"]["seed"]
    how = {"confidence": rules["confidence"], "resamples": options.pop("resamples"), "seed": seed}
    tables = spike_tables(
        engine,
        load_readout(folder),
        ActivationStore(inputs["activations"]).layer,
        {name: read_table(inputs[name]) for name in TABLES if name in inputs},
        SpikeSettings(**options, layers=layers, threads=threads),
        JudgeSettings(model, **how, late_fraction=rules["late_fraction"], min_label_mass=mass),
        ProbeSettings(**config["probes"], **how, model=model),
    )
    for name, table in tables.items():
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
