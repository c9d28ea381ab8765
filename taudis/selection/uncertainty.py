"""The uncertainty of the model about an instance: Eq. 1 to 3 of Appendix A, natural logarithm.

Eq. 2 sums over the K classes. Here p_n has K+1 entries, because the background counts as a class.
Otherwise a model with a single label would give every instance the same entropy and margin.
"""

from __future__ import annotations

import numpy as np

from taudis.errors import DataError
from taudis.types import FloatArray, Instances, Uncertainty

_SUM_TOLERANCE = 1e-2  # a row of class_probs sums to 1 +- this; float16 rounding is far smaller


def _probabilities(name: str, array: FloatArray, ndim: int) -> FloatArray:
    """The array as float64. Raises DataError unless it has `ndim` axes and values in 0..1."""
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
    """`class_probs` [N,K+1] as float64. Raises DataError unless each row is a distribution."""
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
    """-p log p of each element; 0 for p = 0."""
    # Imported here because SciPy takes 0.4 s to import, and listing the strategies needs none.
    from scipy.special import entr

    return np.asarray(entr(probs))


def classification_margin(class_probs: FloatArray) -> FloatArray:
    """CM_n = p_n(c_1) - p_n(c_2) (Eq. 1), which is small for uncertain instances.

    `class_probs` [N,K+1] in 0..1, rows sum to 1. Returns [N] float32 in 0..1.
    Raises DataError for other shapes or ranges.
    """
    top = np.partition(_class_probabilities(class_probs), -2, axis=1)
    return (top[:, -1] - top[:, -2]).astype(np.float32)


def classification_entropy(class_probs: FloatArray) -> FloatArray:
    """CE_n = -sum_k p_n(c_k) log p_n(c_k) (Eq. 2), with 0 log 0 = 0.

    `class_probs` [N,K+1] in 0..1, rows sum to 1. Returns [N] float32 in 0..log(K+1) nats.
    Raises DataError for other shapes or ranges.
    """
    terms = _entropy_terms(_class_probabilities(class_probs))
    return np.asarray(terms.sum(axis=1), np.float32)


def segmentation_entropy(mask_probs: FloatArray) -> FloatArray:
    """SE_n = mean binary entropy over the cells of the mask of the winning class (Eq. 3).

    `mask_probs` [N,M,M] or [N,H,W] in 0..1, at the resolution of the mask head. The entropy of a
    cell of 0 or 1 is exactly 0. Returns [N] float32 in 0..log(2) nats.
    Raises DataError for other shapes or ranges.
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

    Raises DataError if the instances have no `mask_probs`: call this before masks are dropped.
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
