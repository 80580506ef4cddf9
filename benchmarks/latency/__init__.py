"""Latency: what explaining costs, measured alternately in one process. `aerocam bench` is its command."""
