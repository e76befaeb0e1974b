"""Trains patch classifiers on the picks of one line and exports them to ONNX for `infer`."""
