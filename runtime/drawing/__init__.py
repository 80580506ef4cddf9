"""Drawing: overlays over frames, regions of maps."""
