"""Nodes of the graph: appended through `Builder`, with static shapes and sliding windows read from what is there."""
