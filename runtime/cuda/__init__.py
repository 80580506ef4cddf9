"""CUDA through one module of few calls: `access` says which, `choice` finds the Python package that does them.

Nothing here is imported before it is asked for, and no CUDA package before `choice.open_cuda`.
"""
