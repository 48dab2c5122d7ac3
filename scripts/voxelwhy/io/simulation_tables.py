"""Tables of the embedded cohort that only the simulation writes; see `io.tables` for all others."""

from __future__ import annotations

from voxelwhy.io.columns import real, schema, text, whole

#: Confounds of a simulated cohort, one row for each, planted (its `strength` is not 0) or not. `measured` is the column
#: of the manifest from which mean and standard deviation are computed; patients are the scans of Dementia, controls
#: those of CN. Figures are undefined for too few scans, and `cohens_d` if nothing varies.
CONFOUNDS = schema(
    {"confound": text(unique=True), "strength": real(), "unit": text(), "measured": text()}
    | {
        f"{side}_{figure}": whole() if figure == "scans" else real(nullable=True)
        for side in ("patients", "controls")
        for figure in ("mean", "sd", "scans")
    }
    | {"difference": real(nullable=True), "cohens_d": real(nullable=True)}
)
#: The planted disease by region of the simulated atrophy: volume changes as fractions (-0.25 is a loss of a quarter).
#: If the volume of a structure defines the classes, the difference between them; nothing is wanted then.
TRUTH_REGIONS = schema(
    {
        "region": text(unique=True),
        "volume_mm3": real(),
        "wanted": real(nullable=True),
        "achieved": real(),
        "source": text(),
    }
)
