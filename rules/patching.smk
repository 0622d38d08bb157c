"""Pairs of prompts that differ in one thing, and what patching from one into the other does."""


rule build_pairs:
    input:
        games=results("games.parquet"),
        model="results/models/{model}/manifest.json",
    output:
        table=results("pairs/{model}.parquet"),
    log:
        results("logs/build_pairs/{model}.log"),
    benchmark:
        results("benchmarks/build_pairs/{model}.tsv")
    resources:
        **light_job(),
    params:
        **provenance(
            "build_pairs",
            reads=[
                "prompts",
                "games.{game}.histories",
                "patching.kinds",
                "patching.games",
                SEED,
            ],
        ),
    conda:
        "../envs/cpu.yaml"
    message:
        "Counterfactual pairs of prompts for {wildcards.model}"
    # Patching waits for it.
    priority: 1
    script:
        "../scripts/build_pairs.py"


rule patch_pairs:
    input:
        pairs=results("pairs/{model}.parquet"),
        model="results/models/{model}/manifest.json",
    output:
        table=results("patching/{model}.parquet"),
    log:
        results("logs/patch_pairs/{model}.log"),
    benchmark:
        results("benchmarks/patch_pairs/{model}.tsv")
    threads: CONFIG["resources"]["threads"]
    resources:
        **model_job(),
    params:
        **provenance("patch_pairs", reads=[*PRECISION, "patching", SEED]),
    conda:
        "../envs/gpu.yaml"
    message:
        "Patching between the pairs of {wildcards.model}"
    # Spikes wait for it; short jobs fill the cores at the end.
    priority: 1
    script:
        "../scripts/patch_pairs.py"


rule summarise_patching:
    input:
        patching=results("patching/{model}.parquet"),
    output:
        table=results("patching_summary/{model}.parquet"),
    log:
        results("logs/summarise_patching/{model}.log"),
    benchmark:
        results("benchmarks/summarise_patching/{model}.tsv")
    resources:
        **light_job(),
    params:
        **provenance("summarise_patching", reads=[*BOOTSTRAP, SEED]),
    conda:
        "../envs/cpu.yaml"
    message:
        "Effects of patching {wildcards.model}"
    script:
        "../scripts/summarise_patching.py"
