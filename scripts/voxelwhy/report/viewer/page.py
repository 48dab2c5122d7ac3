"""The viewer of a split: one HTML page that holds the maps, the template, the atlas and the library that draws them."""

from __future__ import annotations

import base64
import gzip
import json
import math
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from voxelwhy.errors import InputError
from voxelwhy.report.figures.slices import SCALE_TO, SHOWN_FROM
from voxelwhy.report.figures.style import HOT
from voxelwhy.report.viewer.volumes import STEPS, MapGrid, pack_background, pack_labels, pack_map

#: A page is at most this large: groups of maps that would exceed it are named on the page and not shown.
MOST_BYTES = 12_000_000
#: The package that ships NiiVue, its module, and the licence that must go with it.
LIBRARY = "ipyniivue"
MODULE, LICENCE = "ipyniivue/static/widget.js", "licenses/LICENSE"
#: The banner of simulated data: its heading, and what it says.
BANNER = ("Simulated data.", "No scan behind these maps comes from a person; the program made them.")
_HERE = Path(__file__).parent


def write_viewer(
    groups, out_path, *, needed, background, mask, labels, atlas, figure, simulated, banner=BANNER, **words
):
    """Write the viewer: any map over the template in three slices, with regions, in one self-contained HTML file.

    Parameters
    ----------
    groups : {name: list of Viewed}; in their order, while the page stays below MOST_BYTES
    out_path : path of the HTML file
    needed : names of groups that are shown even if the page becomes larger
    background : path of the template that maps are drawn over; 0 outside the brain
    mask : path of the brain mask on the grid of the maps
    labels : path of the atlas on a grid in template space
    atlas : DataFrame by tables.ATLAS, the names of its regions
    figure : path of a png, shown where the browser cannot draw (no WebGL2) and in print
    simulated : bool, or str, as in the report
    banner : (heading, text) of the banner of simulated data
    **words : `title` of the page, `report`, the link back to the report, and `atlas_name`

    Raises
    ------
    InputError : the package that ships the drawing library is not installed, or there is no map.
    """
    grid = MapGrid.of(mask)
    texts, facts = {}, {"steps": STEPS, "shown_from": SHOWN_FROM, "scale_to": SCALE_TO, "colours": colour_maps()}
    texts["background"], facts["background"] = pack_background(background)
    texts["labels"], facts["labels"] = pack_labels(labels)
    facts["map_grid"] = grid.facts
    names = dict(zip(atlas["region_id"].astype(int).tolist(), atlas["region"].astype(str), strict=True))
    facts["regions"] = names
    library = read_library()
    texts["niivue"] = base64.b64encode(gzip.compress(library["module"], 9, mtime=0)).decode("ascii")
    picture = "data:image/png;base64," + base64.b64encode(Path(figure).read_bytes()).decode("ascii")
    used = sum(map(len, texts.values())) + len(picture) + 100_000  # page, script, licence and names
    maps, omitted = _pack_groups(groups, needed, grid, texts, MOST_BYTES - used)
    if not maps:
        raise InputError("there is no relevance map to show", file=out_path)
    facts["maps"] = maps
    page = _template().render(
        texts=texts,
        data=as_script(facts),
        script=(_HERE / "viewer.js").read_text(encoding="utf-8"),
        picture=picture,
        omitted=omitted,
        bar={sign: _stops(colours) for sign, colours in facts["colours"].items()},
        steps=STEPS,
        shown_from=SHOWN_FROM,
        scale_to=SCALE_TO,
        most_mb=round(MOST_BYTES / 1e6),
        simulated=simulated,
        banner=banner,
        library=library,
        block=grid.block,
        voxel_mm=facts["map_grid"]["step"][0],
        **words,
    )
    Path(out_path).write_text(page, encoding="utf-8")


def _pack_groups(groups, needed, grid, texts, room):
    """Add maps to `texts` group by group while there is room; returns their facts and the names of omitted groups."""
    facts, omitted = [], []
    for name, own in groups.items():
        packed = [(one, pack_map(grid.shown(one.image))) for one in own]
        entries = [_map_facts(one, values) for one, values in packed]
        size = sum(len(values["text"]) for _, values in packed) + len(json.dumps(entries))
        if name not in needed and size > room:
            omitted.append(name)
            continue
        room -= size
        for (_, values), entry in zip(packed, entries, strict=True):
            texts[f"map-{len(facts)}"] = values["text"]
            facts.append(entry)
    return facts, omitted


def _map_facts(one, values):
    entry = {"method": one.method, "group": one.group, "units": one.units, "n": one.n, "unit": values["unit"]}
    return entry | {"regions": _region_facts(one.regions)}


def _region_facts(table):
    """Rank and enrichment with its interval by region; {} for a map without ranks."""
    if table is None:
        return {}
    columns = ["enrichment", *(f"enrichment_{end}" for end in ("low", "high") if f"enrichment_{end}" in table)]
    rows = zip(table["region_id"].astype(int), table["rank"].astype(int), table[columns].to_numpy(float), strict=True)
    return {int(region): [int(rank), *map(_short, values)] for region, rank, values in rows}


def _short(value):
    return float(f"{value:.4g}") if math.isfinite(value) else None


def colour_maps(n_stops=9):
    """The two colour maps as NiiVue takes them: that of the figures for positive values, its blue mirror for negative.

    The first entry is transparent: it stands for values below the threshold.
    """
    stops = [0, *(1 + round(254 * n / (n_stops - 1)) for n in range(n_stops))]
    shares = [0.0, *((stop - 1) / 254 for stop in stops[1:])]
    red, green, blue, _ = zip(*(HOT(share, bytes=True) for share in shares), strict=True)
    channels = {name: [int(v) for v in own] for name, own in (("R", red), ("G", green), ("B", blue))}
    positive = channels | {"A": [0, *[255] * n_stops], "I": stops}
    return {"positive": positive, "negative": positive | {"R": channels["B"], "B": channels["R"]}}


def _stops(colours):
    """The visible colours of a colour map, as numbers of a CSS colour."""
    return [f"{red} {green} {blue}" for red, green, blue in zip(*(colours[name][1:] for name in "RGB"), strict=True)]


def read_library():
    """The module that draws, from the installed package: {"module": bytes, "licence": text, "version": text}.

    Raises
    ------
    InputError : the package is not installed.
    """
    try:
        package = distribution(LIBRARY)
    except PackageNotFoundError as error:
        hint = "install the packages of requirements.txt"
        raise InputError("the viewer needs a package that is not installed", found=LIBRARY, hint=hint) from error
    licences = [file for file in package.files or [] if str(file).endswith(LICENCE)]
    return {
        "module": Path(package.locate_file(MODULE)).read_bytes(),
        "licence": licences[0].read_text() if licences else "",
        "version": package.version,
    }


def as_script(facts):
    """JSON that can stand inside a script element: no text in it ends the element."""
    return json.dumps(facts, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _template():
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string((_HERE / "viewer.html.j2").read_text(encoding="utf-8"))
