"""`aerocam eval`: how good maps are, measured on the exported model itself.

`case` is what a metric sees; `metrics` has one function per metric; the rest runs them over pictures and writes tables.
"""
