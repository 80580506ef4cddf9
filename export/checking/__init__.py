"""Self-checks of an export on ONNX Runtime.

self_check  all of it, on a model right after the rewriting or on the files of an earlier export
outputs     original outputs before and after, with and without float16
gradients   gradients against finite differences; those of other rules have to be finite
tail        the scores of several activations at once, against those of one
ends        a frame, a map and an overlay in the graph, against the same steps in NumPy
report      what was measured, and what of it is good
"""
