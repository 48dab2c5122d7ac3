"""Running average of a network's weights over the steps of its training."""

from __future__ import annotations

from torch.optim.swa_utils import AveragedModel

#: Time constant of the average, as a share of all steps of a training.
SPAN = 0.1


def averaged_model(model, steps):
    """Return a copy of `model` that follows its weights: call `update_parameters(model)` after each step.

    The average is exponential, with a time constant of a tenth of the training. It covers the statistics of batch
    normalisation too. At the beginning a shorter constant lets it forget the initial weights.

    Parameters
    ----------
    model : torch.nn.Module
    steps : int, number of steps of the whole training

    Returns
    -------
    AveragedModel; its attribute `module` is the averaged network

    References
    ----------
    Polyak & Juditsky 1992; Tarvainen & Valpola 2017 (mean teacher).
    """
    longest = 1 - 1 / max(1.0, SPAN * steps)

    def average(averaged, current, number):
        if not averaged.is_floating_point():  # a counter of batch normalisation
            return current
        share = min(longest, (1 + float(number)) / (10 + float(number)))
        return share * averaged + (1 - share) * current

    return AveragedModel(model, avg_fn=average, use_buffers=True)
