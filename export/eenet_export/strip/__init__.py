"""From deepbet's wheel to a strip bundle: its two TorchScript networks become ONNX, are proved, and get a name.

PyTorch is needed here and nowhere else in the toolkit; it computes what the bundle is held against.
"""
