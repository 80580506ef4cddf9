"""Whether NVIDIA's own Python packages have every name that the device side uses, and take what it gives them.

`packages` brings the real ones, `describe` asks one what it has, `uses` finds what the source asks of it.
"""
