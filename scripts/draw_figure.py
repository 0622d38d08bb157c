"""Rules draw_NAME: one figure from its tables, in every format."""

from pathlib import Path

import pandas as pd

from nashlens.figures.registry import OPTIONS, draw
from nashlens.figures.style import save
from nashlens.logs import start_logging
from nashlens.tables import read_metadata, read_table


def main(name, tables, outputs, slice):
    frames, provenance = {}, {}
    for table, files in tables.items():
        if isinstance(files, str):
            frames[table] = read_table(files)
            provenance[table] = read_metadata(files)["fingerprint"]
            continue
        # One file a model, named after it; the prompts do not say it inside.
        parts = {Path(path).stem: path for path in files}
        read = [read_table(path).assign(model=model) for model, path in parts.items()]
        frames[table] = pd.concat(read, ignore_index=True)
        for model, path in parts.items():
            provenance[f"{table}/{model}"] = read_metadata(path)["fingerprint"]
    figures = slice["figures"]
    settings = {**slice.get("findings", {}), **slice.get("lens", {})}
    settings["resamples"] = settings.get("bootstrap")
    style = {"palette": figures["palette"]}
    style |= {k: v for k, v in figures["styles"].get(name, {}).items() if v is not None}
    figure = draw(name, frames, **style, **{key: settings[key] for key in OPTIONS[name]})
    save(figure, Path(outputs[0]).with_suffix(""), figures["formats"], figures["dpi"], provenance)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.params.name,
        dict(snakemake.input.items()),
        snakemake.output,
        snakemake.params.slice,
    )
