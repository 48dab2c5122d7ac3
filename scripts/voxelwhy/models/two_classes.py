"""A network with one logit, seen as one with a logit for each of two classes."""

from __future__ import annotations

import torch


def two_logits(logits) -> torch.Tensor:
    """Logits (n, 2) of the negative and the positive class; one logit z of the positive class is -z/2 and z/2.

    Then their softmax is 1 - sigmoid(z) and sigmoid(z), and their cross-entropy is the binary cross-entropy of z: all
    that works on two logits works on one. Logits of two or more classes come back as they are.
    """
    return torch.cat([-logits / 2, logits / 2], dim=1) if logits.shape[1] == 1 else logits
