"""Works on methods, networks, data and statistics, as (text, link); `citations` chooses among them."""

from __future__ import annotations

_DOI = "https://doi.org/"
#: Works on explanation methods, registration, networks and their training, and software.
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
    "haufe2014": (
        "Haufe S, Meinecke F, Görgen K, Dähne S, Haynes JD, Blankertz B, Bießmann F (2014). On the interpretation of "
        "weight vectors of linear models in multivariate neuroimaging. NeuroImage 87:96-110.",
        _DOI + "10.1016/j.neuroimage.2013.10.067",
    ),
    "bron2021": (
        "Bron EE, Klein S, Papma JM, et al. (2021). Cross-cohort generalizability of deep and conventional machine "
        "learning for MRI-based diagnosis and prediction of Alzheimer's disease. NeuroImage: Clinical 31:102712.",
        _DOI + "10.1016/j.nicl.2021.102712",
    ),
    "adebayo2018": (
        "Adebayo J, Gilmer J, Muelly M, Goodfellow I, Hardt M, Kim B (2018). Sanity checks for saliency maps. NeurIPS.",
        "https://arxiv.org/abs/1810.03292",
    ),
    "siegel2025": (
        "Siegel NT, Cole JH, Habes M, Haufe S, Ritter K, Schulz MA (2025). Explainable AI methods for neuroimaging: "
        "systematic failures of common tools, the need for domain-specific validation, and a proposal for safe "
        "application. arXiv:2508.02560.",
        "https://arxiv.org/abs/2508.02560",
    ),
    "westfall1993": (
        "Westfall PH, Young SS (1993). Resampling-based multiple testing. Wiley, New York.",
        "",
    ),
    "winkler2014": (
        "Winkler AM, Ridgway GR, Webster MA, Smith SM, Nichols TE (2014). Permutation inference for the general linear "
        "model. NeuroImage 92:381-397.",
        _DOI + "10.1016/j.neuroimage.2014.01.060",
    ),
    "he2016": (
        "He K, Zhang X, Ren S, Sun J (2016). Deep residual learning for image recognition. CVPR.",
        "https://arxiv.org/abs/1512.03385",
    ),
    "huang2017": (
        "Huang G, Liu Z, van der Maaten L, Weinberger KQ (2017). Densely connected convolutional networks. CVPR.",
        "https://arxiv.org/abs/1608.06993",
    ),
    "peng2021": (
        "Peng H, Gong W, Beckmann CF, Vedaldi A, Smith SM (2021). Accurate brain age prediction with lightweight deep "
        "neural networks. Medical Image Analysis 68:101871.",
        _DOI + "10.1016/j.media.2020.101871",
    ),
    "cardoso2022": (
        "Cardoso MJ, Li W, Brown R, et al. (2022). MONAI: an open-source framework for deep learning in healthcare.",
        "https://arxiv.org/abs/2211.02701",
    ),
    "loshchilov2019": (
        "Loshchilov I, Hutter F (2019). Decoupled weight decay regularization. ICLR.",
        "https://arxiv.org/abs/1711.05101",
    ),
    "smith2019": (
        "Smith LN, Topin N (2019). Super-convergence: very fast training of neural networks using large learning "
        "rates. Artificial Intelligence and Machine Learning for Multi-Domain Operations Applications, SPIE 11006.",
        "https://arxiv.org/abs/1708.07120",
    ),
    "tarvainen2017": (
        "Tarvainen A, Valpola H (2017). Mean teachers are better role models: weight-averaged consistency targets "
        "improve semi-supervised deep learning results. NeurIPS.",
        "https://arxiv.org/abs/1703.01780",
    ),
    "lakshminarayanan2017": (
        "Lakshminarayanan B, Pritzel A, Blundell C (2017). Simple and scalable predictive uncertainty estimation using "
        "deep ensembles. NeurIPS.",
        "https://arxiv.org/abs/1612.01474",
    ),
    "guo2017": (
        "Guo C, Pleiss G, Sun Y, Weinberger KQ (2017). On calibration of modern neural networks. ICML.",
        "https://arxiv.org/abs/1706.04599",
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
#: The works behind intervals and tests of accuracy and of relevance by region.
STATISTICS = {
    "wilson1927": (
        "Wilson EB (1927). Probable inference, the law of succession, and statistical inference. Journal of the "
        "American Statistical Association 22:209-212.",
        _DOI + "10.1080/01621459.1927.10502953",
    ),
    "mcnemar1947": (
        "McNemar Q (1947). Note on the sampling error of the difference between correlated proportions or percentages. "
        "Psychometrika 12:153-157.",
        _DOI + "10.1007/BF02295996",
    ),
    "delong1988": (
        "DeLong ER, DeLong DM, Clarke-Pearson DL (1988). Comparing the areas under two or more correlated receiver "
        "operating characteristic curves: a nonparametric approach. Biometrics 44:837-845.",
        _DOI + "10.2307/2531595",
    ),
    "newcombe1998": (
        "Newcombe RG (1998). Improved confidence intervals for the difference between binomial proportions based on "
        "paired data. Statistics in Medicine 17:2635-2650.",
        _DOI + "10.1002/(SICI)1097-0258(19981130)17:22<2635::AID-SIM954>3.0.CO;2-C",
    ),
    "newcombe2006": (
        "Newcombe RG (2006). Confidence intervals for an effect size measure based on the Mann-Whitney statistic. "
        "Part 2: asymptotic methods and evaluation. Statistics in Medicine 25:559-573.",
        _DOI + "10.1002/sim.2324",
    ),
    "phipson2010": (
        "Phipson B, Smyth GK (2010). Permutation p-values should never be zero: calculating exact p-values when "
        "permutations are randomly drawn. Statistical Applications in Genetics and Molecular Biology 9:39.",
        _DOI + "10.2202/1544-6115.1585",
    ),
    "hall1992": (
        "Hall P (1992). On the removal of skewness by transformation. Journal of the Royal Statistical Society, "
        "Series B 54:221-228.",
        _DOI + "10.1111/j.2517-6161.1992.tb01876.x",
    ),
}
#: Works behind the AUC within folds and its ROC curve.
OF_FOLDS = {
    "fawcett2006": (
        "Fawcett T (2006). An introduction to ROC analysis. Pattern Recognition Letters 27:861-874.",
        _DOI + "10.1016/j.patrec.2005.10.010",
    ),
    "forman2010": (
        "Forman G, Scholz M (2010). Apples-to-apples in cross-validation studies: pitfalls in classifier performance "
        "measurement. ACM SIGKDD Explorations Newsletter 12:49-57.",
        _DOI + "10.1145/1882471.1882479",
    ),
}
#: Works behind the section Trust: of scores, where accuracy is reported, and of regions.
OF_SCORES = {
    "vancalster2019": (
        "Van Calster B, McLernon DJ, van Smeden M, Wynants L, Steyerberg EW (2019). Calibration: the Achilles heel of "
        "predictive analytics. BMC Medicine 17:230.",
        _DOI + "10.1186/s12916-019-1466-7",
    ),
    "collins2024": (
        "Collins GS, Moons KGM, Dhiman P, et al. (2024). TRIPOD+AI statement: updated guidance for reporting clinical "
        "prediction models that use regression or machine learning methods. BMJ 385:e078378.",
        _DOI + "10.1136/bmj-2023-078378",
    ),
    "mongan2020": (
        "Mongan J, Moy L, Kahn CE (2020). Checklist for Artificial Intelligence in Medical Imaging (CLAIM): a guide "
        "for authors and reviewers. Radiology: Artificial Intelligence 2:e200029.",
        _DOI + "10.1148/ryai.2020200029",
    ),
    "tejani2024": (
        "Tejani AS, Klontzas ME, Gatti AA, Mongan JT, Moy L, Park SH, Kahn CE (2024). Checklist for Artificial "
        "Intelligence in Medical Imaging (CLAIM): 2024 update. Radiology: Artificial Intelligence 6:e240300.",
        _DOI + "10.1148/ryai.240300",
    ),
    "vickers2006": (
        "Vickers AJ, Elkin EB (2006). Decision curve analysis: a novel method for evaluating prediction models. "
        "Medical Decision Making 26:565-574.",
        _DOI + "10.1177/0272989X06295361",
    ),
    "holm1979": (
        "Holm S (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics "
        "6:65-70.",
        "",
    ),
    "bonett2000": (
        "Bonett DG, Wright TA (2000). Sample size requirements for estimating Pearson, Kendall and Spearman "
        "correlations. Psychometrika 65:23-28.",
        _DOI + "10.1007/BF02294183",
    ),
}
#: Works behind the tests of covariates.
OF_COVARIATES = {
    "kruskal1952": (
        "Kruskal WH, Wallis WA (1952). Use of ranks in one-criterion variance analysis. Journal of the American "
        "Statistical Association 47:583-621.",
        _DOI + "10.1080/01621459.1952.10483441",
    ),
    "steiger2004": (
        "Steiger JH (2004). Beyond the F test: effect size confidence intervals and tests of close fit in the analysis "
        "of variance and contrast analysis. Psychological Methods 9:164-182.",
        _DOI + "10.1037/1082-989X.9.2.164",
    ),
}
OF_REGIONS = {
    "freedman1983": (
        "Freedman D, Lane D (1983). A nonstochastic interpretation of reported significance levels. Journal of "
        "Business & Economic Statistics 1:292-298.",
        _DOI + "10.1080/07350015.1983.10509354",
    ),
}
#: Works behind the comparison of several trainings.
OF_STABILITY = {
    "shrout1979": (
        "Shrout PE, Fleiss JL (1979). Intraclass correlations: uses in assessing rater reliability. Psychological "
        "Bulletin 86:420-428.",
        _DOI + "10.1037/0033-2909.86.2.420",
    ),
    "efron1981": (
        "Efron B, Stein C (1981). The jackknife estimate of variance. The Annals of Statistics 9:586-596.",
        _DOI + "10.1214/aos/1176345462",
    ),
    "owen2012": (
        "Owen AB, Eckles D (2012). Bootstrapping data arrays of arbitrary order. The Annals of Applied Statistics "
        "6:895-927.",
        _DOI + "10.1214/12-AOAS547",
    ),
}
