"""The report's methods text, made from the settings, and the works to cite."""

from __future__ import annotations

from pathlib import Path

from voxelwhy.atlas_names import WORKS, works_of
from voxelwhy.channels import in_words
from voxelwhy.images import Grid
from voxelwhy.wording import (
    OPTIMISERS,
    count,
    describe_augmentation,
    describe_confounds,
    describe_loss,
    describe_mask,
    describe_method,
    describe_normalisation,
    describe_registration,
    describe_target,
    listing,
    people,
)

_DOI = "https://doi.org/"
CITATIONS = {
    "rieke2018": (
        "Rieke J, Eitel F, Weygandt M, Haynes JD, Ritter K (2018). Visualizing convolutional networks for "
        "MRI-based diagnosis of Alzheimer's disease. MLCN/DLF/iMIMIC, LNCS 11038.",
        "https://arxiv.org/abs/1808.02874",
    ),
    "simonyan2014": (
        "Simonyan K, Vedaldi A, Zisserman A (2014). Deep inside convolutional networks: visualising image "
        "classification models and saliency maps. ICLR workshop.",
        "https://arxiv.org/abs/1312.6034",
    ),
    "springenberg2015": (
        "Springenberg JT, Dosovitskiy A, Brox T, Riedmiller M (2015). Striving for simplicity: the all "
        "convolutional net. ICLR workshop.",
        "https://arxiv.org/abs/1412.6806",
    ),
    "zeiler2014": (
        "Zeiler MD, Fergus R (2014). Visualizing and understanding convolutional networks. ECCV, LNCS 8689.",
        "https://arxiv.org/abs/1311.2901",
    ),
    "selvaraju2017": (
        "Selvaraju RR, Cogswell M, Das A, Vedantam R, Parikh D, Batra D (2017). Grad-CAM: visual explanations "
        "from deep networks via gradient-based localization. ICCV.",
        "https://arxiv.org/abs/1610.02391",
    ),
    "shrikumar2016": (
        "Shrikumar A, Greenside P, Shcherbina A, Kundaje A (2016). Not just a black box: learning important "
        "features through propagating activation differences.",
        "https://arxiv.org/abs/1605.01713",
    ),
    "sundararajan2017": (
        "Sundararajan M, Taly A, Yan Q (2017). Axiomatic attribution for deep networks. ICML.",
        "https://arxiv.org/abs/1703.01365",
    ),
    "smilkov2017": (
        "Smilkov D, Thorat N, Kim B, Viégas F, Wattenberg M (2017). SmoothGrad: removing noise by adding noise.",
        "https://arxiv.org/abs/1706.03825",
    ),
    "bach2015": (
        "Bach S, Binder A, Montavon G, Klauschen F, Müller KR, Samek W (2015). On pixel-wise explanations for "
        "non-linear classifier decisions by layer-wise relevance propagation. PLoS ONE 10:e0130140.",
        _DOI + "10.1371/journal.pone.0130140",
    ),
    "chattopadhay2018": (
        "Chattopadhay A, Sarkar A, Howlader P, Balasubramanian VN (2018). Grad-CAM++: generalized gradient-based "
        "visual explanations for deep convolutional networks. WACV.",
        "https://arxiv.org/abs/1710.11063",
    ),
    "avants2011": (
        "Avants BB, Tustison NJ, Song G, Cook PA, Klein A, Gee JC (2011). A reproducible evaluation of ANTs "
        "similarity metric performance in brain image registration. NeuroImage 54:2033-2044.",
        _DOI + "10.1016/j.neuroimage.2010.09.025",
    ),
    "tustison2010": (
        "Tustison NJ, Avants BB, Cook PA, et al. (2010). N4ITK: improved N3 bias correction. IEEE Transactions on "
        "Medical Imaging 29:1310-1320.",
        _DOI + "10.1109/TMI.2010.2046908",
    ),
    "fonov2011": (
        "Fonov V, Evans AC, Botteron K, Almli CR, McKinstry RC, Collins DL (2011). Unbiased average "
        "age-appropriate atlases for pediatric studies. NeuroImage 54:313-327.",
        _DOI + "10.1016/j.neuroimage.2010.07.033",
    ),
    "karacali2006": (
        "Karaçali B, Davatzikos C (2006). Simulation of tissue atrophy using a topology preserving "
        "transformation model. IEEE Transactions on Medical Imaging 25:649-652.",
        _DOI + "10.1109/TMI.2006.873221",
    ),
    "abraham2014": (
        "Abraham A, Pedregosa F, Eickenberg M, et al. (2014). Machine learning for neuroimaging with "
        "scikit-learn. Frontiers in Neuroinformatics 8:14 (nilearn).",
        _DOI + "10.3389/fninf.2014.00014",
    ),
    "holm1979": (
        "Holm S (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of "
        "Statistics 6:65-70.",
        "",
    ),
    "he2016": (
        "He K, Zhang X, Ren S, Sun J (2016). Deep residual learning for image recognition. CVPR.",
        "https://arxiv.org/abs/1512.03385",
    ),
    "huang2017": (
        "Huang G, Liu Z, van der Maaten L, Weinberger KQ (2017). Densely connected convolutional networks. CVPR.",
        "https://arxiv.org/abs/1608.06993",
    ),
    "cardoso2022": (
        "Cardoso MJ, Li W, Brown R, et al. (2022). MONAI: an open-source framework for deep learning in healthcare.",
        "https://arxiv.org/abs/2211.02701",
    ),
    "chung2001": (
        "Chung MK, Worsley KJ, Paus T, et al. (2001). A unified statistical approach to deformation-based morphometry. "
        "NeuroImage 14:595-606.",
        _DOI + "10.1006/nimg.2001.0862",
    ),
    "ashburner2000": (
        "Ashburner J, Friston KJ (2000). Voxel-based morphometry: the methods. NeuroImage 11:805-821.",
        _DOI + "10.1006/nimg.2000.0582",
    ),
    "molder2021": (
        "Mölder F, Jablonski KP, Letcher B, et al. (2021). Sustainable data analysis with Snakemake. "
        "F1000Research 10:33.",
        _DOI + "10.12688/f1000research.29032.2",
    ),
}
OF_METHOD = {
    "sensitivity_analysis": "simonyan2014",
    "guided_backprop": "springenberg2015",
    "occlusion": "zeiler2014",
    "area_occlusion": "zeiler2014",
    "grad_cam": "selvaraju2017",
    "input_x_gradient": "shrikumar2016",
    "integrated_gradients": "sundararajan2017",
    "smoothgrad": "smilkov2017",
    "lrp": "bach2015",
    "guided_grad_cam": "selvaraju2017",
    "grad_cam_plusplus": "chattopadhay2018",
}
OF_NETWORK = {"resnet18": ("he2016", "cardoso2022"), "densenet121": ("huang2017", "cardoso2022")}
OF_CHANNEL = {"log_jacobian": "chung2001", "grey_matter_modulated": "ashburner2000"}
_ALWAYS = ("rieke2018", "avants2011", "fonov2011", "abraham2014", "molder2021")


