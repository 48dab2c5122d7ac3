"""Images of one session that differ in the parts of their names: which of them are chosen."""

from __future__ import annotations

from voxelwhy.cohort.readers import _bids_tables as tables
from voxelwhy.cohort.readers import _reading as reading

# Entities of a name that do not make an image another variant, as pybids names them.
SAYS_NO_VARIANT = ("subject", "session", "run", "suffix", "extension", "datatype", "fmap", "scans")


def drop_unchosen(records, entities):
    """Drop images that `entities` (cohort.entities) does not select, and images that are not magnitude images.

    An entity that is to be `none` must not be in the name.
    """
    for record in records:
        says = record["of_name"] | ({"session": record["session"]} if record["session"] else {})
        for entity, wanted in entities.items():
            found, wanted = says.get(entity), None if wanted == "none" else wanted
            if tables.comparable(found) != tables.comparable(wanted):
                record["detail_entity"] = f"{entity} {found or 'not in the name'}, not {wanted or 'without it'}"
                reading.drop([record], "not chosen by cohort.entities", detail="detail_entity")
        if says.get("part", "mag") != "mag":
            record["detail_part"] = f"part {says['part']}"
            reading.drop([record], "no magnitude image", detail="detail_part")


def keep_one_variant(records, run):
    """Keep one variant of a session, the one with the fewest entities in its name, and of its runs those `run` selects.

    Records already dropped do not count: if the first run has no file, the second is taken for the first.
    """
    sessions = {}
    for record in records:
        if record["reason"] is None:
            variants = sessions.setdefault((record["subject_id"], record["session"]), {})
            variants.setdefault(_variant(record), []).append(record)
    for variants in sessions.values():
        (_, runs), *others = sorted(variants.items(), key=lambda item: (len(item[0]), item[0]))
        # A name without a run comes first; of two formats of a run, .nii comes before .nii.gz.
        runs = sorted(runs, key=lambda record: (record["of_name"].get("run") or 0, record["name"]))
        runs, copies = _split_copies(runs)
        kept = runs if run == "all" else [runs[0 if run == "first" else -1]]
        _drop_others(copies, "the scan is used in another format", kept[0])
        _drop_others([record for record in runs if record not in kept], "another run of the session is used", kept[0])
        rest = [record for _, variant in others for record in variant]
        _drop_others(rest, "another variant of the session is used", kept[0])


def _variant(record):
    says = record["of_name"]
    return tuple(sorted((entity, str(value)) for entity, value in says.items() if entity not in SAYS_NO_VARIANT))


def _split_copies(runs):
    by_name = {}
    for record in runs:
        by_name.setdefault(record["scan_id"], []).append(record)
    return [same[0] for same in by_name.values()], [record for same in by_name.values() for record in same[1:]]


def _drop_others(records, reason, kept):
    for record in records:
        record["detail_kept"] = f"kept is {kept['name']}"
    reading.drop(records, reason, detail="detail_kept")
