"""Rule join_findings: all claims, with verdicts corrected over the whole family."""

from nashlens.findings import combine
from nashlens.findings.ladder import published
from nashlens.tables import read_table, read_tables, write_csv, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    each = [read_table(path) for path in inputs["findings"]]
    spikes = read_tables(inputs["spikes_summary"]) if inputs.get("spikes_summary") else None
    findings = combine(each, config["findings"]["q_value"], spikes=spikes)
    ladder = read_table(inputs["ladder"]) if inputs.get("ladder") else None
    tables = {
        "findings": published(ladder, findings),
        "sensitivity": read_tables(inputs["sensitivity"]),
    }
    for name, table in tables.items():
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)
        write_csv(table, outputs[f"{name}_csv"])


if "snakemake" in globals():
    run_job(main, snakemake)
