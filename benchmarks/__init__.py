"""Benchmarks: what explaining costs and how good its maps are.

`aerocam bench`, `eval`, `compare`, `check --device` and `demo` run them.
"""
