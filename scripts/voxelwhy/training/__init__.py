"""Training of one fold: from registered scans to a network with its normalisation and out-of-sample predictions.

Begin with `fold.train_fold`, then `loop.train_network`; `volumes` contains how a network sees a scan.
"""
