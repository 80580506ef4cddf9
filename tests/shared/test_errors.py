"""What errors suggest."""

from __future__ import annotations

import pytest

from aerocam.errors import did_you_mean

CLASSES = ("crate", "tiger cat", "Egyptian cat", "castle", "oxcart", "tabby")
pytestmark = pytest.mark.runtime


def test_a_word_of_a_name_comes_before_what_is_spelt_alike() -> None:
    assert did_you_mean("cat", CLASSES) == "Did you mean 'tiger cat' or 'Egyptian cat'?"
    assert did_you_mean("CAT", CLASSES, count=1) == "Did you mean 'tiger cat'?"
    assert did_you_mean("tabbi", CLASSES) == "Did you mean 'tabby'?"
    assert did_you_mean("zzz", CLASSES).startswith("Known: 'crate', 'tiger cat'")
    assert did_you_mean("anything", ()) == "There are none."
