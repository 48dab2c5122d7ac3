"""Write the report: one page to read from top to bottom."""

from pathlib import Path

from voxelwhy.io.images import read_json
from voxelwhy.io.provenance import software_versions
from voxelwhy.io.tables import SELECTED, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.report.citations import choose_citations
from voxelwhy.report.costs import cost_section
from voxelwhy.report.methods_text import external_text, methods_text
from voxelwhy.report.page import write_report
from voxelwhy.report.sections import collect_sections

IMPORTED = "imported heatmaps"  # a separate heading; no split can have this name

with door(snakemake) as job:
    config, splits, simulated = (job.settings[name] for name in ("config", "splits", "simulated"))
    selected = read_table(job.input.selected, SELECTED)
    items = {split: [] for split in ["", *splits, IMPORTED]}
    for path in job.input.captions:
        part, name = Path(path).parts[2:4]  # results/<study>/<part>/…
        items[{"splits": name, "imported_maps": IMPORTED}.get(part, "")].append(path)
    for split, folder in zip(job.settings["explained"], job.input.scans, strict=True):
        items[split] += sorted(Path(folder).glob("*.json"))
    people = {"n_subjects": int(selected["subject_id"].nunique()), "n_scans": len(selected)}
    whole_heads = read_json(job.input.skull)["skull_stripped"] is False
    methods = methods_text(config, simulated=simulated, whole_heads=whole_heads, **people)
    methods += external_text([read_json(path) for path in job.input.external])
    # Run time and memory are read from files that are not inputs: they are shown here and affect no result.
    costs = cost_section(
        Path(snakemake.output.report).parent, writer=snakemake.rule, draws=config["evaluation"]["shuffled"]
    )
    write_report(
        collect_sections(items, methods=methods) + costs,
        job.output.report,
        title=config["study"],
        simulated=simulated,
        sentences={s: read_json(p)["sentences"] for s, p in zip(splits, job.input.summaries, strict=True)},
        versions=software_versions(),
        split_titles=job.settings["split_titles"],
        real=job.settings["real"],
        citations=choose_citations(config, simulated=simulated),
    )
