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


def test_names_that_differ_in_case_are_close() -> None:
    labels = ("TRUCK_LOADED", "TRAILER", "TRACTOR", "truck")
    assert did_you_mean("truck_loaded", labels) == "Did you mean 'TRUCK_LOADED'?"
    assert did_you_mean("truck_laded", labels, count=1) == "Did you mean 'TRUCK_LOADED'?"
    assert did_you_mean("Tractro", labels, count=1) == "Did you mean 'TRACTOR'?"
    assert did_you_mean("pase", ("PHASE", "phase")) == "Did you mean 'PHASE' or 'phase'?"