def choose_citations(settings, *, simulated):
    """The works that a study with these settings builds on, alphabetically, as (text, link) pairs.

    Parameters
    ----------
    settings : dict, the whole config
    simulated : bool
    """
    keys = set(_ALWAYS) | {
        OF_METHOD[name] for name in settings.get("heatmaps", {}).get("methods", {}) if name in OF_METHOD
    }
    keys |= set(works_of(settings.get("atlas", {}).get("name", "AAL")))
    training = settings.get("training", {})
    keys |= set(OF_NETWORK.get(training.get("network"), ()))
    keys |= {OF_CHANNEL[name] for name in training.get("channels", ()) if name in OF_CHANNEL}
    if settings.get("registration", {}).get("n4"):
        keys.add("tustison2010")
    if simulated:
        keys |= {"karacali2006", "holm1979"}
    return sorted((CITATIONS | WORKS)[key] for key in keys)


def methods_text(settings, *, simulated, n_subjects, n_scans, whole_heads=False):
    """The methods in sentences that state the settings: to paste into a paper, and to check against the config.

    Parameters
    ----------
    settings : dict, the whole config with its defaults filled in
    simulated : bool
    whole_heads : bool, whether the scans were taken for whole heads (cohort/skull.json)

    Returns
    -------
    list of str, one a paragraph; what the config leaves out is left out
    """
    cohort = f"{n_subjects} subjects with {n_scans} scans were used."
    if simulated:
        cohort = (
            f"The data are simulated: {n_subjects} subjects with {n_scans} scans were made from the ICBM152 "
            "template; disease is tissue "
            "loss by deformation, planted with known volume changes, and no image intensity was dimmed."
        )
        if planted := describe_confounds(settings.get("simulation", {}).get("confounds", {})):
            cohort += f" Beside the disease, {planted}; what they came to stands in simulation/confounds.tsv."
    paragraphs = [
        cohort,
        " ".join([*_heads(settings.get("scans", {}), whole_heads), _registration(settings.get("registration", {}))]),
        _weights(settings) or _training(settings.get("training", {}), settings.get("splits", [])),
        _heatmaps(settings.get("heatmaps", {}), settings.get("atlas", {}), _brought(settings)),
        _evaluation(settings.get("evaluation", {}), simulated),
    ]
    return [text for text in paragraphs if text]


