"""Which things belong together, where pairs of them do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Index = NDArray[np.int64]


def components(count: int, i: Index, j: Index) -> Index:
    """Which group each of `count` things is in (count,), where pairs i, j belong together.

    Groups are numbered by their first member.
    """
    graph = coo_array((np.ones(len(i), dtype=bool), (i, j)), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    _, first, group = np.unique(label, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return np.asarray(number[group.reshape(-1)], dtype=np.int64)
