"""Rule summarise_lens: which action a model's layers favour, in a few numbers and by layer."""

from nashlens.estimates import Bootstrap
from nashlens.lens.layers import layer_estimates
from nashlens.lens.summary import summarise_lens
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    lens, prompts = read_table(inputs["lens"]), read_table(inputs["prompts"])
    how = Bootstrap.from_config(config)
    summary = summarise_lens(lens, prompts, model=model, how=how)
    layers = layer_estimates(lens, prompts, model=model, name="logit", how=how)
    write_table(summary, outputs["summary"], config=config, fingerprint=fingerprint)
    write_table(layers, outputs["layers"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