def _heads(settings, whole_heads):
    if "extract" in settings:
        return [f"Brains were extracted from whole heads by the command {settings['extract']!r}."]
    if whole_heads:
        return [
            "The scans are whole heads: they were registered to the whole-head ICBM152 template, and what lies outside "
            "the template's brain mask was left out."
        ]
    return []


def _registration(settings):
    if not settings:
        return ""
    how = describe_registration(settings)
    if settings.get("transform") == "none":
        return f"Each scan was registered to the ICBM152 template {how}."
    grid = Grid.named(settings.get("grid", "icbm"), settings["resolution_mm"])
    return (
        f"Each scan was registered onto the ICBM152 template on a grid of {' x '.join(map(str, grid.shape))} "
        f"voxels: {how}; in one thread and hence reproducibly."
    )


def _training(settings, splits):
    if not settings:
        return ""
    named = listing([_split(split) for split in splits]) if splits else "the study's folds"
    optimiser = OPTIMISERS[settings.get("optimiser", "adam")]
    inside = f"options of the network {settings['options'] or 'none'}" if "options" in settings else None
    inside = inside or f"dropout {settings.get('dropout')}"
    return (
        f"The network {settings.get('network')} was trained on {named}; subjects never cross folds. It saw "
        f"{in_words(settings.get('channels', ['t1']))} of each scan. Outside "
        f"{describe_mask(settings)} its input was 0. Optimiser {optimiser}, learning rate "
        f"{settings.get('learning_rate')}, batch size {settings.get('batch_size')}, {settings.get('epochs')} epochs, "
        f"{inside}, {describe_loss(settings)}; normalisation "
        f"{describe_normalisation(settings)} from training scans only, crop {settings.get('crop')}; weights kept: "
        f"{str(settings.get('keep')).replace('_', ' ')}. "
        f"{describe_augmentation(settings)}The baseline is a linear model on regional means, on the same folds."
    )


def _brought(settings):
    """The section `model` of a config that brings weights; one that only names an architecture is trained."""
    model = settings.get("model", {})
    return model if "weights" in model else {}


