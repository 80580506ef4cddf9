"""Pages of figures: each module measures anew and writes one page."""
