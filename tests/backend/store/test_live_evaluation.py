"""The live evaluation of rows: sums by version and label, lead times, and what is said of them."""

from backend.store.live import LiveRow
from backend.store.live_evaluation import ENOUGH, Total, evaluate
from backend.store.live_words import HEADINGS, sentences, table

VERSIONS = ["v2", "v10"]  # oldest first, not by name


def row(number, kind="visible", version="v2", counts=None, *, seconds=None, who=1, **more):
    return LiveRow(number, number, "now", kind, version, who, seconds, counts, **more)


def changed(**counts):
    return {"square": counts}


def test_changes_are_summed_by_version_and_label():
    found = evaluate(
        [
            row(1, version="v10", counts={"bar": {"accepted": 3, "unchanged": 1, "added": 1}}),
            row(2, counts=changed(accepted=1, reshaped=1)),
            row(3, counts={"square": {"removed": 2}, "bar": {"relabelled": 1}}, outdated=True),
            row(4, counts={}),  # no region and no object
            row(5, "blank", counts=changed(accepted=1, removed=1)),
            row(6, "unknown"),
        ],
        VERSIONS,
    )
    first, second = found.versions
    assert (first.version, first.total.annotations, second.version) == ("v2", 3, "v10")
    assert first.labels["square"] == Total(2, {"accepted": 1, "reshaped": 1, "removed": 2})
    assert first.labels["bar"] == Total(1, {"relabelled": 1})
    assert (first.total.regions, first.total.objects) == (5, 3)
    assert first.total.share("removed") == 0.4 and second.total.share("added") == 0.25
    assert (found.total.annotations, found.total["accepted"]) == (4, 4)
    assert (found.blank.annotations, found.outdated) == (1, 1)
    assert found.kinds == {"visible": 4, "blank": 1, "unknown": 1}

    rows = table(found, by_label=True)
    assert [each[0] for each in rows] == [
        "v2", "v2: bar", "v2: square", "v10", "v10: bar", "all versions",
        "versions with blank tasks", "blank tasks",
    ]  # fmt: skip
    assert rows[0] == ("v2", "3", "5", "20 %", "0 %", "20 %", "20 %", "40 %", "3", "0 %")
    assert {len(each) for each in rows} == {len(HEADINGS)}
    text = " ".join(sentences(found))
    assert "what was given: 4 annotations." in text
    assert "1 of which Label Studio does not say" in text
    assert "1 annotations were edited after" in text


def test_random_tasks_have_a_row_of_their_own():
    rows = [row(1, counts=changed(accepted=1)), row(2, counts=changed(removed=1))]
    found = evaluate(rows, VERSIONS, random={2, 3})
    (version,) = found.versions
    assert (version.total.regions, version.random) == (2, Total(1, {"removed": 1}))
    assert [each[0] for each in table(found)] == ["v2", "v2: random tasks"]
    assert any("a random sample of the pool" in text for text in sentences(found))


def test_blank_tasks_stand_beside_their_own_versions():
    """BLANK_SHARE was set before v10, which is better than v2: no suggestion pulled anybody."""
    rows = [
        row(1, counts=changed(accepted=4, removed=6)),
        row(2, version="v10", counts=changed(accepted=8, removed=2)),
        row(3, "blank", version="v10", counts=changed(accepted=8, removed=2)),
    ]
    found = evaluate(rows, VERSIONS)
    assert found.total.share("accepted") == 0.6
    assert found.beside_blank.share("accepted") == found.blank.share("accepted") == 0.8
    assert found.to_json()["beside_blank"]["shares"]["accepted"] == 0.8
    accepted = {cells[0]: cells[3] for cells in table(found)}
    assert accepted == {
        "v2": "40 %", "v10": "80 %", "all versions": "60 %",
        "versions with blank tasks": "80 %", "blank tasks": "80 %",
    }  # fmt: skip
    assert any("'versions with blank tasks'" in text for text in sentences(found))
    unread = evaluate([*rows, row(4, "blank", counts=None)], VERSIONS)
    assert unread.beside_blank == found.beside_blank  # nothing of v2 is in `blank`


def test_nothing_is_a_share_of_nothing():
    found = evaluate([], VERSIONS)
    assert (table(found), sentences(found), found.not_faster) == ([], [], None)
    empty = evaluate([row(1, counts={})], VERSIONS)
    assert empty.versions[0].total.share("accepted") is None
    assert table(empty) == [("v2", "1", "0", "", "", "", "", "", "0", "")]


def times(first, who, given, blank, version="v2"):
    """ENOUGH annotations of each kind by one person; their medians are half a second higher."""
    spread = [-1, 1] * (ENOUGH // 2 - 1) + [0, 5000]
    return [
        row(first + 100 * kind + n, name, version, {}, seconds=seconds + off, who=who)
        for kind, (name, seconds) in enumerate((("visible", given), ("blank", blank)))
        for n, off in enumerate(spread)
    ]


def test_lead_times_by_annotator_with_a_minimum():
    found = evaluate(
        [
            *times(0, 7, given=10, blank=20),
            *times(1000, 8, given=30, blank=20),
            *times(2000, 9, given=1, blank=50)[:-1],  # one too few
            row(
                5000, counts={}, seconds=1.0, who=7, version="v10"
            ),  # a version without blank tasks
            row(5001, "blank", counts={}),  # no lead time
        ],
        VERSIONS,
    )
    ratios = {each.annotator: each.ratio for each in found.times}
    assert ratios == {7: 10.5 / 20.5, 8: 30.5 / 20.5, 9: None}
    assert found.not_faster == 0.5 and found.untimed == 1
    assert [each.given for each in found.times] == [ENOUGH] * 3
    text = " ".join(sentences(found))
    assert "1 of 2 annotators (50 %)" in text
    assert f"not compared yet for 1 annotators, who need {ENOUGH}" in text
    assert f"(annotator 9: {ENOUGH} and {ENOUGH - 1})" in text
    assert "1 annotations have no lead time" in text
