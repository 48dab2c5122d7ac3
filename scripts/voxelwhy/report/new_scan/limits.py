"""What the page of a new scan does not say, one sentence for each limit."""

from __future__ import annotations

from voxelwhy.io.tables import read_table
from voxelwhy.io.text import listing, method_name
from voxelwhy.io.trust_tables import TRUST


def list_limits(study, result):
    """The limits of a result, the most important first.

    Parameters
    ----------
    study : FinishedStudy of evaluation.new_scan
    result : dict, the content of result.json

    Returns
    -------
    list of (heading, text)
    """
    positive, negative = study.classes["positive"], study.classes["negative"]
    best, flagged = result["methods"][0], [one for one in result["checks"] if not one["passed"]]
    found = [
        (
            "Not a diagnosis.",
            "This is the output of research software that nobody has validated for patients. It must not be used to "
            "diagnose, treat or reassure anyone.",
        )
    ]
    if study.simulated:
        text = "The networks were trained on scans that a program made. Nothing here holds for a person."
        found.append(("Simulated study.", text))
    if flagged:
        named = listing([one["check"].split(",")[0].lower() for one in flagged])
        text = f"The scan differs from the cohort ({named}). Score, map and percentiles may then mean nothing."
        found.append(("Outside of the cohort.", text))
    found.append(
        (
            f"Only {positive} or {negative}.",
            f"The networks know these two classes. They give every scan a probability of {positive}, also one of "
            "another disease, and the probability refers to the shares of the classes in the study, not in a clinic.",
        )
    )
    found.append(("A map of the network.", _of_map(best)))
    found.append(("Calibration.", _of_calibration(study, result)))
    found.append(("Percentiles.", _of_percentiles(study, result)))
    return found


def _of_map(best):
    name = method_name(best["method"])
    return (
        f"It shows what changes the output of the networks, not where a disease is. It was made by {name}, "
        f"{best['phrase']} in this study."
    )


def _of_calibration(study, result):
    if result["study"]["temperatures"]:
        said = "Each network was calibrated on validation scans, by one temperature."
    else:
        said = "The networks were not calibrated."
    path = study.of_split("tables/trust.tsv")
    if path.exists():
        table = read_table(path, TRUST)
        own = table.loc[table["part"] == "Are the probabilities right?", "sentence"]
        said += f" In the study: {own.iloc[0][0].lower()}{own.iloc[0][1:]}" if len(own) else ""
    return said


def _of_percentiles(study, result):
    n = result["study"]["n_networks"]
    kind = "held-out subjects" if study.held_out else "subjects that the network may have been trained on"
    said = f"They compare the scan with the {kind} of this study, not with the population, and not by age or sex"
    said += ", and are not corrected for the number of regions."
    if n > 1:
        said += f" Each of these subjects was scored by one network, the new scan by {n}: its mean varies less."
    if result["scan"]["age"] is None:
        said += " Its age was not given, so it was not compared with the cohort's."
    return f"{said} A scan that is stored as its mirror image cannot be recognised."
