"""Checks that a comparison asks a question that its runs can answer."""

from __future__ import annotations

from voxelwhy.errors import ConfigError

#: Settings that must be the same in all runs where maps and their regions are compared with each other.
ONE_GRID = ("registration.resolution_mm", "registration.grid", "atlas", "heatmaps.methods")


def check_compare(settings):
    """Raise ConfigError where the section `compare` contradicts the other settings, or itself."""
    if "compare" not in settings:
        return
    if not any(split["heatmaps"] for split in settings["splits"]):
        raise ConfigError(
            "compare: no split has heatmaps to compare",
            found="heatmaps: false in each",
            allowed="one split with heatmaps",
        )
    if "weights" in settings.get("model", {}):
        raise ConfigError(
            "compare: existing weights do not depend on the choices",
            found=f"model.weights: {settings['model']['weights']}",
            allowed="a comparison that trains networks, or a study of these weights alone",
        )
    if settings["keep"] != "all":
        raise ConfigError(
            "compare: runs share their registrations, which must be kept for choices that are added later",
            found=f"keep: {settings['keep']}",
            allowed="keep: all",
        )
    _check_question(settings["compare"], settings.get("simulation", {}))


def _check_question(compare, simulation):
    question, choices, repeated = (compare[key] for key in ("question", "choices", "repeated"))
    if question == "null" and (simulation.get("effect") != 0 or choices or "simulation.seed" not in repeated):
        raise ConfigError(
            "compare.question is null, which needs many cohorts without a planted effect",
            found=f"simulation.effect: {simulation.get('effect', 'no simulation')}, "
            f"{len(choices)} choices, repeated: {', '.join(repeated)}",
            allowed="simulation.effect: 0, no choices, and simulation.seed among repeated",
        )
    if question == "sizes" and (list(choices) != ["simulation.subjects"] or "simulation.seed" not in repeated):
        raise ConfigError(
            "compare.question is sizes, which needs many cohorts of each number of subjects",
            found=f"choices: {', '.join(choices) or 'none'}, repeated: {', '.join(repeated)}",
            allowed="simulation.subjects as the only choice, and simulation.seed among repeated",
        )
    if question == "signals" and (next(iter(choices), "") != "simulation.signal" or "simulation.seed" not in repeated):
        raise ConfigError(
            "compare.question is signals, which needs many cohorts for each structure",
            found=f"choices: {', '.join(choices) or 'none'}, repeated: {', '.join(repeated)}",
            allowed="simulation.signal as the first choice, and simulation.seed among repeated",
        )
    if question == "confounds" and (grid := [setting for setting in choices if setting.startswith(ONE_GRID)]):
        raise ConfigError(
            "compare: maps that differ in these settings cannot be compared",
            found=f"question: confounds, choices: {', '.join(grid)}",
            allowed="question: choices; or choices that do not change grid, atlas or methods",
        )
    if question != "null" and not choices:
        raise ConfigError("compare: there is nothing to compare", found="no choices", allowed="one choice or more")
    if not simulation and (question == "confounds" or "simulation.seed" in repeated):
        raise ConfigError(
            "compare: this needs a simulated cohort",
            found=f"question: {question}, repeated: {', '.join(repeated)}, and no simulation",
            allowed="a section simulation, or question: choices and repeated: [seed]",
        )
