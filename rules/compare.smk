"""Several experiments side by side, from their findings as they are."""


rule compare_experiments:
    input:
        findings=[f"results/{name}/findings.parquet" for name in COMPARED],
    output:
        page=f"results/compare/{'--'.join(COMPARED)}.html",
    log:
        f"results/compare/logs/{'--'.join(COMPARED)}.log",
    benchmark:
        f"results/compare/benchmarks/{'--'.join(COMPARED)}.tsv"
    resources:
        **light_job(),
    params:
        **provenance("compare_experiments", files=lambda wildcards: PAGE_TEMPLATES),
    conda:
        "../envs/cpu.yaml"
    message:
        "Compare experiments"
    script:
        "../scripts/compare_experiments.py"
