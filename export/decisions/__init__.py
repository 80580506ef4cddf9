"""Decisions about a model: what it does, what its numbers mean, how its input is made, and the evidence for each."""
