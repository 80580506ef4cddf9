"""Recording: videos in segments that outlive the run, and records beside them."""
