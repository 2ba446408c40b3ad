from __future__ import annotations

import numpy as np

from buildex.geo.bootstrap import Interval
from buildex.scoring.wording import bracketed, worded


def test_values_are_worded_with_their_unit():
    assert worded(1234.4, "count") == "1,234"
    assert worded(0.12345, "m") == "0.123 m"
    assert worded(np.nan, "m") == "-"
    assert bracketed(Interval(3.2, 1200.0), "count") == "[3, 1,200]"
    assert bracketed(Interval(np.nan, np.nan)) == ""
