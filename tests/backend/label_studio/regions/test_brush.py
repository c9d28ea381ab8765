import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import RegionError
from backend.label_studio.regions.brush import decode_rle, encode_rle, encode_rles
from backend.label_studio.regions.crop import Crop
from tests.backend.sdk import sdk_brush

sdk = sdk_brush()
masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


def sdk_encode(mask):
    return sdk.mask2rle(mask.astype(np.uint8) * 255)


def sdk_decode(rle, height, width):
    return half_full(sdk.decode_rle(rle).reshape(height, width, 4)[:, :, 3])


def half_full(alpha):
    return (alpha > 0) & (2 * alpha.astype(int) >= alpha.max())


def blobs(height, width, seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), bool)
    for _ in range(4):
        cy, cx, r = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(1, 2 + height / 2)
        mask |= (y - cy) ** 2 + (x - cx) ** 2 < r * r
    return mask


@pytest.mark.slow
@given(masks)
@settings(max_examples=300, deadline=None)
def test_encoder_and_decoder_are_the_sdks_bit_for_bit(mask):
    rle = encode_rle(mask)
    assert rle == sdk_encode(mask)
    assert np.array_equal(decode_rle(rle, *mask.shape), mask)
    assert np.array_equal(decode_rle(rle, *mask.shape), sdk_decode(rle, *mask.shape))


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 2), (2, 1), (1, 64), (64, 1), (1, 65), (1, 4096), (128, 130), (256, 256)]
)
@pytest.mark.parametrize("kind", ["empty", "full", "last", "first", "blobs"])
def test_run_lengths_at_every_bound_are_the_sdks(shape, kind):
    mask = np.zeros(shape, bool)
    if kind == "full":
        mask[:] = True
    elif kind == "last":
        mask[-1, -1] = True
    elif kind == "first":
        mask[0, 0] = True
    elif kind == "blobs":
        mask = blobs(*shape, seed=1)
    assert encode_rle(mask) == sdk_encode(mask)
    assert np.array_equal(decode_rle(encode_rle(mask), *shape), mask)


def test_runs_over_65536_values_are_cut_as_the_sdk_does():
    for pixels in (16384, 16385, 32768, 32769, 49153):
        mask = np.ones((1, pixels), bool)
        assert encode_rle(mask) == sdk_encode(mask)


@pytest.mark.slow
@given(st.data(), st.integers(1, 90), st.integers(1, 90))
@settings(max_examples=200, deadline=None)
def test_crops_of_one_image_are_encoded_as_their_full_masks(data, height, width):
    crops, wanted = [], []
    for _ in range(data.draw(st.integers(0, 5))):
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        shape = st.tuples(st.integers(1, height - top), st.integers(1, width - left))
        crops.append(Crop(data.draw(hnp.arrays(np.bool_, shape)), left, top))
        wanted.append(encode_rle(crops[-1].paste(height, width)))
    assert encode_rles(crops, height, width) == wanted


def test_long_and_short_runs_of_several_masks_keep_apart():
    whole = [blobs(300, 500, seed) for seed in range(4)]
    whole += [np.zeros((300, 500), bool), np.ones((300, 500), bool)]
    crops = [Crop(mask, 0, 0) for mask in whole]
    assert encode_rles(crops, 300, 500) == [sdk_encode(mask) for mask in whole]


@pytest.mark.slow
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8), st.just(4))),
    st.sampled_from([[3, 4, 8, 16], [1, 2, 3, 4]]),
)
@settings(max_examples=200, deadline=None)
def test_what_the_sdk_writes_of_any_rgba_image_is_read_like_it(image, sizes):
    rle = sdk.encode_rle(image.ravel()) if sizes[0] == 3 else literal_rle(image.ravel(), sizes)
    expected = sdk_decode(rle, *image.shape[:2])
    assert np.array_equal(decode_rle(rle, *image.shape[:2]), expected)
    assert np.array_equal(expected, half_full(image[:, :, 3]))


