"""
Cohort: from any source to the one table of scans.

IN   the tables of the config (for ADNI also ADNIMERGE if it is joined; for BIDS those of the dataset) and a folder of
     scans, or that folder alone; for the embedded cohort, table and scans are simulated first
OUT  simulation/table.csv, scans/, truth/   the embedded cohort, as if downloaded, with what was planted in it
     simulation/manifest.tsv                what only the simulation knows of each scan
     simulation/confounds.tsv               what distinguishes its classes other than the disease, and how strongly
     cohort/scans.tsv                       one row for each scan that the study may use
     cohort/dropped.tsv                     each row that it does not use, with its reason
     cohort/covariates.tsv                  further columns of the table (cohort.covariates), if the config names any
     cohort/skull.json                      whether the scans are brains or whole heads, and how that was recognised

The scans of the embedded cohort are not declared as outputs: a scan whose bytes stay the same keeps its file, so that
a simulation that changes one scan registers one scan. A cohort that another study has simulated is taken from
simulation.store, which is not a setting of the study and not in any params, since the files are the same.
"""

if study.simulated:

    rule simulate_cohort:
        """Make the embedded cohort from the ICBM152 template."""
        output:
            table="<results>/simulation/table.csv",
            manifest="<results>/simulation/manifest.tsv",
            confounds="<results>/simulation/confounds.tsv",
            truth=directory("<results>/simulation/truth"),
        threads: 2
        resources:
            mem_mb=ask.simulation_mb,
            runtime=ask.simulation_minutes,
            store=config["simulation"]["store"],
        params:
            settings=study.recorded["simulation"] | {"scans": config["cohort"]["data_dir"]},
        script:
            "../../scripts/simulate_cohort.py"


checkpoint parse_tables:
    """Read the diagnosis table: which scans the study may use, and why others are not used."""
    input:
        lambda wildcards: tables_of(config["cohort"]),
    output:
        scans="<results>/cohort/scans.tsv",
        dropped="<results>/cohort/dropped.tsv",
        skull="<results>/cohort/skull.json",
    resources:
        mem_mb=ask.volume_mb,
        runtime=ask.reading_minutes,
    params:
        settings={
            "cohort": {key: value for key, value in config["cohort"].items() if key != "covariates"},
            "skull_stripped": config["scans"]["skull_stripped"],
            "modality": config["scans"]["modality"],
            "skip": sorted(config["registration"]["skip"]),
        },
        code=code_digest(SCRIPTS / "parse_tables.py", [SOURCES[config["cohort"]["source"]]]),
    script:
        "../../scripts/parse_tables.py"


if config["cohort"]["covariates"]:

    # A rule of its own, so that another covariate does not read the table of scans again, nor train anything.
    rule read_covariates:
        """Read the covariates of each scan from the table."""
        input:
            lambda wildcards: tables_of(config["cohort"]),
        output:
            covariates="<results>/cohort/covariates.tsv",
        # A column that does not exist is reported before anything is registered.
        priority: 100
        resources:
            runtime=ask.reading_minutes,
        params:
            settings=config["cohort"],
            code=code_digest(SCRIPTS / "read_properties.py", [SOURCES[config["cohort"]["source"]]]),
        script:
            "../../scripts/read_properties.py"
