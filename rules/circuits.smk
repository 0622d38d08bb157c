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
    # Spikes wait for it; short jobs fill the cores at the end.
    priority: 1
    script:
        "../scripts/ablate_heads.py"


rule summarise_heads:
    input:
        heads=results("heads/{model}.parquet"),
    output:
        table=results("heads_summary/{model}.parquet"),
    log:
        results("logs/summarise_heads/{model}.log"),
    benchmark:
        results("benchmarks/summarise_heads/{model}.tsv")
    resources:
        **light_job(),
    params:
        **provenance("summarise_heads", reads=[*BOOTSTRAP, SEED]),
    conda:
        "../envs/cpu.yaml"
    message:
        "Effects of the heads of {wildcards.model}"
    script:
        "../scripts/summarise_heads.py"
