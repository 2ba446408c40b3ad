"""Prediction without torch: a model's ONNX graphs, and what lies between them, in numpy."""
