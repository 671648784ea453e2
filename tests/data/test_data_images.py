from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tuner.data.errors import DataError
from tuner.data.images import checked_size, content_hash, decode, resize

RGB = np.random.default_rng(0).integers(0, 256, (12, 18, 3), dtype=np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (13, 17, 3)).astype(np.uint16)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png16(samples: np.ndarray, colour_type: int) -> bytes:
    """A 16-bit PNG by hand: Pillow writes none with colour."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff16(samples: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, samples, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_colour_is_kept(kind: str) -> None:
    found = decode(encoded(Image.fromarray(RGB), kind), None)
    assert found.native == (12, 18)
    assert np.array_equal(found.pixels, RGB.transpose(2, 0, 1))


def test_jpeg_is_close() -> None:
    smooth = np.linspace(0, 255, 12 * 18 * 3).reshape(12, 18, 3).astype(np.uint8)
    found = decode(encoded(Image.fromarray(smooth), "JPEG", quality=95), None)
    assert np.abs(found.pixels.transpose(1, 2, 0).astype(int) - smooth).mean() < 8


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_becomes_three_equal_channels(mode: str) -> None:
    grey = Image.fromarray(RGB[..., 0]).convert(mode)
    found = decode(encoded(grey, "PNG"), None).pixels
    assert found.shape == (3, 12, 18)
    assert np.array_equal(found[0], np.asarray(grey.convert("L")))
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[1], found[2])


def test_palette_and_alpha_become_colour() -> None:
    palette = Image.fromarray(RGB).quantize(16)
    found = decode(encoded(palette, "PNG"), None).pixels
    assert np.array_equal(found, np.asarray(palette.convert("RGB")).transpose(2, 0, 1))
    see_through = Image.fromarray(np.dstack([RGB, RGB[..., :1]]))
    assert np.array_equal(decode(encoded(see_through, "PNG"), None).pixels, RGB.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "content",
    [
        png16(DEEP, 2),
        png16(np.concatenate([DEEP, DEEP[..., :1]], -1), 6),
        tiff16(DEEP, photometric="rgb"),
        tiff16(DEEP, photometric="rgb", byteorder=">"),
        tiff16(DEEP, photometric="rgb", compression="zlib", predictor=True),
        tiff16(DEEP.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
    ],
    ids=["png", "png-alpha", "tiff", "tiff-big-endian", "tiff-deflate", "tiff-planes"],
)
def test_sixteen_bit_colour_keeps_every_bit(content: bytes) -> None:
    found = decode(content, None)
    assert found.pixels.dtype == np.uint16
    assert np.array_equal(found.pixels, DEEP.transpose(2, 0, 1))
    assert found.peak == DEEP.max()


@pytest.mark.parametrize(
    "content",
    [png16(DEEP[..., :1], 0), png16(DEEP[..., :2], 4), tiff16(DEEP[..., 0])],
    ids=["png", "png-alpha", "tiff"],
)
def test_sixteen_bit_grey_keeps_every_bit(content: bytes) -> None:
    found = decode(content, None).pixels
    assert found.dtype == np.uint16
    assert np.array_equal(found, np.stack([DEEP[..., 0]] * 3))


def test_sixteen_bits_are_resized_before_they_are_rounded() -> None:
    flat = np.full((40, 30), 1003, np.uint16)
    assert (decode(png16(flat[..., None], 0), (16, 20)).pixels == 1003).all()


def test_camera_orientation_is_respected() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter: shown upright, its height is what was its width
    found = decode(encoded(Image.fromarray(RGB), "PNG", exif=exif), None)
    assert found.native == (18, 12)
    assert np.array_equal(found.pixels, np.rot90(RGB, -1).transpose(2, 0, 1))


def test_size_is_height_by_width() -> None:
    assert decode(encoded(Image.fromarray(RGB), "PNG"), (32, 16)).pixels.shape == (3, 32, 16)


def test_resize_averages_fine_stripes() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    small = resize(stripes, (16, 16))[:, 2:-2].astype(int)
    assert np.abs(small - 127.5).max() < 3


@pytest.mark.parametrize(
    "content",
    [b"", b"no image", encoded(Image.fromarray(RGB), "PNG")[:60], b"BM" + bytes(20)],
    ids=["empty", "text", "cut-png", "cut-bmp"],
)
def test_what_is_no_image_is_an_ordinary_error(content: bytes) -> None:
    with pytest.raises((OSError, ValueError)):
        decode(content, None)


def test_floating_point_images_are_refused() -> None:
    with pytest.raises(ValueError, match="8 or 16 bits"):
        decode(tiff16(RGB[..., 0].astype(np.float32)), None)


def test_hashes_tell_contents_apart() -> None:
    assert content_hash(b"a") == content_hash(b"a") != content_hash(b"b")
    assert content_hash(RGB) != content_hash(RGB.reshape(18, 12, 3))


@pytest.mark.parametrize("size", [(8, 64), (64, 5000), (0, 0)])
def test_sizes_out_of_bounds_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=f"{size[0]}x{size[1]}.*16 to 4096.*--size"):
        checked_size(size)
