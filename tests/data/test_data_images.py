from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import tuner.data.images
from tuner.data.errors import DataError
from tuner.data.images import checked_size, content_hash, decode, open_picture, resize

RGB = np.random.default_rng(0).integers(0, 256, (12, 18, 3), dtype=np.uint8)
OPAQUE = np.full((13, 17, 1), 65535, np.uint16)
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
    opaque = Image.fromarray(np.dstack([RGB, np.full((12, 18), 255, np.uint8)]))
    found = decode(encoded(opaque, "PNG"), None)
    assert np.array_equal(found.pixels, RGB.transpose(2, 0, 1)) and not found.clear


@pytest.mark.parametrize(
    "content",
    [
        png16(DEEP, 2),
        png16(np.concatenate([DEEP, OPAQUE], -1), 6),
        tiff16(DEEP, photometric="rgb"),
        tiff16(DEEP, photometric="rgb", byteorder=">"),
        tiff16(DEEP, photometric="rgb", compression="zlib", predictor=True),
        tiff16(DEEP.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
        tiff16(DEEP.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", byteorder=">"),
    ],
    ids=["png", "png-alpha", "tiff", "tiff-big", "tiff-deflate", "tiff-planes", "tiff-planes-big"],
)
def test_sixteen_bit_colour_keeps_every_bit(content: bytes) -> None:
    found = decode(content, None)
    assert found.pixels.dtype == np.uint16
    assert np.array_equal(found.pixels, DEEP.transpose(2, 0, 1))
    assert found.peak == DEEP.max()


@pytest.mark.parametrize(
    "content",
    [
        png16(DEEP[..., :1], 0),
        png16(np.concatenate([DEEP[..., :1], OPAQUE], -1), 4),
        tiff16(DEEP[..., 0]),
    ],
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


def test_no_other_program_and_no_other_format_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import EpsImagePlugin

    def started(*arguments: object, **options: object) -> None:
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    for content in (
        page,
        encoded(Image.fromarray(RGB), "GIF"),
        encoded(Image.fromarray(RGB), "PPM"),
    ):
        with pytest.raises(OSError, match="its content is not PNG, JPEG, BMP or TIFF"):
            decode(content, (16, 16))
        with pytest.raises(OSError, match="not a readable"), open_picture(content):
            pass


CLEAR = np.zeros((12, 18), np.uint8)
CLEAR[:, 9:] = 255
CLEAR[0, 17] = 128


def test_transparent_parts_lie_on_black_whatever_colour_they_hide() -> None:
    hidden = np.dstack([RGB, CLEAR])
    wanted = RGB * (CLEAR > 0)[..., None]
    wanted[0, 17] = np.rint(RGB[0, 17] * (128 / 255))
    for content in (encoded(Image.fromarray(hidden), "PNG"), hidden):
        found = decode(content, None)
        assert (
            found.clear and np.abs(found.pixels.transpose(1, 2, 0).astype(int) - wanted).max() <= 1
        )
    grey = Image.merge("LA", [Image.fromarray(RGB[..., 0]), Image.fromarray(CLEAR)])
    assert (decode(encoded(grey, "PNG"), None).pixels[:, :, :9] == 0).all()
    keyed = Image.fromarray(RGB)
    keyed_content = encoded(keyed, "PNG", transparency=tuple(int(v) for v in RGB[5, 5]))
    found = decode(keyed_content, None)
    assert found.clear and (found.pixels[:, 5, 5] == 0).all()
    # Studies and packages of earlier versions go on without alpha.
    assert np.array_equal(
        decode(encoded(Image.fromarray(hidden), "PNG"), None, 2).pixels[1], RGB[..., 1]
    )


def test_an_image_that_is_transparent_all_over_has_no_alpha() -> None:
    nowhere = np.zeros((12, 18, 1), np.uint8)
    for content in (
        encoded(Image.fromarray(np.concatenate([RGB, nowhere], -1)), "PNG"),
        np.concatenate([RGB, nowhere], -1),
    ):
        found = decode(content, None)
        assert np.array_equal(found.pixels, RGB.transpose(2, 0, 1)) and not found.clear


def test_sixteen_bit_alpha_and_colours_that_are_multiplied_with_it() -> None:
    alpha = np.full((13, 17, 1), 65535, np.uint16)
    alpha[:, :8] = 0
    both = np.concatenate([DEEP, alpha], -1)
    wanted = (DEEP * (alpha > 0)).transpose(2, 0, 1)
    tiff = tiff16(both, photometric="rgb", extrasamples=["unassalpha"])
    multiplied = tiff16(
        np.concatenate([DEEP * (alpha > 0), alpha], -1),
        photometric="rgb",
        extrasamples=["assocalpha"],
    )
    planes = tiff16(
        both.transpose(2, 0, 1), photometric="rgb", planarconfig="separate",
        extrasamples=["unassalpha"],
    )  # fmt: skip
    for content in (png16(both, 6), tiff, multiplied, planes):
        found = decode(content, None)
        assert np.array_equal(found.pixels, wanted)
        # Levels are of what can be seen.
        assert found.low > 0
    half = np.full((13, 17, 1), 32768, np.uint16)
    found = decode(tiff16(np.concatenate([DEEP // 2, half], -1), photometric="rgb",
                          extrasamples=["assocalpha"]), None)  # fmt: skip
    assert np.array_equal(found.pixels, (DEEP // 2).transpose(2, 0, 1))


def test_sixteen_bits_with_white_as_zero_are_turned_round() -> None:
    grey = DEEP[..., 0]
    content = tiff16(65535 - grey, photometric="miniswhite")
    assert np.array_equal(decode(content, None).pixels[0], grey)
    assert np.array_equal(decode(content, None, 2).pixels[0], 65535 - grey)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_separate_planes_are_turned_upright(orientation: int) -> None:
    together = Image.fromarray(RGB)
    exif = Image.Exif()
    exif[0x0112] = orientation
    wanted = decode(encoded(together, "TIFF", exif=exif), None).pixels
    planes = RGB.transpose(2, 0, 1).astype(np.uint16) * 257
    content = tiff16(
        planes,
        photometric="rgb",
        planarconfig="separate",
        extratags=[(274, 3, 1, orientation, True)],
    )
    assert np.array_equal(decode(content, None).pixels // 257, wanted)


def test_a_file_of_several_pages_is_refused_and_a_thumbnail_is_no_page() -> None:
    pages = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    content = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    with pytest.raises(ValueError, match="has 2 pages; save each"):
        decode(content, None)
    assert np.array_equal(decode(content, None, 2).pixels, RGB.transpose(2, 0, 1))
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(RGB, photometric="rgb")
        writer.write(RGB[::2, ::2], photometric="rgb", subfiletype=1)
    assert np.array_equal(decode(file.getvalue(), None).pixels, RGB.transpose(2, 0, 1))


def test_what_kind_of_samples_cannot_be_taken_is_said() -> None:
    with pytest.raises(ValueError, match="floating-point samples; save it with 8 or 16 bits"):
        decode(tiff16(DEEP[..., 0].astype(np.float32) / 65535), None)
    with pytest.raises(ValueError, match="from -5 to 9; save it with 8 or 16 bits"):
        decode(tiff16(np.array([[-5, 9]] * 2, np.int32)), None)


def test_single_pixels_do_not_make_the_levels_of_an_image() -> None:
    samples = np.full((64, 64), 900, np.uint16)
    samples[::2] = 1000
    samples[3, 3], samples[9, 9] = 65535, 0
    found = decode(png16(samples[..., None], 0), (16, 16))
    assert (found.peak, found.low, found.high) == (65535, 900, 1000)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
def test_very_large_images_are_read(
    kind: str, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    scan = np.repeat(np.linspace(10, 240, 600).astype(np.uint8)[None], 90, axis=0)
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.fromarray(scan), kind)
    turned = encoded(Image.fromarray(scan), "JPEG", exif=exif)
    wanted = resize(scan, (16, 64)).astype(int)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)
    found = decode(content, (16, 64))
    assert found.native == (90, 600) and np.abs(found.pixels[0] - wanted).max() < 4
    assert decode(turned, (64, 16)).native == (600, 90)
    assert Image.MAX_IMAGE_PIXELS == 20_000 and not recwarn.list
    monkeypatch.setattr(tuner.data.images, "_MOST_BYTES", 10_000)
    with pytest.raises(
        ValueError, match="million pixels, more than can be decoded at once; cut it"
    ):
        decode(content, (16, 64))
