"""nashlens: do language models compute the Nash action, and then suppress it?

    snakemake --cores 8 figures                                        everything, here
    snakemake --profile slurm figures                                  on a cluster
    snakemake --cores 8 figures --configfile experiments/paper.yaml    another experiment
    snakemake --cores 2 calibration                                    models of known mechanism
    snakemake --cores 1 plan                                           what it will take, first

Each target below is a stage that can be asked for by name; it makes what it needs. Files go to
results/EXPERIMENT/, converted models to results/models/.
"""


report: "workflow/report/workflow.rst"


include: "rules/common.smk"
include: "rules/games.smk"
include: "rules/models.smk"
include: "rules/prompts.smk"
include: "rules/play.smk"
include: "rules/quiz.smk"
include: "rules/activations.smk"
include: "rules/probes.smk"
include: "rules/lens.smk"
include: "rules/steering.smk"
include: "rules/circuits.smk"
include: "rules/patching.smk"
include: "rules/attribution.smk"
include: "rules/spikes.smk"
include: "rules/ladder.smk"
include: "rules/findings.smk"
include: "rules/calibration.smk"
include: "rules/figures.smk"
include: "rules/report.smk"
include: "rules/plan.smk"
include: "rules/compare.smk"
include: "rules/messages.smk"


# ---- targets ----


rule figures:
    default_target: True
    input:
        [path for figure in SHOWN for path in figure_files(figure)],
        results("findings.csv"),
        results("quiz.parquet"),
        results("metrics.parquet"),


rule games:
    input:
        results("games.parquet"),


rule prompts:
    input:
        expand(results("prompts/{model}.parquet"), model=MODELS),


rule play:
    input:
        results("play.parquet"),
        results("metrics.parquet"),
        results("steered_summary.parquet") if EXPERIMENT.steered else [],


rule quiz:
    input:
        results("quiz.parquet"),
        expand(results("beliefs/{model}.parquet"), model=MODELS),


rule activations:
    input:
        expand(results("activations/{model}/manifest.json"), model=MODELS),


rule probes:
    input:
        expand(results("probes/{model}.parquet"), model=MODELS),


rule lens:
    input:
        expand(
            results("{table}/{model}.parquet"),
            table=["lens_summary", "lens_tuned_layers", "effects"],
            model=MODELS,
        ),


rule steering:
    input:
        expand(results("steering_summary/{model}.parquet"), model=MODELS),


rule circuits:
    input:
        model_tables("heads_summary"),


rule patching:
    input:
        model_tables("patching_summary"),


rule attribution:
    input:
        model_tables("attribution_summary"),


rule spikes:
    input:
        model_tables("spikes_summary"),


rule ladder:
    input:
        figure_files("ladder"),
        results("ladder.csv"),


rule findings:
    input:
        results("findings.parquet"),
        results("findings.csv"),
        results("sensitivity.csv"),


rule calibration:
    input:
        figure_files("calibration"),
        results("calibration.csv"),
        results("calibration_summary.csv"),


rule report:
    input:
        results("report.html"),


rule plan:
    input:
        results("plan.csv"),


rule status:
    input:
        results("status.txt"),


rule compare:
    input:
        rules.compare_experiments.output,


rule all:
    input:
        rules.figures.input,


# What of the results is whole, damaged, stale or foreign; nothing is made.
rule verify:
    input:
        rules.figures.input,


localrules:
    all,
    games,
    prompts,
    play,
    quiz,
    activations,
    probes,
    lens,
    steering,
    circuits,
    patching,
    attribution,
    spikes,
    ladder,
    findings,
    figures,
    calibration,
    report,
    plan,
    status,
    compare,
    build_report,
    price_jobs,
    tell_status,
    verify,


include: "rules/verify.smk"
