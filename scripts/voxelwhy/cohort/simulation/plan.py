"""Plan of the simulated cohort: who is scanned when, as in the table of a download, and the hidden parameters."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
from scipy.special import gammaincinv

from voxelwhy.cohort.simulation.variation import random_generator
from voxelwhy.errors import ConfigError

#: The columns of ADNI's table of downloaded images, merged with ADNIMERGE.
TABLE_COLUMNS = [
    "RID",
    "PTID",
    "VISCODE",
    "DX",
    "AGE",
    "PTGENDER",
    "EXAMDATE",
    "Image.ID",
    "Scan.Date",
    "Sequence",
    "Visit",
    "Month_bl",
    "Screen.Diagnosis",
    "Study.ID",
    "Series.ID",
]
#: Groups in order of their RIDs: subject k of group g always has RID 4 k + g + 1, whatever the group sizes.
GROUPS = ("CN", "Dementia", "MCI", "converter")
VISITS = {"Screening": ("bl", 0), "Month 12": ("m12", 12), "Month 24": ("m24", 24)}
SCREEN = {"CN": "NL", "MCI": "MCI", "Dementia": "AD"}
SEQUENCE = "MPR; GradWarp; B1 Correction; N3; Scaled"
#: Years from the first visit to the last, rounded up.
VISITS_TAKE = 2.1
CONVERTER_VISITS = ("Screening", "Month 24")


def plan_cohort(settings, seed):
    """One row per scan: the columns of the table, and the parameters that only the simulation knows.

    In addition to TABLE_COLUMNS: `path` (in the folder of scans), `state` (complete, missing, truncated), `number` (of
    the visit, from 0), `processed` (1, or 2 for the same acquisition processed again), `years` since the first visit,
    `age` at the scan, `sex`, `draw` and `subtype` (the severity and the subtype of the disease that are drawn for the
    subject, whatever the diagnosis) and `stage` (the share of that severity that the diagnosis shows).

    Draws depend on seed and RID only, never on the diagnosis. The k-th subjects of all groups are matched in age, sex,
    drawn severity and drawn subtype. A confound of age makes each patient older than the matched control by that many
    years, and all ages are drawn from a range that leaves room for it. The age of a converter is as drawn at both
    visits, because a diagnosis does not make anybody older.

    Raises
    ------
    ConfigError : `missing_files` or `truncated_files` name a scan that the cohort does not have.
    """
    rows = []
    for group_number, group in enumerate(GROUPS):
        for k in range(settings["subjects"].get(group, 0)):
            visits = CONVERTER_VISITS if group == "converter" else settings["visits"][k % len(settings["visits"])]
            rows += _subject_rows(settings, seed, k, group_number, visits)
    plan = pd.DataFrame(rows).sort_values(["RID", "number", "processed"], ignore_index=True)
    plan["path"] = [scan_path(row) for row in plan.to_dict("records")]
    plan["state"] = "complete"
    for state in ("missing", "truncated"):
        for name in settings[f"{state}_files"]:
            hit = (plan["PTID"] + "/" + plan["Visit"].str.replace(" ", "")) == name.replace(" ", "")
            if not hit.any():
                raise ConfigError(
                    f"simulation: {state}_files names a scan that this cohort does not have",
                    found=name,
                    allowed="PTID/Visit of the simulated table, such as 999_S_0005/Month 12",
                )
            plan.loc[hit, "state"] = state
    return plan


def scan_path(row):
    """The path of a scan in the folder of scans, by the path template of ADNI downloads."""
    visit = row["Visit"].replace(" ", "")
    date = row["Scan.Date"].replace("/", "-")
    return f"{row['PTID']}/{visit}/{row['PTID']}_{date}_{visit}_{row['Image.ID']}_{row['DX']}.nii.gz"


def severity_of(settings, row):
    """The severity that a scan shows: 1 is the planted change of volumes, 0 is no disease."""
    severity = settings["severity"]
    grown = row["draw"] + severity["per_year"] * row["years"]
    return float(np.clip(row["stage"] * grown, 0, severity["highest"]))


def age_range(settings):
    """The range from which ages at the first visit are drawn, in years.

    It leaves room for the follow-up visits and for a confound of age. If ages were clipped at the limit instead, the
    difference between the classes would be smaller than configured.
    """
    age, older = settings["age"], settings["confounds"]["age"]
    return age["lowest"] + max(0, -older), age["highest"] - VISITS_TAKE - max(0, older)


def _subject_rows(settings, seed, k, group_number, visits):
    group, rid = GROUPS[group_number], 4 * k + group_number + 1
    rng = random_generator(seed, "subject", rid)
    sex, age, draw = _matched_draws(settings, seed, k)
    subtype = drawn_subtype(settings["subtypes"], seed, k)
    if group == "Dementia":
        age += settings["confounds"]["age"]
    severity = settings["severity"]
    first = datetime.date(2005, 9, 1) + datetime.timedelta(days=int(rng.integers(0, 700)))
    jitter, wait = rng.integers(-20, 21, size=len(VISITS)), rng.integers(0, 21, size=len(VISITS))
    rows, seen = [], {}
    for visit in visits:
        number, (code, month) = list(VISITS).index(visit), VISITS[visit]
        seen[visit] = seen.get(visit, 0) + 1
        late = 0 if month == 0 else int(jitter[number])
        days = round(month * 30.4375) + late
        exam = first + datetime.timedelta(days=days)
        scan = exam + datetime.timedelta(days=int(wait[number]))
        dx = ("CN" if number == 0 else "Dementia") if group == "converter" else group
        # A future converter is less healthy than the diagnosis suggests: before the conversion, the stage is MCI's.
        stage = {"CN": severity["mci"] if group == "converter" else 0.0, "MCI": severity["mci"], "Dementia": 1.0}[dx]
        years = days / 365.25
        rows.append(
            {
                "RID": rid,
                "PTID": f"999_S_{rid:04d}",
                "VISCODE": code,
                "DX": dx,
                "AGE": round(age, 1),  # at the first visit, as in ADNIMERGE
                "PTGENDER": {"F": "Female", "M": "Male"}[sex],
                "EXAMDATE": exam.isoformat(),
                "Image.ID": 32000 + rid * 10 + number * 3 + seen[visit] - 1,
                "Scan.Date": f"{scan.month}/{scan.day}/{scan:%y}",
                "Sequence": SEQUENCE if seen[visit] == 1 else f"{SEQUENCE}_{seen[visit]}",
                "Visit": visit,
                "Month_bl": round(days / 30.4375, 4),
                "Screen.Diagnosis": SCREEN["CN" if group == "converter" else group],
                "Study.ID": 8000 + rid * 3 + number,
                "Series.ID": 14000 + rid * 3 + number,
                "number": number,
                "processed": seen[visit],
                "years": years,
                "age": round(age + years, 2),
                "sex": sex,
                "draw": draw,
                "subtype": subtype,
                "stage": stage,
            }
        )
    return rows


def drawn_subtype(subtypes, seed, k):
    """The subtype of the disease of the k-th subject of each group, by the shares of the subtypes.

    Multiples of the square root of 2 spread the subjects evenly over the shares, as those of the golden ratio spread
    severity. The two numbers are independent over the fractions, so each subtype has mild and severe patients.
    """
    place = (random_generator(seed, "subtype").random() + k * np.sqrt(2)) % 1
    limits = np.cumsum([subtype["share"] for subtype in subtypes.values()])
    return list(subtypes)[int(np.searchsorted(limits[:-1], place * limits[-1], side="right"))]


def _matched_draws(settings, seed, k):
    """Draw sex, age at the first visit and severity of the k-th subject of each group."""
    rng = random_generator(seed, "matched", k)
    low, high = age_range(settings)
    sex = "F" if rng.random() < 0.5 else "M"
    # Most ages are between 67 and 82 if the range is 55 to 90.
    age = low + (high - low) * float(rng.beta(2.6, 2.1))
    # The golden ratio spreads the quantiles evenly for any number of subjects. With independent draws, the mean
    # severity of 18 patients would vary by a quarter from seed to seed.
    quantile = (random_generator(seed, "severity").random() + k * (np.sqrt(5) - 1) / 2) % 1
    severity = settings["severity"]
    shape = 1 / severity["spread"] ** 2
    # A gamma distribution with mean 1: never negative, with a long tail of severely affected patients.
    draw = float(gammaincinv(shape, quantile)) / shape
    return sex, age, float(np.clip(draw, severity["lowest"], severity["highest"]))
