"""The gradient methods of Captum and MONAI: functions of a model and a batch of one image that give its map.

All explain the logit of class `TARGET`.
"""

from __future__ import annotations

import numpy as np
import torch
from captum.attr import GuidedBackprop, InputXGradient, IntegratedGradients, LayerGradCam, NoiseTunnel, Saliency

from bench.peers import TARGET, forward_backward

STEPS = 10
#: Of the image's range; about what Smilkov et al. have. Times a power of two no range is rounded: noise that differs in
#: its last digit makes another cell the largest of a pool here and there, and so another gradient.
NOISE = 0.125
#: Voxels from which images are run one by one.
LARGE = 64**3


def _captum_saliency(model, batch):
    return _map(Saliency(_logit(model)).attribute(batch.clone().requires_grad_(), abs=False))


def _captum_guided(model, batch):
    return _map(GuidedBackprop(model).attribute(batch.clone().requires_grad_(), target=TARGET))


def _captum_input_x_gradient(model, batch):
    return _map(InputXGradient(_logit(model)).attribute(batch.clone().requires_grad_()))


def _captum_grad_cam(model, batch):
    last = dict(model.named_modules())[_last_convolution(model, batch)]
    return _map(LayerGradCam(model, last).attribute(batch.clone(), target=TARGET, relu_attributions=True))


def _captum_smoothgrad(model, batch):
    torch.manual_seed(0)
    deviation = NOISE * float(batch.max() - batch.min())
    image = batch.clone(memory_format=torch.contiguous_format).requires_grad_()  # noise is drawn in order of memory
    found = NoiseTunnel(Saliency(_logit(model))).attribute(
        image, nt_samples=STEPS, nt_samples_batch_size=1, stdevs=deviation, abs=False
    )
    return _map(found)


def _gauss_legendre(model, batch):
    """Integrated gradients written out: the gradient at points between 0 and the image, weighted and summed."""
    points, weights = np.polynomial.legendre.leggauss(STEPS)
    total = sum(
        weight / 2 * forward_backward(model, batch * float((point + 1) / 2), TARGET)
        for point, weight in zip(points, weights, strict=True)
    )
    return total * batch[0, 0].detach().numpy()


def _captum_integrated_gradients(model, batch):
    at_once = None if batch.numel() < LARGE else 1  # ten large images at once take many gigabytes
    found = IntegratedGradients(_logit(model)).attribute(batch.clone(), n_steps=STEPS, internal_batch_size=at_once)
    return found.sum(dim=1)[0].detach().numpy()


def _monai_vanilla(model, batch):
    from monai.visualize import VanillaGrad

    return _map(VanillaGrad(model)(batch.clone(), index=TARGET))


def _monai_guided(model, batch):
    from monai.visualize import GuidedBackpropGrad

    return _map(GuidedBackpropGrad(model)(batch.clone(), index=TARGET))


def _monai_grad_cam(model, batch):
    from monai.visualize import GradCAM

    as_is = GradCAM(
        model,
        target_layers=_last_convolution(model, batch),
        upsampler=lambda shape: lambda cells: cells,
        postprocessing=lambda cells: cells,
    )
    return _map(as_is(batch.clone(), class_idx=TARGET))


def _monai_smoothgrad(model, batch):
    from monai.visualize import SmoothGrad

    torch.manual_seed(0)
    return _map(SmoothGrad(model, NOISE, STEPS, magnitude=False, verbose=False)(batch.clone(), index=TARGET))


def _logit(model):
    return lambda images: model(images)[:, TARGET]


def _map(found):
    return found[0, 0].detach().numpy()


def _last_convolution(model, batch):
    """The name of the last convolution to run that has more than one cell."""
    convolutions, ran = (torch.nn.Conv2d, torch.nn.Conv3d), []

    def look(layer, inputs, output):
        if output[0, 0].numel() > 1:
            ran.append(layer)

    handles = [one.register_forward_hook(look) for one in model.modules() if isinstance(one, convolutions)]
    with torch.no_grad():
        model(batch)
    for handle in handles:
        handle.remove()
    return next(name for name, layer in model.named_modules() if layer is ran[-1])


PEERS = {
    "sensitivity_analysis": {"Captum Saliency": _captum_saliency, "MONAI VanillaGrad": _monai_vanilla},
    "guided_backprop": {"Captum GuidedBackprop": _captum_guided, "MONAI GuidedBackpropGrad": _monai_guided},
    "input_x_gradient": {"Captum InputXGradient": _captum_input_x_gradient},
    "grad_cam": {"Captum LayerGradCam": _captum_grad_cam, "MONAI GradCAM": _monai_grad_cam},
    "integrated_gradients": {"a loop over the same points": _gauss_legendre},
    "smoothgrad": {"Captum NoiseTunnel": _captum_smoothgrad, "MONAI SmoothGrad": _monai_smoothgrad},
}
#: Of the rows about architectures.
NETWORK_PEERS = {
    "grad_cam": PEERS["grad_cam"],
    "integrated_gradients": {"Captum IntegratedGradients": _captum_integrated_gradients},
}
