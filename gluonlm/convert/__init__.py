"""Conversion: export to ONNX, PyTorch and HTML; import of MXNet and PyTorch weights."""
