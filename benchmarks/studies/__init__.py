"""Studies: the measurements behind the pages of figures. They are not installed with the package."""
