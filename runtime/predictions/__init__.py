"""Predictions: what a model says of a frame, read from its outputs, and the targets chosen from that."""
