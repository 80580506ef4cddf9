"""Sources of frames: a reader for each kind, and one policy for all of them."""