def _weights(settings):
    """In the place of the training, where the config brings weights."""
    if not (model := _brought(settings)):
        return ""
    training, named = settings.get("training", {}), model.get("normalisation")
    learnt = f"learnt from the training scans of the split {named} ({training.get('normalisation')})"
    kinds = {None: "as stored with the weights", "scan": "scan", "none": "none"}
    how = kinds.get(named, f"that of {Path(named or '').name}" if str(named).endswith(".npz") else learnt)
    text = (
        f"The network {training.get('network')} was not trained by this study: its weights are those of "
        f"{Path(model['weights']).name}. Normalisation {how}; crop {training.get('crop')}. "
    )
    if (split := model.get("trained_on")) is None:
        return text + (
            "Where these weights were trained is not known, so no accuracy is given: every scan may be one that the "
            "network has seen, and all selected scans were explained."
        )
    kind = next((_split(s) for s in settings.get("splits", []) if s.get("name", s.get("kind")) == split), split)
    return text + (
        f"They are taken, as the config says, to have been trained on the training scans of the split {split} ({kind}) "
        "and on no others: if that is so, the accuracy on its test scans is out of sample. The baseline is a linear "
        "model on regional means, trained on those training scans."
    )


def _split(split):
    kind = split.get("kind", "kfold")
    if kind == "kfold":
        return f"{split.get('folds', 5)} stratified folds"
    return {"holdout": "a stratified holdout", "paper_holdout": "the holdout of Rieke et al. 2018"}.get(kind, kind)


def _heatmaps(settings, atlas, model=None):
    if not settings:
        return ""
    described = listing([describe_method(name, options) for name, options in settings.get("methods", {}).items()])
    explained = (
        "Scans were explained by these weights"
        if model
        else "Test scans were explained by the network of their own fold"
    )
    most = settings.get("most_subjects")
    limited = f" Of each class {count(most, 'subject')} at most were explained, drawn at random." if most else ""
    return (
        f"{explained}, for the {describe_target(settings)}: "
        f"{described}.{limited} Relevance was summed "
        f"over the regions of {atlas.get('name', 'AAL')}{', left and right as one' * atlas.get('merge_sides', False)}, "
        "brought to the grid through the affines with nearest neighbour; means over "
        "subjects have bootstrap intervals."
    )


def _evaluation(settings, simulated):
    text = (
        f"Intervals are percentiles (2.5, 97.5) over {settings.get('bootstrap', 1000):,} bootstrap resamples of "
        "subjects, all scans of a "
        "subject together."
    )
    if simulated:
        draws = settings.get("shuffled", 0)
        beside = f", against {draws} draws of the same networks trained on shuffled diagnoses" if draws else ""
        text += (
            f" Truth is an absolute log-Jacobian of the disease above {settings.get('truth_threshold', 0.02)}; a "
            "region is truth when its mean "
            "is. A method found the atrophy when its regional AUPRC lay above the 95th percentile of "
            f"{settings.get('permutations', 10_000):,} permutations of the regions, left and right moving together, "
            f"with a Holm-corrected p below 0.05{beside}."
        )
    return text


def external_text(audits):
    """The paragraph on other cohorts that the models were tested on.

    Parameters
    ----------
    audits : list of dict, audit.json of each split on another cohort: tested, counts

    Returns
    -------
    list of str, one paragraph or none
    """
    if not audits:
        return []
    named = []
    for audit in audits:
        models = count(audit["tested"]["n_models"], "model")
        people_there = people(audit["counts"]["subjects"], audit["counts"]["scans"])
        named.append(f"the {models} of {audit['tested']['split']} on {audit['tested']['cohort']} ({people_there})")
    return [
        f"Other cohorts were a further test: {listing(named)}. Their scans were registered to the same template in "
        "the same way. They share no subject and no image with this study, and no model learnt anything from them: "
        "each scan was normalised as the training scans of each model were, then judged and explained by each model. "
        "Intervals resample their subjects. Heatmaps of another cohort are not held against a planted truth."
    ]
