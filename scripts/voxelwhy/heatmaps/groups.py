"""Groups of scans over which maps and regions are averaged: by class, and by the network's classification."""

from __future__ import annotations

from dataclasses import dataclass

#: Ends the name of a cell whose maps explain the predicted class where those of the classes explain the positive one.
_PREDICTED = " (predicted class)"


@dataclass(frozen=True)
class Groups:
    """The groups of a split, and the cells of which they are unions: each map is added up once, in its cell.

    If the positive class is explained (`target: positive`), a scan that is predicted negative has two maps. That of
    the positive class counts in the groups of the classes, so that maps of one group never differ in sign. That of the
    predicted class counts among the true or false negatives.

    Parameters
    ----------
    classes : {"positive": name, "negative": name}
    `judged` : bool, whether scans are also grouped by correct and wrong predictions, which would disclose an accuracy
    target : "positive", "predicted" or "true", the class that the maps of a study explain

    Examples
    --------
    >>> groups = Groups({"positive": "AD", "negative": "CN"})
    >>> groups.cell("AD", 0.3, "AD"), groups.cell("AD", 0.3, "CN")
    ('FN', 'FN (predicted class)')
    >>> groups.cells_in("AD"), groups.cells_in("FN")
    (['TP', 'FN'], ['FN (predicted class)'])
    """

    classes: dict
    judged: bool = True
    target: str = "positive"

    @property
    def names(self):
        """All groups in order: positive class, negative class, all, and, if `judged`, TP, FP, TN, FN."""
        return [*self._both, "all", *(["TP", "FP", "TN", "FN"] if self.judged else [])]

    @property
    def cells(self):
        """The cells in order."""
        return [*self._of_classes, *([f"{name}{_PREDICTED}" for name in ("TN", "FN")] if self._twice else [])]

    def cell(self, label, probability, explained):
        """Return the cell of a map of a scan.

        Parameters
        ----------
        label : str, the scan's class
        probability : float, of the positive class; from 0.5 a scan is predicted positive
        explained : str, the class that the map explains
        """
        if not self.judged:
            return label
        right = (label == self.classes["positive"]) == (probability >= 0.5)
        name = ("T" if right else "F") + ("P" if probability >= 0.5 else "N")
        of_decision = self._twice and explained == self.classes["negative"]
        return name + (_PREDICTED if of_decision else "")

    def cells_in(self, group):
        """Return the cells of which a group is the union."""
        if group == "all":
            return self._of_classes
        if self._twice and group in ("TN", "FN"):
            return [f"{group}{_PREDICTED}"]
        of_class = {self.classes["positive"]: ("TP", "FN"), self.classes["negative"]: ("TN", "FP")}
        return [name for name in self._of_classes if name == group or name in of_class.get(group, ())]

    def explained(self, label, probability):
        """Return the classes that the maps of a scan explain: that of its class's groups first.

        A second class, the predicted one, is there only for a scan whose predicted class has a group of its own.
        """
        predicted = self._both[0 if probability >= 0.5 else 1]
        if self.target != "positive":
            return [label if self.target == "true" else predicted]
        return list(dict.fromkeys([self.classes["positive"], *([predicted] if self.judged else [])]))

    def shown(self, label, probability):
        """Return the class that the map of a single scan explains: the predicted one, or the true one if asked for."""
        return label if self.target == "true" else self._both[0 if probability >= 0.5 else 1]

    def explained_in(self, group):
        """Return which class the maps of a group explain: "positive", "predicted" or "true"."""
        return "predicted" if self._twice and group in ("TP", "FP", "TN", "FN") else self.target

    @property
    def _both(self):
        return [self.classes["positive"], self.classes["negative"]]

    @property
    def _of_classes(self):
        return ["TP", "FP", "TN", "FN"] if self.judged else self._both

    @property
    def _twice(self):
        return self.judged and self.target == "positive"
