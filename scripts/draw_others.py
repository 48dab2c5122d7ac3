"""Average heatmaps of others, by group, over the template."""

from voxelwhy.io.images import read_json
from voxelwhy.jobs.doors import door
from voxelwhy.report.figures.others import draw_others

with door(snakemake) as job:
    cards = [read_json(path) for path in job.input.cards]
    for name, out in job.output.stems().items():
        group = name.removeprefix("heatmaps_")
        maps = [(path, card) for path, card in zip(job.input.maps, cards, strict=True) if card["group"] == group]
        draw_others(maps, job.input.t1, out, group=group, **job.settings["shown"])
