"""One rule a figure, so that each depends on its own tables, styles and code.

Figures draw tables of estimates, which the rules above make; one that several stages share is here.
"""

# A figure's own option -> its key of the config.
OPTION_KEYS = {
    "confidence": "findings.confidence",
    "min_label_mass": "lens.min_label_mass",
}


rule summarise_surface:
    input:
        prompts=results("prompts/{model}.parquet"),
        lens=results("lens/{model}.parquet"),
        play=results("play.parquet"),
    output:
        table=results("surface_summary/{model}.parquet"),
    log:
        results("logs/summarise_surface/{model}.log"),
    benchmark:
        results("benchmarks/summarise_surface/{model}.tsv")
    resources:
        **light_job(),
    params:
        **provenance("summarise_surface", reads=["findings.confidence"]),
    conda:
        "../envs/cpu.yaml"
    message:
        "Surface forms and the choices of {wildcards.model}"
    script:
        "../scripts/summarise_surface.py"


for figure in FIGURES:

    rule:
        name:
            f"draw_{figure}"
        input:
            **{table: table_files(table) for table in FIGURES[figure].tables},
        output:
            files=[
                report(
                    path,
                    caption=f"../workflow/report/{figure}.rst",
                    category="Figures",
                    labels=dict(zip(("figure", "format"), Path(path).name.split("."))),
                )
                for path in figure_files(figure)
            ],
        log:
            results(f"logs/draw_figure/{figure}.log"),
        benchmark:
            results(f"benchmarks/draw_figure/{figure}.tsv")
        resources:
            **light_job(),
        params:
            **provenance(
                f"draw_{figure}",
                reads=[
                    "figures.formats",
                    "figures.dpi",
                    "figures.palette",
                    f"figures.styles.{figure}",
                    *(OPTION_KEYS[option] for option in FIGURES[figure].options),
                ],
                modules=[FIGURES[figure].module],
            ),
            figure=figure,
        conda:
            "../envs/cpu.yaml"
        message:
            f"Figure {figure}"
        script:
            "../scripts/draw_figure.py"
