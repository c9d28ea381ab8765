"""The scores of an order, and the post that sets them, against Python's own JSON."""

import json

from hypothesis import given
from hypothesis import strategies as st

from backend.label_studio.queue import bulk_post, score_behind, score_of

rows = st.tuples(
    st.integers(1, 2**62),
    st.floats(0, 2),
    st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9)), max_size=3),
)


@given(st.text(max_size=20), st.lists(rows, max_size=5))
def test_a_bulk_post_is_what_json_would_write(version, found):
    post = bulk_post(
        version, [(task, score, json.dumps(result).encode()) for task, score, result in found]
    )
    whole = [
        {"task": task, "result": result, "score": score, "model_version": version}
        for task, score, result in found
    ]
    assert post.body == json.dumps(whole).encode()
    assert len(post) == len(found)


@given(st.integers(1, 10_000))
def test_scores_ascend_with_the_rank_and_unknown_tasks_come_last(tasks):
    scores = [score_of(rank, tasks) for rank in range(1, tasks + 1)]
    assert scores == sorted(set(scores)) and scores[0] > 0 and scores[-1] == 1.0
    assert score_behind(tasks) > 1.0


def test_an_order_without_tasks_has_a_place_behind_it():
    assert score_behind(0) == 2.0
