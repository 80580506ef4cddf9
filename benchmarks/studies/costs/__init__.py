"""Costs of single parts: heads, ends, tails, exports, memory."""
