"""Attention heads: what each one's ablation does to the Nash action, and a chosen group's."""


rule ablate_heads:
    input:
        prompts=results("prompts/{model}.parquet"),
        model="results/models/{model}/manifest.json",
    output:
        table=results("heads/{model}.parquet"),
    log:
        results("logs/ablate_heads/{model}.log"),
    benchmark:
        results("benchmarks/ablate_heads/{model}.tsv")
    threads: CONFIG["resources"]["threads"]
    resources:
        **model_job(),
    params:
        **provenance("ablate_heads", reads=[*PRECISION, "circuits", SEED]),
    conda:
        "../envs/gpu.yaml"
    message:
        "Ablated heads of {wildcards.model}"
    script:
        "../scripts/ablate_heads.py"
