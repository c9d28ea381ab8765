"""How uncertain the model is about one instance: Eq. 1-3 of Appendix A, natural logarithm.

The paper sums Eq. 2 over the K classes. Here all K+1 entries of p_n count, the background too.
With a single label, entropy and margin would otherwise be the same for every instance.
"""

from __future__ import annotations

import numpy as np

from taudis.errors import DataError
from taudis.types import FloatArray, Instances, Uncertainty

_SUM_TOLERANCE = 1e-2  # of a row of class_probs; float16 storage stays well inside


def _probabilities(name: str, array: FloatArray, ndim: int) -> FloatArray:
    """The array as float64. Raises DataError unless it has `ndim` axes and lies in 0..1."""
    if array.ndim != ndim:
        raise DataError(f"{name}: expected {ndim} axes, got shape {list(array.shape)}.")
    if array.dtype.kind != "f":
        raise DataError(f"{name}: expected a float array, got {array.dtype}.")
    if not ((array >= 0) & (array <= 1)).all():  # false for NaN too
        raise DataError(
            f"{name}: expected probabilities in 0..1, got NaN or a number outside; "
            "apply softmax or sigmoid to the logits first."
        )
    return array.astype(np.float64)


def _class_probabilities(class_probs: FloatArray) -> FloatArray:
    """`class_probs` [N,K+1] as float64. Raises DataError unless rows are distributions."""
    probs = _probabilities("class_probs", class_probs, 2)
    if probs.shape[1] < 2:
        raise DataError(
            "class_probs: expected K+1 >= 2 columns (background and one label), "
            f"got {probs.shape[1]}."
        )
    if (np.abs(probs.sum(axis=1) - 1) > _SUM_TOLERANCE).any():
        raise DataError("class_probs: expected rows that sum to 1; apply softmax first.")
    return probs


def _entropy_terms(probs: FloatArray) -> FloatArray:
    """-p log p of each element, 0 for 0."""
    # Imported here: whoever needs the names of the strategies alone starts without SciPy (0.4 s).
    from scipy.special import entr

    return np.asarray(entr(probs))


def classification_margin(class_probs: FloatArray) -> FloatArray:
    """CM_n = p_n(c_1) - p_n(c_2) (Eq. 1): uncertain when *small*.

    `class_probs` [N,K+1] in 0..1, rows sum to 1. Returns [N] float32 in 0..1.
    Raises DataError for other shapes or ranges.
    """
    top = np.partition(_class_probabilities(class_probs), -2, axis=1)
    return (top[:, -1] - top[:, -2]).astype(np.float32)


def classification_entropy(class_probs: FloatArray) -> FloatArray:
    """CE_n = -sum_k p_n(c_k) log p_n(c_k) (Eq. 2), 0 log 0 = 0.

    `class_probs` [N,K+1] in 0..1, rows sum to 1. Returns [N] float32 in 0..log(K+1) nats.
    Raises DataError for other shapes or ranges.
    """
    terms = _entropy_terms(_class_probabilities(class_probs))
    return np.asarray(terms.sum(axis=1), np.float32)


def segmentation_entropy(mask_probs: FloatArray) -> FloatArray:
    """SE_n = mean binary entropy of the mask of the winning class (Eq. 3).

    `mask_probs` [N,M,M] in 0..1 (or [N,H,W]), at the head's own resolution. Exact at 0 and 1.
    Returns [N] float32 in 0..log(2) nats. Raises DataError for other shapes or ranges.
    """
    probs = _probabilities("mask_probs", mask_probs, 3)
    if not len(probs):
        return np.zeros(0, np.float32)
    if not probs.size:
        raise DataError(f"mask_probs: expected masks with cells, got shape {list(probs.shape)}.")
    cells = _entropy_terms(probs) + _entropy_terms(1 - probs)
    return np.asarray(cells.mean(axis=(1, 2)), np.float32)


def uncertainty_of(instances: Instances) -> Uncertainty:
    """All three uncertainties of each instance (Algorithm 1 line 4).

    Raises DataError if the instances carry no `mask_probs`: compute before masks are dropped.
    """
    if instances.mask_probs is None:
        raise DataError(
            "Instances.mask_probs: expected [N,M,M], got None; compute the uncertainty of an "
            "image's instances before its masks are dropped."
        )
    return Uncertainty(
        cm=classification_margin(instances.class_probs),
        ce=classification_entropy(instances.class_probs),
        se=segmentation_entropy(instances.mask_probs),
    )
