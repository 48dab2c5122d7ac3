"""Every row of the bench by name: a function of `full` (peers run whole) that gives the lines of its tables."""

from __future__ import annotations

from functools import partial

from bench import heatmap_rows, network_rows, training_rows, window_rows
from bench.networks import NETWORKS, SIDES
from bench.window_rows import CAPTUM, LOOP, MONAI

#: In the order of the tables. Targets: how many times faster at least, or how many times the time at most.
ROWS = {
    "occlusion_rieke2018": partial(
        window_rows.windows, "rieke2018", 40, 20, 2, {CAPTUM: 100, LOOP: None, MONAI: None}, repeats=3
    ),
    "fine_occlusion_rieke2018": partial(window_rows.windows, "rieke2018", 20, 10, 3, {LOOP: 400}, repeats=3),
    "area_occlusion_rieke2018": partial(heatmap_rows.areas, "rieke2018", 20, repeats=3),
    "deletion_curve_rieke2018": partial(heatmap_rows.deletion, "rieke2018", 1, 30, repeats=3),
    "deletion_curve_small": partial(heatmap_rows.deletion, "small", 3, 30, repeats=5, steps_run=116),
    "deletion_curve_compact": partial(heatmap_rows.deletion, "compact", 3, None, repeats=5, steps_run=116),
    "occlusion_korolev2017": partial(window_rows.windows, "korolev2017", 40, 20, 2, {CAPTUM: 20}, repeats=3),
    "occlusion_resnet18": partial(window_rows.windows, "resnet18", 40, 20, 2, {CAPTUM: 5}, repeats=3, every=20),
    "sensitivity_rieke2018": partial(heatmap_rows.gradients, "sensitivity_analysis", "rieke2018", 1.2, repeats=5),
    "guided_backprop_rieke2018": partial(heatmap_rows.gradients, "guided_backprop", "rieke2018", 1.2, repeats=5),
    "input_x_gradient_rieke2018": partial(heatmap_rows.gradients, "input_x_gradient", "rieke2018", 1.2, repeats=5),
    "grad_cam_rieke2018": partial(heatmap_rows.gradients, "grad_cam", "rieke2018", 1.2, repeats=5),
    "integrated_gradients_rieke2018": partial(
        heatmap_rows.gradients, "integrated_gradients", "rieke2018", 1.2, repeats=2
    ),
    "smoothgrad_rieke2018": partial(heatmap_rows.gradients, "smoothgrad", "rieke2018", 1.2, repeats=2),
    "lrp_rieke2018": partial(heatmap_rows.gradients, "lrp", "rieke2018", 3, repeats=5),
    "lrp_alpha_beta_rieke2018": partial(heatmap_rows.gradients, "lrp_alpha_beta", "rieke2018", 3, repeats=5),
    **{
        f"network_{name}_{side}": partial(network_rows.network, name, side, repeats=3)
        for name, one in NETWORKS.items()
        for side in SIDES[one.axes]
    },
    "training_rieke2018": partial(training_rows.training, 4, repeats=3),
    "accuracy": partial(training_rows.accuracy, repeats=1),
}
#: Those that take minutes before they begin: by name, or with FULL=1.
ONLY_WHEN_ASKED = ("accuracy",)
