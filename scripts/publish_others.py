"""The regions with the most relevance in average heatmaps of others, by group."""

from voxelwhy.io.images import read_json
from voxelwhy.io.tables import OTHERS, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.report.tables import publish_others

with door(snakemake) as job:
    cards = [read_json(path) for path in job.input.cards]
    tables = [read_table(path, OTHERS) for path in job.input.regions]
    for name, out in job.output.stems().items():
        group = name.removeprefix("regions_")
        chosen = [number for number, card in enumerate(cards) if card["group"] == group]
        how = {"group": group, "atlas": job.settings["atlas"], "top": job.settings["top"]}
        publish_others([tables[n] for n in chosen], [cards[n] for n in chosen], out, **how)
