"""How well each method is supported in a study: checks of its maps, a badge for each method, the best of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from voxelwhy.io.text import number
from voxelwhy.report.planted import DETECTED, NO_VERDICT
from voxelwhy.report.stability import PART as STABLE_PART

SIGNIFICANT = 0.05
#: A correlation of at most this counts as none.
NO_CORRELATION = 0.1
BLANKING_PART = "Does blanking what it marks change the score?"
#: By whether a known loss is detected: words of the badge, its kind, and a phrase. None: that was not tested.
FOUND = {
    True: ("detected", "good", "which detects a known loss of volume"),
    False: ("not shown", "poor", "which is not shown to detect a known loss of volume"),
    None: ("not tested", "open", "without a known loss of volume to test it"),
}


@dataclass(frozen=True)
class Support:
    """What is known about the maps of one method.

    Attributes
    ----------
    method : str
    finds : bool or None; whether it detects a known loss, in the study's own controls where one was planted there,
        otherwise the planted truth of the cohort
    how : str, on what that rests: p, or "3 of 5" assignments of the controls
    in_controls : bool, whether the known loss lies in the study's own controls
    checks : {"weights", "blanking": bool}, whether its maps depend on the weights, and whether blanking what they mark
        lowers the score; what was not tested is missing
    stability : float, Spearman's correlation of maps by two trainings; nan if not compared
    score : float, AUPRC over regions of the known loss; nan without one
    """

    method: str
    finds: bool | None = None
    how: str = ""
    in_controls: bool = False
    checks: dict[str, bool] = field(default_factory=dict)
    stability: float = math.nan
    score: float = math.nan

    @property
    def badge(self):
        """Words and kind ("good", "poor", "open") of the badge: ("detected", "good")."""
        return FOUND[self.finds][:2]

    @property
    def phrase(self):
        """What the badge says, at the end of a sentence."""
        return FOUND[self.finds][2]

    @property
    def order(self):
        """Sorts the best-supported method first; unknown counts between good and bad."""
        passed = sum(self.checks.values()) - sum(not passes for passes in self.checks.values())
        stable = self.stability if math.isfinite(self.stability) else -1
        score = self.score if math.isfinite(self.score) else -1
        return (-{True: 1, None: 0, False: -1}[self.finds], -passed, -score, -stable)


def support_methods(methods, *, titles, trust=None, truth=None, controls=None, randomised=None):
    """What supports each method, the best-supported first.

    Parameters
    ----------
    methods : sequence of names
    titles : function of a name, such as `io.text.method_title`, by which `trust` names methods
    trust : DataFrame by trust_tables.TRUST, optional
    truth : DataFrame by tables.TRUTH, optional
    controls : DataFrame by trust_tables.PLANTED_CONTROLS, optional; where it has a verdict, it counts before `truth`
    randomised : DataFrame by trust_tables.RANDOMISED_SUMMARY, optional

    Returns
    -------
    list of Support
    """
    found = [_support(method, titles(method), trust, truth, controls, randomised) for method in methods]
    return sorted(found, key=lambda support: support.order)


def _support(method, title, trust, truth, controls, randomised):
    finds, how, score = _in_controls(method, controls)
    in_controls = finds is not None
    if finds is None:
        finds, how, score = _in_truth(method, truth)
    checks, stability = {}, math.nan
    if randomised is not None and (own := randomised[randomised["method"] == method]).size:
        checks["weights"] = depends_on_weights(own)
    if trust is not None:
        own = trust[trust["of"] == title].set_index("part")
        if BLANKING_PART in own.index:
            row = own.loc[BLANKING_PART]
            checks["blanking"] = bool(row["value"] > 0 and row["p"] <= SIGNIFICANT)
        if STABLE_PART in own.index:
            stability = float(own.loc[STABLE_PART, "value"])
    return Support(method, finds, how, in_controls, checks, stability, score)


def depends_on_weights(own):
    """Whether maps of a method depend on what the network learnt.

    With all weights reset, its maps are no more like the original ones than those of another subject are, or not like
    them at all (ρ of at most 0.1).

    Parameters
    ----------
    own : the rows of one method in a table by trust_tables.RANDOMISED_SUMMARY
    """
    by_depth = own[own["measure"] == "spearman"].set_index("depth")["value"]
    if not len(by_depth):
        return False
    other = float(by_depth.get(0, 0.0))
    return bool(by_depth.loc[by_depth.index.max()] <= max(other, NO_CORRELATION))


def _in_controls(method, controls):
    own = None if controls is None else controls[controls["method"] == method]
    if own is None or not len(own) or (own["verdict"] == NO_VERDICT).all():
        return None, "", math.nan
    detected, n = int((own["verdict"] == DETECTED).sum()), len(own)
    how = number(own["p_family"].iloc[0], 3) if n == 1 else f"{detected} of {n}"
    return 2 * detected > n, how, float(own["region_auprc"].mean())


def _in_truth(method, truth):
    own = None if truth is None else truth[truth["method"] == method]
    if own is None or not len(own):
        return None, "", math.nan
    row = own.iloc[0]
    if row["verdict"] == NO_VERDICT:
        return None, "", float(row["region_auprc"])
    return bool(row["verdict"] == DETECTED), number(row["p_family"], 3), float(row["region_auprc"])
