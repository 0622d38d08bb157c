"""Linear probes, for each target, split and layer, and those of the untrained model."""


rule extract_untrained:
    input:
        prompts=results("prompts/{model}.parquet"),
        model="results/models/{model}/manifest.json",
    output:
        manifest=results("activations/{model}/untrained/manifest.json"),
    log:
        results("logs/extract_untrained/{model}.log"),
    benchmark:
        results("benchmarks/extract_untrained/{model}.tsv")
    threads: CONFIG["resources"]["threads"]
    resources:
        **model_job(),
        per_shard=CONFIG["activations"]["shard_prompts"],
    params:
        **provenance(
            "extract_untrained",
            reads=[*PRECISION, "activations.dtype", *UNTRAINED, SEED],
            # As the shards of the model itself.
            shard_fingerprint=Stage(
                of="model",
                reads=[*PRECISION, "activations.dtype", SEED],
                modules=[
                    "nashlens.activations.extract",
                    "nashlens.engine.core",
                    "nashlens.models.untrained",
                ],
            ),
        ),
    conda:
        "../envs/gpu.yaml"
    message:
        "Activations of {wildcards.model} with random weights"
    priority: 2
    script:
        "../scripts/extract_untrained.py"


rule fit_probes:
    input:
        prompts=results("prompts/{model}.parquet"),
        activations=results("activations/{model}/manifest.json"),
        lens=results("lens/{model}.parquet"),
        untrained=untrained_manifest,
    output:
        probes=results("probes/{model}.parquet"),
        probes_parts=results("probes_parts/{model}.parquet"),
        transfer=results("transfer/{model}.parquet"),
    log:
        results("logs/fit_probes/{model}.log"),
    benchmark:
        results("benchmarks/fit_probes/{model}.tsv")
    threads: spare_threads()
    resources:
        **light_job(),
    params:
        **provenance("fit_probes", reads=["probes", "prompts.rounds", *BOOTSTRAP, SEED]),
    conda:
        "../envs/gpu.yaml"
    message:
        "Probes on {wildcards.model}"
    priority: 2
    script:
        "../scripts/fit_probes.py"
