"""Planted against found, where every model is a planted one."""


rule calibrate:
    input:
        **{
            table: expand(results(f"{table}/{{model}}.parquet"), model=MODELS)
            for table in ("probes", "lens_summary", "steering", "findings", "beliefs")
        },
        **made(
            override=expand(results("override/{model}.parquet"), model=MODELS),
            spikes_summary=expand(results("spikes_summary/{model}.parquet"), model=MODELS),
            steered_matches=results("steered_matches.parquet"),
        ),
        games=results("games.parquet"),
        models=expand("results/models/{model}/manifest.json", model=MODELS),
    output:
        table=results("calibration.parquet"),
        csv=results("calibration.csv"),
        summary=results("calibration_summary.csv"),
        rates=results("calibration_rates.parquet"),
    log:
        results("logs/calibrate.log"),
    benchmark:
        results("benchmarks/calibrate.tsv")
    resources:
        **light_job(),
    params:
        **provenance(
            "calibrate",
            reads=[*BOOTSTRAP, "findings.q_value", "models.{model}.family", SEED],
            modules=claim_modules("bs"),
        ),
    conda:
        "../envs/cpu.yaml"
    message:
        "Planted against found"
    script:
        "../scripts/calibrate.py"
