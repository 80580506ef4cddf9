"""Target layers: the tensors that can be explained, and the ones that are taken when nobody says."""
