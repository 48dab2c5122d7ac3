"""Aggregate relevance by atlas region and group of scans, and compare it with that of shuffled diagnoses."""

from voxelwhy.evaluation.draws import compare_regions, join_folds
from voxelwhy.evaluation.people import adjusted_for, join_properties, known_columns
from voxelwhy.heatmaps.groups import Groups
from voxelwhy.io.tables import (
    ATLAS,
    COVARIATES,
    REGIONS,
    RELEVANCE,
    SELECTED,
    SHUFFLED,
    read_pieces,
    read_table,
    write_table,
)
from voxelwhy.io.trust_tables import CLASS_REGIONS
from voxelwhy.jobs.doors import door
from voxelwhy.regions.aggregate import aggregate_regions
from voxelwhy.regions.class_regions import compare_classes, no_subjects, subjects_by_region
from voxelwhy.splits.covariates import mean_by

with door(snakemake) as job:
    groups = Groups(*(job.settings[name] for name in ("classes", "judged", "target")))
    atlas = read_table(job.input.regions, ATLAS)
    regions = aggregate_regions(read_pieces(job.input.relevance, RELEVANCE), atlas, groups)
    tables = [read_table(path, SHUFFLED) for path in job.input.shuffled]
    draws = join_folds(tables)[job.wildcards.method] if tables else None
    regions = compare_regions(regions, draws, group=groups.classes["positive"])
    write_table(regions, job.output.regions, REGIONS)
    positive, selected = groups.classes["positive"], read_table(job.input.selected, SELECTED)
    if job.settings["target"] == "positive":
        pieces = read_pieces(job.input.relevance, RELEVANCE)
        people, enrichment = subjects_by_region(pieces, atlas["region_id"], target=positive)
    else:  # maps of patients and of controls answer different questions
        people, enrichment = no_subjects(len(atlas))
    covariates = read_table(job.input.covariates[0], COVARIATES) if job.input.covariates else None
    properties = join_properties(selected[["scan_id", "subject_id"]], selected, covariates)
    adjusted = adjusted_for(properties)
    people = people.merge(mean_by(properties, ["subject_id"], adjusted), on="subject_id", how="left")
    classes = compare_classes(
        people,
        enrichment,
        atlas,
        classes=groups.classes,
        covariates=people[known_columns(people, adjusted)],
        n_permutations=job.settings["permutations"],
        seed=job.settings["seed"],
    )
    write_table(classes, job.output.classes, CLASS_REGIONS)
