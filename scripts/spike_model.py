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


def main(inputs, outputs, config, fingerprint, model, threads, model_threads, batch_tokens):
    folder = Path(inputs["model"]).parent
    loaded = load_model(folder, **config["models"][model], threads=model_threads)
    engine, options = Engine(loaded, batch_tokens), dict(config["spikes"])
    layers = resolve_layers(options.pop("layers"), engine.n_layers, first=1, key="spikes.layers")
    how = {"resamples": options.pop("resamples"), **config["experiment"], **config["findings"]}
    late = how.pop("late_fraction")
    tables = spike_tables(
        engine,
        load_readout(folder),
        ActivationStore(inputs["activations"]).layer,
        {name: read_table(inputs[name]) for name in TABLES if name in inputs},
        SpikeSettings(**options, layers=layers, threads=threads),
        JudgeSettings(model, **how, late_fraction=late, **config["lens"]),
        ProbeSettings(**config["probes"], **how, model=model),
    )
    for name, table in tables.items():
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
