"""The measurement that chose the constants of CF-CAM's default: candidates, what they are measured on, the figures."""
