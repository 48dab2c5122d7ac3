"""Networks from files of other programs: ONNX, TorchScript and torch.export.

Begin with `load_network.py`, which recognises the format and calls the loader for it.
"""
