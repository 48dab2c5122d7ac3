"""
Cohort: from any source to the one table of scans.

IN   the tables of the config (with ADNI's, ADNIMERGE where it is joined; of BIDS, those of the dataset), beside a
     folder of scans, or that folder alone; for the embedded cohort table and scans are simulated first
OUT  simulation/table.csv, scans/, truth/   the embedded cohort, as if downloaded, with what was planted in it
     simulation/manifest.tsv                what only the simulation knows of each scan
     simulation/confounds.tsv               what tells its classes apart beside the disease, and how strong that came out
     cohort/scans.tsv                       one row a scan that the study may use
     cohort/dropped.tsv                     each row that it does not use, with its reason
     cohort/skull.json                      whether the scans are brains or whole heads, and how that was seen

The scans of the embedded cohort are not declared as outputs: a scan whose bytes stay the same keeps its file, so that
a simulation that changes one scan registers one scan. What another study has simulated is taken from simulation.store:
no setting, and so in no params, since the files are the same.
"""

if SIMULATED:

    rule simulate_cohort:
        """Make the embedded cohort from the ICBM152 template."""
        output:
            table=study("simulation/table.csv"),
            manifest=study("simulation/manifest.tsv"),
            confounds=study("simulation/confounds.tsv"),
            truth=directory(study("simulation/truth")),
        log:
            study("logs/simulate_cohort.log"),
        benchmark:
            study("benchmarks/simulate_cohort.tsv")
        conda:
            "../../envs/voxelwhy.yaml"
        threads: 2
        resources:
            mem_mb=simulation_mem_mb,
            runtime=simulation_runtime,
            store=config["simulation"]["store"],
        params:
            settings=SIMULATION | {"scans": config["cohort"]["data_dir"]},
            code=code("simulate_cohort.py"),
        script:
            "../../scripts/simulate_cohort.py"


checkpoint parse_tables:
    """Read the diagnosis table: which scans the study may use, and why not the others."""
    input:
        cohort_tables,
    output:
        scans=study("cohort/scans.tsv"),
        dropped=study("cohort/dropped.tsv"),
        skull=study("cohort/skull.json"),
    log:
        study("logs/parse_tables.log"),
    benchmark:
        study("benchmarks/parse_tables.tsv")
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=grid_mem_mb,
        runtime=reading_runtime,
    params:
        settings={
            "cohort": config["cohort"],
            "skull_stripped": config["scans"]["skull_stripped"],
            "skip": sorted(config["registration"]["skip"]),
        },
        code=code("parse_tables.py", SOURCES[config["cohort"]["source"]]),
    script:
        "../../scripts/parse_tables.py"
