"""Activations: a plan of shards, parts that compute them, and the manifest that joins them.

Shards lie in the folder of their part's JSON and are not declared, since Snakemake deletes the declared
outputs of a job that fails: what an interrupted job has finished is not computed again.
"""

# How many prompts a shard holds changes no result, so it is no part of what is read.
STORED = ["activations.dtype", "activations.positions"]


rule plan_activations:
    input:
        prompts=results("prompts/{model}.parquet"),
        model="results/models/{model}/manifest.json",
    output:
        plan=results("activations/{model}/plan.json"),
    log:
        results("logs/plan_activations/{model}.log"),
    benchmark:
        results("benchmarks/plan_activations/{model}.tsv")
    resources:
        **light_job(),
        per_shard=CONFIG["activations"]["shard_prompts"],
    params:
        **provenance(
            "plan_activations",
            reads=[*STORED, "prompts.rounds"],
            # What a shard depends on besides its prompts: one added elsewhere changes none.
            shard_fingerprint=Stage(
                of="model",
                reads=[*PRECISION, "activations.dtype"],
                modules=[
                    "nashlens.activations.extract",
                    "nashlens.engine.core",
                    "nashlens.models.load",
                ],
            ),
        ),
    conda:
        "../envs/cpu.yaml"
    message:
        "Which activations of {wildcards.model} are still to be computed"
    priority: 2
    script:
        "../scripts/plan_activations.py"


rule extract_activations:
    input:
        plan=results("activations/{model}/plan.json"),
        prompts=results("prompts/{model}.parquet"),
        model="results/models/{model}/manifest.json",
    output:
        part=results("activations/{model}/part-{part}-of-{parts}.json"),
    log:
        results("logs/extract_activations/{model}.{part}-of-{parts}.log"),
    benchmark:
        results("benchmarks/extract_activations/{model}.{part}-of-{parts}.tsv")
    threads: CONFIG["resources"]["threads"]
    resources:
        **model_job(),
    params:
        **provenance("extract_activations", reads=[*PRECISION, *STORED]),
    conda:
        "../envs/gpu.yaml"
    message:
        "Activations of {wildcards.model}, part {wildcards.part} of {wildcards.parts}"
    priority: 2
    script:
        "../scripts/extract_activations.py"


rule join_activations:
    input:
        plan=results("activations/{model}/plan.json"),
        parts=expand(
            results("activations/{{model}}/part-{part}-of-{parts}.json"),
            part=range(1, PARTS + 1),
            parts=PARTS,
        ),
    output:
        manifest=results("activations/{model}/manifest.json"),
    log:
        results("logs/join_activations/{model}.log"),
    benchmark:
        results("benchmarks/join_activations/{model}.tsv")
    resources:
        **light_job(),
    params:
        **provenance("join_activations", reads=STORED),
    conda:
        "../envs/cpu.yaml"
    message:
        "Manifest of the activations of {wildcards.model}"
    priority: 2
    script:
        "../scripts/join_activations.py"
