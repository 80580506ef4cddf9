"""Fused ends: a camera's frame goes into the graph, a finished map or the overlay comes out.

frame_in     uint8 (H, W, 3) BGR -> the model's input tensor
map_out      a head's raw map -> maps in [0, 1], at the layer's size or over the frame
overlay_out  maps and frame -> uint8 (H, W, 3) BGR
"""

from aerocam.export.ends.fusing import fuse_ends, has_ends, require_ends
