"""Video: frames in from files, cameras and URLs, explained as they come, overlays out."""
