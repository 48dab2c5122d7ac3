"""The study of an assignment: the study itself, on its planted controls."""

from __future__ import annotations

import copy

from voxelwhy.evaluation.planted.pairs import PLANTED, SHAM
from voxelwhy.io.tables import LEAST_DRAWS

#: Sections that an assignment takes over as they are.
KEPT = ("seed", "use_gpu", "registration", "atlas", "training", "model", "heatmaps", "evaluation", "figures")


def planted_study(config, assignment, folder, *, n_pairs, skull_stripped=None):
    """Return the config of the study that runs a study's network and methods on its planted controls.

    It differs in the cohort, and in what depends on the number of subjects: a split has at most as many folds as there
    are pairs, and tests at most a third of them. At least 19 draws of shuffled labels are trained.

    Parameters
    ----------
    config : dict, of the study, complete
    assignment : int
    folder : path of the planted controls of this assignment (`cohort.plant_controls`)
    n_pairs : int
    skull_stripped : bool, whether the study treats its scans as brains; None if that was not examined

    Returns
    -------
    config : dict, to be checked and completed as any other
    """
    own = {name: copy.deepcopy(config[name]) for name in KEPT if name in config}
    own["study"] = f"{config['study']}/planted/{assignment}"
    classes = {side: {"name": name, "values": [name]} for side, name in (("positive", PLANTED), ("negative", SHAM))}
    places = {"table": f"{folder}/table.csv", "data_dir": f"{folder}/scans", "truth": f"{folder}/truth"}
    own["cohort"] = {"source": "folder", "classes": classes, **places}
    known = {True: "true", False: "false"}.get(skull_stripped)
    own["scans"] = config["scans"] | ({"skull_stripped": known} if known else {})
    own["registration"]["skip"] = {}
    if "architecture" in own.get("model", {}):  # which the rules have put in place of the network
        own["training"] = {key: value for key, value in own["training"].items() if key not in ("network", "options")}
    own["heatmaps"] |= {"others": [], "scans": []}
    own["evaluation"].pop("prevalence", None)
    own["evaluation"]["shuffled"] = max(LEAST_DRAWS, own["evaluation"]["shuffled"])
    own["trust"] = {"probes": "false", "seeds": 0}
    own["splits"] = [_smaller(split, n_pairs) for split in config["splits"] if split["heatmaps"]]
    return own


def _smaller(split, n_pairs):
    limits = {"folds": n_pairs, "test_subjects": max(1, n_pairs // 3)}
    return split | {name: min(split[name], most) for name, most in limits.items() if name in split}
