"""One rule a figure, so that each depends on its own tables, styles and code; and the report."""

for figure in FIGURES:

    rule:
        name:
            f"draw_{figure}"
        input:
            **{table: table_files(table) for table in FIGURES[figure][1]},
        output:
            files=[
                report(
                    path,
                    caption=f"../workflow/report/{figure}.rst",
                    category="Figures",
                    labels={"figure": figure, "format": path.rpartition(".")[2]},
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
            **provenance("draw_figure", figure),
            figure=figure,
        conda:
            "../envs/cpu.yaml"
        message:
            f"Figure {figure}"
        script:
            "../scripts/draw_figure.py"


rule build_report:
    input:
        figures=[path for figure in STUDY for path in figure_files(figure)],
        findings=results("findings.csv"),
    output:
        page=results("report.html"),
    log:
        results("logs/build_report.log"),
    benchmark:
        results("benchmarks/build_report.tsv")
    resources:
        **light_job(),
    params:
        **provenance("build_report"),
        configfiles=[os.path.relpath(path) for path in workflow.config_settings.configfiles],
        settings=workflow.config_settings.config_args,
    conda:
        "../envs/cpu.yaml"
    message:
        "Report"
    script:
        "../scripts/build_report.py"
