"""Frames: read, and brought to a model's input tensor as its manifest says."""
