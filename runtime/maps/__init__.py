"""Maps: from a model's outputs to one normalised map per target."""
