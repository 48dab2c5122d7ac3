"""Several trainings of one network as one model, and the two logits that every model has."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import log_softmax


def two_logits(logits) -> torch.Tensor:
    """Return logits (n, 2) of the negative and the positive class; a single logit z becomes -z/2 and z/2.

    Their softmax is then 1 - sigmoid(z) and sigmoid(z), and their cross-entropy is the binary cross-entropy of z, so
    that everything defined for two logits also works for one. Logits of two or more classes are returned unchanged.
    """
    return torch.cat([-logits / 2, logits / 2], dim=1) if logits.shape[1] == 1 else logits


class Ensemble(nn.Module):
    """Networks of one architecture whose probabilities are averaged.

    The output, (n, 2), is the logarithm of the mean probabilities, so that its softmax is these means and everything
    that works for two logits works for an ensemble. Its heatmap is the mean of the heatmaps of its members
    (`members_of`). The explanation methods refuse an ensemble, since those that look at one layer would see that of a
    single member.

    Parameters
    ----------
    members : list of torch.nn.Module

    References
    ----------
    Lakshminarayanan, Pritzel & Blundell 2017, Simple and scalable predictive uncertainty estimation using deep
    ensembles.
    """

    def __init__(self, members):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images):
        logs = torch.stack([log_softmax(two_logits(member(images)), dim=1) for member in self.members])
        return torch.logsumexp(logs, dim=0) - math.log(len(self.members))


def one_model(members) -> nn.Module:
    """Return networks as one model: an `Ensemble`, or the network itself if there is only one."""
    return Ensemble(members) if len(members) > 1 else members[0]


def members_of(model) -> list:
    """Return the networks of a model: the members of an `Ensemble`, or the model itself."""
    return list(model.members) if isinstance(model, Ensemble) else [model]
