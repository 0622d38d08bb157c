"""Known effects put into each model, and whether the claims find them."""


rule spike_model:
    input:
        **made(
            override=results("override/{model}.parquet"),
            patching=results("patching/{model}.parquet"),
            heads=results("heads/{model}.parquet"),
        ),
        prompts=results("prompts/{model}.parquet"),
        lens=results("lens/{model}.parquet"),
        probes=results("probes/{model}.parquet"),
        activations=results("activations/{model}/manifest.json"),
        steering=results("steering/{model}.parquet"),
        model="results/models/{model}/manifest.json",
    output:
        spikes=results("spikes/{model}.parquet"),
        spikes_summary=results("spikes_summary/{model}.parquet"),
    log:
        results("logs/spike_model/{model}.log"),
    benchmark:
        results("benchmarks/spike_model/{model}.tsv")
    # Draws are judged side by side; the model runs as in every other job.
    threads: spare_threads()
    resources:
        **model_job(),
        model_threads=CONFIG["resources"]["threads"],
    params:
        **provenance(
            "spike_model",
            reads=[
                *PRECISION,
                "spikes",
                *(f"probes.{key}" for key in ("C", "folds", "permutations", "device")),
                "findings.confidence",
                "findings.late_fraction",
                "lens.min_label_mass",
                SEED,
            ],
        ),
    conda:
        "../envs/gpu.yaml"
    message:
        "Spike-ins in {wildcards.model}"
    script:
        "../scripts/spike_model.py"
