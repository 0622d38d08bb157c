"""The page: what was found, in one HTML file made from the tables."""


rule build_report:
    input:
        **made(**{table: table_files(table) for table in (*PAGE_SHOWN, *PAGE_TRACED)}),
        # Of each model, before the correction over all claims.
        model_findings=expand(results("findings/{model}.parquet"), model=MODELS),
    output:
        page=results("report.html"),
    log:
        results("logs/build_report.log"),
    benchmark:
        results("benchmarks/build_report.tsv")
    resources:
        **light_job(),
    params:
        **provenance(
            "build_report",
            reads=[
                "prompts.label_sets",
                "prompts.system",
                "matches.history_window",
                "modes.cot.anchor",
            ],
            modules=claim_modules("mbxsc"),
            files=lambda wildcards: PAGE_TEMPLATES,
        ),
        experiment=EXPERIMENT.name,
        configfiles=[os.path.relpath(path) for path in workflow.config_settings.configfiles],
        settings=workflow.config_settings.config_args,
    conda:
        "../envs/cpu.yaml"
    message:
        "Report"
    script:
        "../scripts/build_report.py"
