"""The claims, judged for each model, of all data and of its parts, and then together."""


rule judge_findings:
    input:
        prompts=results("prompts/{model}.parquet"),
        probes=results("probes/{model}.parquet"),
        probes_parts=results("probes_parts/{model}.parquet"),
        lens=results("lens/{model}.parquet"),
        steering=results("steering/{model}.parquet"),
        heads=results("heads/{model}.parquet"),
    output:
        findings=results("findings/{model}.parquet"),
        sensitivity=results("sensitivity/{model}.parquet"),
    log:
        results("logs/judge_findings/{model}.log"),
    benchmark:
        results("benchmarks/judge_findings/{model}.tsv")
    resources:
        **light_job(),
    params:
        **provenance("judge_findings"),
    conda:
        "../envs/cpu.yaml"
    message:
        "Claims about {wildcards.model}"
    script:
        "../scripts/judge_findings.py"


rule join_findings:
    input:
        findings=expand(results("findings/{model}.parquet"), model=MODELS),
        sensitivity=expand(results("sensitivity/{model}.parquet"), model=MODELS),
    output:
        findings=results("findings.parquet"),
        findings_csv=report(
            results("findings.csv"),
            caption="../workflow/report/findings_table.rst",
            category="Findings",
        ),
        sensitivity=results("sensitivity.parquet"),
        sensitivity_csv=report(
            results("sensitivity.csv"),
            caption="../workflow/report/sensitivity_table.rst",
            category="Findings",
        ),
    log:
        results("logs/join_findings.log"),
    benchmark:
        results("benchmarks/join_findings.tsv")
    resources:
        **light_job(),
    params:
        **provenance("join_findings"),
    conda:
        "../envs/cpu.yaml"
    message:
        "Findings over all models"
    script:
        "../scripts/join_findings.py"
