"""Frames of 16 bits, of floats, of any number of channels: read from files, brought to the tensor, and shown."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from aerocam.errors import MediaError, UsageError
from aerocam.manifest import Preprocess
from aerocam.runtime.frames.inputs import as_frame, displayed, in_type
from aerocam.runtime.frames.pictures import decode_picture, read_picture
from aerocam.runtime.frames.preprocess import Preprocessor

pytestmark = pytest.mark.runtime

RNG = np.random.default_rng(7)
WIDE = RNG.integers(0, 65536, (6, 8, 3), np.uint16)
FLOATS = (RNG.random((6, 8, 3)) * 40 + 280).astype(np.float32)


def rule(**fields: object) -> Preprocess:
    return Preprocess("x", (6, 8), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_are_read_as_they_are(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"wide{suffix}"
    cv2.imwrite(str(path), WIDE)
    np.testing.assert_array_equal(read_picture(path), WIDE)
    cv2.imwrite(str(path), WIDE[..., 0])
    np.testing.assert_array_equal(read_picture(path), np.dstack([WIDE[..., 0]] * 3))


def test_floats_are_read_as_they_are(tmp_path: Path) -> None:
    uncompressed = [cv2.IMWRITE_TIFF_COMPRESSION, 1]  # OpenCV 4.8 writes colour floats with a loss otherwise
    cv2.imwrite(str(tmp_path / "f.tiff"), FLOATS, uncompressed)
    np.testing.assert_array_equal(read_picture(tmp_path / "f.tiff"), FLOATS)
    cv2.imwrite(str(tmp_path / "g.tiff"), FLOATS[..., 1], uncompressed)
    np.testing.assert_array_equal(read_picture(tmp_path / "g.tiff"), np.dstack([FLOATS[..., 1]] * 3))
    np.save(tmp_path / "f.npy", FLOATS)
    np.testing.assert_array_equal(read_picture(tmp_path / "f.npy"), FLOATS)


def test_bands_are_read_in_the_files_order(tmp_path: Path) -> None:
    path, pages = tmp_path / "b.tiff", [WIDE[..., 0], WIDE[..., 1]]
    cv2.imwritemulti(str(path), [*pages, WIDE[..., 2], 9 + 0 * WIDE[..., 0], WIDE[::-1, :, 0]])
    bands = read_picture(path, bands=True)
    assert bands.shape == (6, 8, 5)
    np.testing.assert_array_equal(bands[..., :3], WIDE)
    four = np.dstack([WIDE, WIDE[..., 1]])
    cv2.imwrite(str(path), four)
    np.testing.assert_array_equal(read_picture(path, bands=True), four[..., [2, 1, 0, 3]])
    np.save(tmp_path / "b.npy", bands)
    np.testing.assert_array_equal(read_picture(tmp_path / "b.npy", bands=True), bands)


def tiff(
    bands: np.ndarray, *, planar: bool = False, deflated: bool = False, order: str = "<", strips: int = 2
) -> bytes:
    """A TIFF with all bands on one page, in strips, as GDAL and tifffile write it."""
    height, width, count = bands.shape
    ordered = bands.astype(bands.dtype.newbyteorder(order))
    planes = ordered.transpose(2, 0, 1)[..., None] if planar else ordered[None]
    pieces = [piece.tobytes() for plane in planes for piece in np.split(plane, strips)]
    pieces = [zlib.compress(piece) for piece in pieces] if deflated else pieces
    starts = np.cumsum([8, *map(len, pieces)]).tolist()
    tags: list[tuple[int, str, list[int]]] = [
        (256, "I", [width]), (257, "I", [height]), (258, "H", [8 * bands.dtype.itemsize] * count),
        (259, "H", [8 if deflated else 1]), (262, "H", [1]), (273, "I", starts[:-1]), (277, "H", [count]),
        (278, "I", [height // strips]), (279, "I", [len(piece) for piece in pieces]), (284, "H", [1 + planar]),
        (339, "H", [1 + "uif".index(bands.dtype.kind)] * count),
    ]  # fmt: skip
    directory, behind = struct.pack(f"{order}H", len(tags)), b""
    free = starts[-1] + 2 + 12 * len(tags) + 4
    for tag, kind, values in tags:
        raw = struct.pack(f"{order}{len(values)}{kind}", *values)
        place = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack(f"{order}I", free + len(behind))
        behind += raw if len(raw) > 4 else b""
        directory += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + place
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, starts[-1])
    return head + b"".join(pieces) + directory + struct.pack(f"{order}I", 0) + behind


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("count", [2, 4, 13])
@pytest.mark.parametrize("how", [{}, {"planar": True}, {"deflated": True, "order": ">"}, {"strips": 1}], ids=str)
def test_bands_on_one_page(how: dict[str, Any], count: int, dtype: type) -> None:
    bands = (RNG.random((6, 8, count)) * 200).astype(dtype)
    found = decode_picture(tiff(bands, **how), "b.tiff", bands=True)
    assert (found.dtype, found.flags.c_contiguous) == (bands.dtype, True)
    np.testing.assert_array_equal(found, bands)


def test_bands_that_cannot_be_read_are_refused() -> None:
    content = tiff(WIDE)
    lzw = content.replace(struct.pack("<HHI", 259, 3, 1) + b"\1", struct.pack("<HHI", 259, 3, 1) + b"\5")
    with pytest.raises(MediaError, match=r"b\.tiff: found 3 bands, compressed or in tiles; strips, plain or deflated"):
        decode_picture(lzw, "b.tiff", bands=True)
    broken = tiff(WIDE, deflated=True)
    broken = broken[:8] + bytes(20) + broken[28:]
    for damaged in (content[:-40], content[:6], content.replace(struct.pack("<HH", 256, 4), bytes(4)), broken):
        with pytest.raises(MediaError, match=r"found a damaged TIFF"):
            decode_picture(damaged, "b.tiff", bands=True)
    taller = content.replace(struct.pack("<HHII", 257, 4, 1, 6), struct.pack("<HHII", 257, 4, 1, 9999))
    with pytest.raises(MediaError, match=r"found .* bytes for 3 bands of 8x9999 px of 16 bits"):
        decode_picture(taller, "b.tiff", bands=True)


def test_an_array_file_of_another_machine(tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", np.asfortranarray(WIDE.astype(">u2")))
    found = read_picture(tmp_path / "b.npy")
    assert (found.dtype, found.flags.c_contiguous) == (np.uint16, True)
    np.testing.assert_array_equal(found, WIDE)


def test_an_array_file_that_holds_objects_is_refused() -> None:
    with pytest.raises(MediaError, match=r"x\.npy: found an \.npy file of what NumPy cannot read"):
        decode_picture(b"\x93NUMPY\x01\x00", "x.npy")


def test_no_level_of_sixteen_bits_is_lost() -> None:
    tensor, _ = Preprocessor(rule())(WIDE)
    np.testing.assert_allclose(tensor[0], WIDE[..., ::-1].transpose(2, 0, 1) / 65535, rtol=1e-6)
    grey, _ = Preprocessor(rule(color="GRAY", mean=(0.0,), std=(255.0,)))(np.dstack([WIDE[..., 0]] * 3))
    np.testing.assert_allclose(grey[0, 0], WIDE[..., 0] / 65535, rtol=1e-6)


def test_floats_are_in_units_of_their_own() -> None:
    kelvin = rule(mean=(300.0, 290.0, 280.0), std=(10.0, 20.0, 5.0), units="own")
    tensor, _ = Preprocessor(kelvin)(FLOATS)
    expected = (FLOATS[..., ::-1] - np.array(kelvin.mean)) / np.array(kelvin.std)
    np.testing.assert_allclose(tensor[0], expected.transpose(2, 0, 1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(as_frame(tensor, kelvin), FLOATS, rtol=1e-6)
    raw, _ = Preprocessor(rule(std=(1.0,) * 3, units="own"))(WIDE)
    np.testing.assert_array_equal(raw[0], WIDE[..., ::-1].transpose(2, 0, 1).astype(np.float32))
    with pytest.raises(UsageError, match=r"got float32 .*floats have no highest level: export with `units='own'`"):
        Preprocessor(rule())(FLOATS)


@pytest.mark.parametrize("resize", ["crop", "letterbox", "stretch"])
@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic", "area", "pil-bilinear"])
def test_seven_bands_are_resized_as_one_is(interpolation: str, resize: str) -> None:
    frame = RNG.integers(0, 256, (15, 19, 7), np.uint8)
    how = {"resize": resize, "short_side": 9, "interpolation": interpolation, "fill": 50}
    tensor, _ = Preprocessor(rule(color="BANDS", mean=(3.0,) * 7, std=(2.0,) * 7, **how))(frame)
    one = Preprocessor(rule(color="GRAY", mean=(3.0,), std=(2.0,), **how))
    for band in range(7):
        np.testing.assert_allclose(tensor[0, band], one(np.ascontiguousarray(frame[..., band]))[0][0, 0], atol=1e-5)


def test_what_is_shown() -> None:
    frame = np.dstack([np.full((4, 4), level, np.uint8) for level in (10, 20, 30, 40)])
    np.testing.assert_array_equal(displayed(frame, (3, 0, 2))[0, 0], [30, 10, 40])  # in BGR
    np.testing.assert_array_equal(displayed(frame[..., :2], (0, 1, 2))[0, 0], [20, 20, 10])
    thermal = np.linspace(29000, 30000, 16).reshape(4, 4).astype(np.uint16)
    shown = displayed(thermal, None)
    assert (shown.dtype, shown.shape, shown.min(), shown.max()) == (np.uint8, (4, 4, 3), 0, 255)
    assert displayed(frame[..., :3], None).base is frame
    flat = displayed(np.full((4, 4), np.nan, np.float32), None)
    assert (flat == 0).all()


def test_a_tensor_in_the_type_of_the_input() -> None:
    tensor = np.array([-3.0, 0.5, 1.5, 254.6, 300], np.float32)
    np.testing.assert_array_equal(in_type(tensor, np.dtype(np.uint8)), np.array([0, 0, 2, 255, 255], np.uint8))
    assert in_type(tensor, np.dtype(np.float32)) is tensor
    assert in_type(tensor, np.dtype(np.float16)).dtype == np.float16
