"""What the contract says of branches that a model lacks, and of sigmoid scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from taudis.detector.adapter import check_adapter, class_probs_of_sigmoids
from taudis.errors import DataError
from tests.taudis.detector_cases import detector, mask2former, picture

IMAGES = [picture(1)[0], picture(3, 40, 56)[0]]


@pytest.mark.slow
def test_a_branch_that_a_model_lacks_is_refused_by_name():
    with pytest.raises(DataError, match="expected mask or box for a Mask R-CNN"):
        detector().detect(IMAGES, embedding="query")
    with pytest.raises(DataError, match="expected mask or query for a mask2former"):
        mask2former().detect(IMAGES, embedding="box")


def test_p_of_sigmoid_scores_keeps_the_odds_of_each_label():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.01, 0.99, (50, 3))
    probs = class_probs_of_sigmoids(scores)
    assert probs.shape == (50, 4) and np.allclose(probs.sum(1), 1, atol=1e-6)
    assert np.allclose(probs[:, 1:] / probs[:, :1], scores / (1 - scores), rtol=1e-4)
    assert np.allclose(class_probs_of_sigmoids(scores[:, :1])[:, 1], scores[:, 0], atol=1e-6)
    ends = class_probs_of_sigmoids(np.array([[0.0, 1.0, 0.5]]))
    assert np.isfinite(ends).all() and ends[0].argmax() == 2
    assert class_probs_of_sigmoids(np.zeros((0, 3))).shape == (0, 4)
    for wrong in (scores * 5, scores[0]):
        with pytest.raises(DataError, match=r"expected sigmoid scores \[n, K\] in 0..1"):
            class_probs_of_sigmoids(wrong)


class WithScores:
    """A Mask R-CNN whose class scores are sigmoid scores; `p_of` makes class_probs of them."""

    def __init__(self, p_of):
        self.model, self.p_of = detector(seed=2), p_of
        self.label_map, self.image_embedding_width = self.model.label_map, 16

    def embedding_width(self, embedding):
        return self.model.embedding_width(embedding)

    def detect(self, images, *, embedding="mask"):
        return [self.changed(one) for one in self.model.detect(images, embedding=embedding)]

    def changed(self, one):
        rows = one.instances
        scores = rows.class_probs[:, 1:] ** 0.25  # of rows that sum to more than 1
        probs = self.p_of(scores).astype(np.float32)
        own = probs[np.arange(len(rows)), rows.labels]
        return replace(one, instances=replace(rows, class_probs=probs, scores=own))


def test_rows_that_do_not_sum_to_one_are_refused_and_the_message_says_what_to_do():
    raw = WithScores(lambda scores: np.c_[1 - scores.max(1, initial=0), scores])
    with pytest.raises(DataError, match=r"sum to 1.*to sigmoid scores .*class_probs_of_sigmoids"):
        check_adapter(raw, IMAGES)
    check_adapter(WithScores(class_probs_of_sigmoids), IMAGES)
