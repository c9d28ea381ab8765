import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import RegionError
from backend.label_studio.regions.polygon import polygon_to_crop
from backend.label_studio.regions.vector import vector_to_crop
from tests.backend.label_studio.regions.region_cases import corners

SIZE = (80, 100)
percent = st.floats(-20, 120, allow_nan=False)
point = st.tuples(percent, percent)


def read(vertices, **more):
    return vector_to_crop({"vertices": vertices, "closed": True} | more, *SIZE).paste(*SIZE)


@given(st.lists(point, min_size=3, max_size=9), st.randoms())
@settings(max_examples=100, deadline=None)
def test_straight_lines_are_the_polygon_of_their_corners_in_any_order_of_the_list(points, random):
    try:
        expected = polygon_to_crop([list(each) for each in points], *SIZE).paste(*SIZE)
    except RegionError as error:
        assert error.kind == "no_pixel"
        return
    vertices = corners(*points)
    first, rest = vertices[0], vertices[1:]
    random.shuffle(rest)
    assert np.array_equal(read([first, *rest]), expected)


def curve(a, b, c, d, pieces=5_000):
    """A cubic Bezier curve by de Casteljau's rule, in pieces far smaller than a pixel."""
    t = np.linspace(0, 1, pieces, endpoint=False)[:, None]
    mix = lambda p, q: p + (q - p) * t  # noqa: E731
    ab, bc, cd = mix(a, b), mix(b, c), mix(c, d)
    return mix(mix(ab, bc), mix(bc, cd))


def given_ends(start, end):
    """The control points of a piece as the editor's `segmentsToPathData` takes them."""
    a, d = (np.array([each["x"], each["y"]]) for each in (start, end))
    leaving, arriving = start.get("controlPoint2"), end.get("controlPoint1")
    if not start["isBezier"] and not end["isBezier"]:
        return a, a, d, d
    b = np.array([leaving["x"], leaving["y"]]) if start["isBezier"] else a + 0.3 * (d - a)
    c = np.array([arriving["x"], arriving["y"]]) if end["isBezier"] else d - 0.3 * (d - a)
    return a, b, c, d


@pytest.mark.slow
@given(st.lists(st.tuples(point, st.booleans(), point, point), min_size=3, max_size=6))
@settings(max_examples=60, deadline=None)
def test_curves_are_filled_as_the_editor_draws_them(drawn):
    vertices = [
        vertex
        | {
            "isBezier": bent,
            "controlPoint1": {"x": one[0], "y": one[1]},
            "controlPoint2": {"x": two[0], "y": two[1]},
        }
        for vertex, (_, bent, one, two) in zip(
            corners(*(each[0] for each in drawn)), drawn, strict=True
        )
    ]
    ends = zip(vertices, [*vertices[1:], vertices[0]], strict=True)
    fine = np.concatenate([curve(*given_ends(*pair)) for pair in ends])
    try:
        expected = polygon_to_crop(fine.tolist(), *SIZE).paste(*SIZE)
    except RegionError:
        return
    try:
        found = read(vertices)
    except RegionError:
        found = np.zeros(SIZE, bool)
    # The pieces stray by at most a tenth of a pixel, so only pixels at the outline may differ.
    shift = [np.roll(expected, by, axis) for by in (1, -1) for axis in (0, 1)]
    inner = expected & np.logical_and.reduce(shift)
    assert found[inner].mean() >= 0.97 if inner.any() else True
    assert (found ^ expected).sum() <= 0.02 * expected.sum() + 12


def test_two_corners_enclose_an_area_where_they_are_curves():
    bow = [
        {"id": "a", "x": 20, "y": 50, "prevPointId": "b", "isBezier": True,
         "controlPoint1": {"x": 20, "y": 90}, "controlPoint2": {"x": 20, "y": 10}},
        {"id": "b", "x": 80, "y": 50, "prevPointId": "a", "isBezier": True,
         "controlPoint1": {"x": 80, "y": 10}, "controlPoint2": {"x": 80, "y": 90}},
    ]  # fmt: skip
    mask = read(bow)
    # Each half is a cubic arch of height 3/4 * 40 %; its area is 3/5 of its box's 60 x 40 %.
    assert mask.sum() == pytest.approx(2 * 0.6 * 60 * 0.4 * 80, rel=0.02)


@pytest.mark.parametrize(
    ("value", "kind", "says"),
    [
        ({"vertices": []}, "unreadable_shape", "list of 1 to"),
        ({"vertices": None}, "unreadable_shape", "list of 1 to"),
        ({"vertices": [3]}, "unreadable_shape", "got others"),
        ({"vertices": [{"x": 1}] * 3}, "unreadable_shape", "number as y"),
        ({"vertices": corners((1, 1), (9, 9))}, "no_pixel", "2 corners have no area"),
        (
            {"vertices": corners((0, 0), (9, 9), (9, 0)), "closed": False},
            "unreadable_shape",
            "open",
        ),
        ({"vertices": corners((1e9, 0), (9, 9), (9, 0))}, "unreadable_shape", "in percent"),
    ],
)
def test_what_is_no_outline_is_refused_by_name(value, kind, says):
    with pytest.raises(RegionError, match=says) as caught:
        vector_to_crop({"closed": True} | value, *SIZE)
    assert caught.value.kind == kind
