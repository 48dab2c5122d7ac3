"""What several explanation methods share: reading images, running the model, gradients, Grad-CAM and LRP internals.

Begin with `prepare.py`, which checks model, image and target and runs a method on each image.
"""
