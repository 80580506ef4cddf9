"""Reverse-mode differentiation on the graph: the walk, its tables of rules, and stacks of several targets at once."""
