"""Rows for Attention."""

import numpy as np

from rule_table.case import Case, f32

SEEN = np.random.default_rng(0).random((2, 1, 3, 5)) < 0.6
SEEN[..., 1] = True

ROWS = [
    Case("Attention", [(2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 3)], opset=23),
    Case("Attention", [(2, 4, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4)], {"scale": 0.3}, opset=23),
    Case("Attention", [(2, 3, 8), (2, 5, 8), (2, 5, 6)], {"q_num_heads": 2, "kv_num_heads": 2}, opset=23),
    Case("Attention", [(2, 3, 12), (2, 5, 6), (2, 5, 4)], {"q_num_heads": 4, "kv_num_heads": 2}, opset=23),
    Case("Attention", [(2, 3, 12), (2, 5, 6), (2, 5, 4), SEEN],
         {"q_num_heads": 4, "kv_num_heads": 2, "is_causal": 1}, opset=23),
    Case("Attention", [(1, 2, 4, 3), (1, 2, 5, 3), (1, 2, 5, 3)], {"is_causal": 1}, opset=23),
    Case("Attention", [(1, 4, 4, 3), (1, 2, 5, 3), (1, 2, 5, 3), (4, 5)], {"is_causal": 1}, opset=23),
    Case("Attention", [(2, 4, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4), (2, 1, 3, 5)], opset=23),
    Case("Attention", [(2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4), SEEN], opset=23),
    Case("Attention", [(2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4), f32(3, 5)], opset=23),
]  # fmt: skip
