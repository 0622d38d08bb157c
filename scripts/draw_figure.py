"""Rules draw_NAME: one figure from its tables: its pages, each in every format."""

from pathlib import Path

import pandas as pd

from nashlens.figures.registry import FIGURES, draw
from nashlens.figures.style import save
from nashlens.tables import read_metadata, read_table
from workflow.job import run_job


def main(inputs, outputs, config, figure):
    frames, provenance = {}, {}
    for table, files in inputs.items():
        if isinstance(files, str):
            frames[table] = read_table(files)
            provenance[table] = read_metadata(files)["fingerprint"]
            continue
        # One file a model, named after it.
        parts = {Path(path).stem: path for path in files}
        read = [read_table(path).assign(model=model) for model, path in parts.items()]
        frames[table] = pd.concat(read, ignore_index=True)
        for model, path in parts.items():
            provenance[f"{table}/{model}"] = read_metadata(path)["fingerprint"]
    figures = config["figures"]
    settings = {**config.get("findings", {}), **config.get("lens", {})}
    look = {key: settings[key] for key in FIGURES[figure].options}
    look |= {"palette": figures["palette"]}
    look |= {k: v for k, v in figures["styles"].get(figure, {}).items() if v is not None}
    stems = list(dict.fromkeys(Path(path).with_suffix("") for path in outputs["files"]))
    for page, stem in enumerate(stems, 1):
        drawn = draw(figure, frames, page=page, pages=len(stems), **look)
        save(drawn, stem, figures["formats"], figures["dpi"], provenance)


if "snakemake" in globals():
    run_job(main, snakemake)
