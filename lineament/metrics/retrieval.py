"""Retrieval metrics of a ranked list: mean average precision and NDCG of multi-attribute queries.

query ("Smiling and not Eyeglasses") -> relevance of each image -> order by score -> mAP, NDCG@k
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from lineament.metrics.counts import mean_of_known
from lineament.metrics.ranking import average_precision_1d
from lineament.types import Float64


def ndcg_1d(scores: npt.ArrayLike, gains: npt.ArrayLike, k: int | None = None) -> float:
    """Return NDCG@k of one query: gain / log2(rank + 1), over the best possible order; NaN if every gain is zero.

    Convention: images with equal scores share the mean of their gains, so their order in the file does not matter.
    Source: Jarvelin & Kekalainen, ACM TOIS 2002; tie averaging as McSherry & Najork, ECIR 2008.

    >>> ndcg_1d([0.9, 0.8, 0.1], [1, 0, 1], k=2) < 1.0
    True
    """
    s, gain = np.asarray(scores, np.float64), np.asarray(gains, np.float64)
    if not gain.any():
        return float("nan")
    top = len(s) if k is None else min(k, len(s))
    discount = np.zeros(len(s))
    discount[:top] = 1.0 / np.log2(np.arange(2, top + 2))
    _, tie = np.unique(-s, return_inverse=True)
    mean_gain = np.bincount(tie, gain) / np.bincount(tie)
    order = np.argsort(tie, kind="stable")
    return float(np.sum(mean_gain[tie[order]] * discount) / np.sum(np.sort(gain)[::-1] * discount))


def query_scores(probs: npt.ArrayLike, attributes: Sequence[str], query: Mapping[str, bool]) -> Float64:
    """Return the score (N,) of images for a conjunction: the product of p or 1 - p over the query's attributes
    (independence assumed)."""
    p = np.asarray(probs, np.float64)
    columns = [list(attributes).index(name) for name in query]
    wanted = np.array(list(query.values()), bool)
    return np.asarray(np.where(wanted, p[:, columns], 1 - p[:, columns]).prod(1))


def retrieval(
    probs: npt.ArrayLike,
    targets: npt.ArrayLike,
    attributes: Sequence[str],
    queries: Sequence[Mapping[str, bool]],
    k: int = 10,
) -> dict[str, float]:
    """Return {"map", "ndcg", "queries"}: means over the queries that have at least one relevant image.

    Args: probs (N,A), targets (N,A) {0,1}, queries: attribute -> wanted answer, all of which an image must meet to be
        relevant.
    """
    truth = np.asarray(targets).astype(bool)
    names = list(attributes)
    precisions, gains = [], []
    for query in queries:
        relevant = np.all([truth[:, names.index(name)] == wanted for name, wanted in query.items()], axis=0)
        scores = query_scores(probs, names, query)
        precisions.append(average_precision_1d(scores, relevant))
        gains.append(ndcg_1d(scores, relevant, k))
    return {
        "map": float(mean_of_known(precisions)),
        "ndcg": float(mean_of_known(gains)),
        "queries": int(np.sum(~np.isnan(precisions))),
    }
