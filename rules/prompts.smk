"""Decision prompts of each model's tokenizer, counterbalanced over surface forms."""


rule build_prompts:
    input:
        games=results("games.parquet"),
        model="results/models/{model}/manifest.json",
    output:
        table=results("prompts/{model}.parquet"),
    log:
        results("logs/build_prompts/{model}.log"),
    benchmark:
        results("benchmarks/build_prompts/{model}.tsv")
    resources:
        **light_job(),
    params:
        **provenance(
            "build_prompts",
            reads=["prompts", "games.{game}.histories", "activations.positions", SEED],
        ),
    conda:
        "../envs/cpu.yaml"
    message:
        "Decision prompts for {wildcards.model}"
    # The longest chain of jobs starts here, so that nothing waits for it in the end.
    priority: 2
    script:
        "../scripts/build_prompts.py"
