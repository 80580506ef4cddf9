"""Tables with an entry per operator."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aerocam.export.nodes.operator_tables import decorator_of


def test_a_name_has_one_entry() -> None:
    table: dict[str, Callable[[], int]] = {}
    entry = decorator_of(table)

    @entry("A", "B")
    def one() -> int:
        return 1

    assert table == {"A": one, "B": one}
    assert one() == 1
    with pytest.raises(ValueError, match="B has an entry already: one"):

        @entry("C", "B")
        def two() -> int:
            return 2

    assert table == {"A": one, "B": one}
