"""Put the cells of a comparison together: tables and figure."""

from voxelwhy.comparison.summary import cell_table, method_table
from voxelwhy.doors import door
from voxelwhy.images import read_json

with door(snakemake) as job:
    cells = [read_json(path) for path in job.input.cells]
    cell_table(cells).to_csv(job.output.cells, sep="\t", index=False, lineterminator="\n", float_format="%.10g")
    method_table(cells).to_csv(job.output.methods, sep="\t", index=False, lineterminator="\n", float_format="%.10g")