def test_the_faint_fringe_that_an_eraser_leaves_does_not_count():
    alpha = np.array([[0, 40, 255], [127, 128, 200]], np.uint8)
    rle = sdk.encode_rle(np.repeat(alpha, 4))
    assert decode_rle(rle, 2, 3).tolist() == [[False, False, True], [False, True, True]]
    faint = sdk.encode_rle(np.repeat(alpha // 4, 4))  # a tool that draws with a quarter's opacity
    assert np.array_equal(decode_rle(faint, 2, 3), decode_rle(rle, 2, 3))


def literal_rle(values, sizes):
    """Literal runs of at most four values, as thi.ng's encoder writes them for noise."""
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    for start in range(0, len(values), 4):
        part = values[start : start + 4]
        bits += "0" + "01" + f"{len(part) - 1:0{sizes[1]}b}" + "".join(f"{v:08b}" for v in part)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


@pytest.mark.parametrize(
    ("rle", "says"),
    [
        ([], "header of 7 bytes"),
        ([1, 2, 3], "header of 7 bytes"),
        ("AAAA", "got str"),
        (None, "got NoneType"),
        ([256] * 9, "0..255"),
        ([-1] * 9, "0..255"),
        ([1.5] * 9, "0..255"),
        (["a"] * 9, "0..255"),
    ],
)
def test_what_is_no_rle_is_refused(rle, says):
    with pytest.raises(RegionError, match=says):
        decode_rle(rle, 4, 4)


@pytest.mark.fault("F9", "bombs")
def test_a_claim_beyond_the_image_or_the_limit_is_refused_before_allocation(monkeypatch, figures):
    rle = encode_rle(blobs(40, 30, seed=3))
    monkeypatch.setattr(
        "backend.label_studio.regions.brush.np.repeat", lambda *_: pytest.fail("allocated")
    )
    with pytest.raises(RegionError, match="its header says 4800"):
        decode_rle(rle, 20, 30)
    monkeypatch.setattr("backend.label_studio.regions.brush.MAX_PIXELS", 1199)
    with pytest.raises(RegionError, match="expected an image of 1 to 1199 px, got 40x30"):
        decode_rle(rle, 40, 30)
    for size in ((0, 5), (-1, 5), (10**9, 10**9)):
        with pytest.raises(RegionError):
            decode_rle(rle, *size)
    figures(bombs=5)


def test_cut_short_at_every_byte_is_refused_or_the_same():
    mask = blobs(20, 20, seed=3)
    rle = encode_rle(mask)
    refused = 0
    for length in range(len(rle)):
        try:
            assert np.array_equal(decode_rle(rle[:length], 20, 20), mask)
        except RegionError:
            refused += 1
    assert refused >= len(rle) - 2  # the last one or two bytes may be padding


def test_a_wrong_size_or_word_size_is_refused():
    rle = encode_rle(np.ones((4, 4), bool))
    with pytest.raises(RegionError, match="its header says 64"):
        decode_rle(rle, 4, 5)
    wide = [*rle]
    wide[4] |= 0b11111000  # 32 bits a value
    with pytest.raises(RegionError, match="at most 8 bits"):
        decode_rle(wide, 4, 4)


@given(st.lists(st.integers(0, 255), max_size=60))
@settings(max_examples=300, deadline=None)
def test_random_bytes_never_do_more_than_raise_region_error(body):
    head = np.packbits([int(b) for b in f"{4 * 64:032b}{7:05b}0010001101111111" + "000"]).tolist()
    for rle in (body, head + body):
        try:
            assert decode_rle(rle, 8, 8).shape == (8, 8)
        except RegionError:
            continue


def test_a_crop_outside_the_image_is_refused():
    with pytest.raises(RegionError, match="leaves the image"):
        encode_rles([Crop(np.ones((2, 2), bool), 3, 0)], 4, 4)
