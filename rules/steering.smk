"""Directions of each layer, and what adding, clamping or ablating them does."""

# Which prompts directions are fitted on; a sweep says which of its own have something new.
STEERING_TRAINING = [
    "steering.train_games",
    "steering.train_label_sets",
    "steering.train_templates",
]


rule fit_directions:
    input:
        prompts=results("prompts/{model}.parquet"),
        activations=results("activations/{model}/manifest.json"),
        model="results/models/{model}/manifest.json",
    output:
        directions=results("directions/{model}.npz"),
        table=results("directions/{model}.parquet"),
    log:
        results("logs/fit_directions/{model}.log"),
    benchmark:
        results("benchmarks/fit_directions/{model}.tsv")
    resources:
        **light_job(),
    params:
        **provenance(
            "fit_directions",
            reads=[
                "steering.directions",
                "steering.fit",
                "steering.concept_games",
                "steering.test_games",
                *STEERING_TRAINING,
            ],
        ),
    conda:
        "../envs/cpu.yaml"
    message:
        "Directions of {wildcards.model}"
    # What follows is long; short jobs fill the cores at the end.
    priority: 1
    script:
        "../scripts/fit_directions.py"


rule sweep_steering:
    input:
        prompts=results("prompts/{model}.parquet"),
        directions=results("directions/{model}.npz"),
        table=results("directions/{model}.parquet"),
        model="results/models/{model}/manifest.json",
    output:
        table=results("steering/{model}.parquet"),
    log:
        results("logs/sweep_steering/{model}.log"),
    benchmark:
        results("benchmarks/sweep_steering/{model}.tsv")
    threads: CONFIG["resources"]["threads"]
    resources:
        **model_job(),
    params:
        **provenance(
            "sweep_steering",
            reads=[
                *PRECISION,
                *STEERING_TRAINING,
                "steering.test_games",
                "steering.layers",
                "steering.joint",
                "steering.positions",
                "steering.alphas",
                "steering.units",
                "steering.clamps",
                "steering.ablate",
                "steering.random_directions",
                "steering.prompts",
                SEED,
            ],
        ),
    conda:
        "../envs/gpu.yaml"
    message:
        "Steering sweep of {wildcards.model}"
    priority: 1
    script:
        "../scripts/sweep_steering.py"


rule summarise_steering:
    input:
        steering=results("steering/{model}.parquet"),
    output:
        table=results("steering_summary/{model}.parquet"),
    log:
        results("logs/summarise_steering/{model}.log"),
    benchmark:
        results("benchmarks/summarise_steering/{model}.tsv")
    resources:
        **light_job(),
    params:
        **provenance("summarise_steering", reads=[*BOOTSTRAP, SEED]),
    conda:
        "../envs/cpu.yaml"
    message:
        "Dose and response of {wildcards.model}"
    script:
        "../scripts/summarise_steering.py"
