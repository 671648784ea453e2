"""One image file to one array."""

from __future__ import annotations

import hashlib
import io
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner.data import RECIPE
from tuner.data.errors import DataError

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

Size = tuple[int, int]
SMALLEST, LARGEST = 16, 4096
KINDS = "PNG, JPEG, BMP or TIFF"

_BITS, _PHOTOMETRIC, _ORIENTATION, _PLANAR, _EXTRA = 258, 262, 274, 284, 338
_MOST_BYTES = 3 << 30
_LARGE = threading.Lock()
# What Pillow lets out for broken files.
_BROKEN = (SyntaxError, LookupError, ArithmeticError, EOFError, TypeError, struct.error, zlib.error)


@dataclass(frozen=True)
class Decoded:
    """`pixels` `[3, H, W]`: uint8, or uint16 where the file has 16 bits a sample.

    `native` is height and width in the file, `peak` its largest sample (0 unless 16 bit). All but
    single pixels are from `low` to `high`: of the file's own samples where it has 16 bits, else
    of those here. `clear` says that parts were transparent.
    """

    pixels: np.ndarray
    native: Size
    peak: int = 0
    low: int = 0
    high: int = 0
    grey: bool = False
    clear: bool = False


def content_hash(content: bytes | np.ndarray) -> str:
    """What identifies an image: a hash of its file, or of its pixels if it never was a file."""
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(content, np.ndarray):
        digest.update(f"{content.dtype}{content.shape}".encode())
        digest.update(content.tobytes())
    else:
        digest.update(content)
    return digest.hexdigest()


def checked_size(size: Size | None) -> Size | None:
    """The wanted height and width; raises DataError outside 16 to 4096 pixels."""
    if size is None:
        return None
    if len(size) != 2 or not all(SMALLEST <= int(side) <= LARGEST for side in size):
        raise DataError(
            f"the image size is {'x'.join(str(side) for side in size)}, but must be height and "
            f"width from {SMALLEST} to {LARGEST} pixels; give for example --size 256"
        )
    return int(size[0]), int(size[1])


def decode(content: bytes | np.ndarray, size: Size | None, recipe: int = RECIPE) -> Decoded:
    """Read, turn upright, lay transparent parts on black, make three channels and resize
    (antialiased, bilinear).

    An array is `[H, W]`, `[H, W, 3]`, or `[H, W, 4]` with alpha. Raises OSError or ValueError
    where the content is no image that can be read.
    """
    if isinstance(content, np.ndarray):
        native = int(content.shape[0]), int(content.shape[1])
        colour, alpha = content, None
        if content.ndim == 3 and content.shape[2] == 4:
            colour, alpha = content[..., :3], content[..., 3]
        return _decoded(_Samples(colour, alpha if recipe >= 3 else None), native, size)
    try:
        with open_image(content) as image, _room(image, size) as reduced:
            deep = _deep(image, content, recipe)
            if deep is not None:
                height, width = deep.colour.shape[:2]
                return _decoded(deep, (height, width), size)
            flat, clear = _flat(image, recipe)
            native = reduced or (flat.height, flat.width)
            wanted = native if size is None else size
            if (flat.height, flat.width) != wanted:
                flat = flat.resize((wanted[1], wanted[0]), _bilinear())
            return _decoded(_Samples(np.asarray(flat)), native, None, clear)
    except _BROKEN as error:
        raise OSError(f"not a readable image ({type(error).__name__})") from None


def samples_of(image: Image.Image) -> np.ndarray:
    """The samples of an image that a program opened by Pillow: uint8 or uint16 `[H, W]`,
    `[H, W, 3]`, or `[H, W, 4]` with alpha, upright. Raises ValueError where Pillow has lost some.
    """
    if ";16" in _raw_mode(image) and image.mode in ("RGB", "RGBA", "LA"):
        raise ValueError(
            "has 16 bits a sample, of which Pillow keeps 8; give its path or its bytes"
        )
    upright = _upright(image)
    if upright.mode in ("I", "F") or upright.mode.startswith("I;16"):
        samples = np.asarray(upright)
        if upright.mode == "F" or samples.min() < 0 or samples.max() > 65535:
            raise ValueError(f"has Pillow's mode {upright.mode}; give it with 8 or 16 bits")
        return samples.astype(np.uint16)
    if upright.mode in ("1", "L") and "transparency" not in upright.info:
        return np.asarray(upright.convert("L"))
    clear = "transparency" in upright.info or upright.mode in ("RGBA", "LA", "PA", "RGBa", "La")
    return np.asarray(upright.convert("RGBA" if clear else "RGB"))


def open_image(content: bytes) -> ImageFile:
    """Open a PNG, JPEG, BMP or TIFF file, recognised by how it begins; no pixel is decoded yet.

    Pillow would try every format that it knows, and run other programs for some. Its bound on
    sizes is `_room`'s matter. Raises OSError for anything else.
    """
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.TiffImagePlugin import TiffImageFile

    kinds: list[tuple[tuple[bytes, ...], type[ImageFile]]] = [
        ((b"\x89PNG\r\n\x1a\n",), PngImageFile),
        ((b"\xff\xd8\xff",), JpegImageFile),
        ((b"BM",), BmpImageFile),
        ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), TiffImageFile),
    ]
    for beginnings, kind in kinds:
        if content.startswith(beginnings):
            return kind(io.BytesIO(content))
    raise OSError(f"not a readable image: its content is not {KINDS}, whatever its name")


@contextmanager
def open_picture(content: bytes) -> Iterator[Image.Image]:
    """A PNG, JPEG, BMP or TIFF image, upright and decoded, in the mode of its file.

    Raises OSError or ValueError where the content is no image that can be read.
    """
    from PIL import ImageOps

    try:
        with open_image(content) as image, _room(image):
            ImageOps.exif_transpose(image, in_place=True)
            yield image
    except _BROKEN as error:
        raise OSError(f"not a readable image ({type(error).__name__})") from None


@contextmanager
def _room(image: ImageFile, size: Size | None = None) -> Iterator[Size | None]:
    """While this lasts an image may be decoded: one at a time of those that are very large.

    A JPEG far beyond Pillow's bound is reduced while it is decoded; its height and width in the
    file are then yielded. Raises ValueError for an image that would take more memory than most
    machines have.
    """
    from PIL import Image

    pixels, deep = image.width * image.height, ";16" in _raw_mode(image) or image.mode[0] == "I"
    # Samples of 16 bits go through floats.
    if pixels * len(image.getbands()) * (8 if deep else 1) > _MOST_BYTES:
        raise ValueError(
            f"has {pixels / 1e6:.0f} million pixels, more than can be decoded at once; cut it into "
            "parts that are images of their own"
        )
    bound = Image.MAX_IMAGE_PIXELS
    if bound is None or pixels <= bound:
        yield None
        return
    native = None
    with _LARGE:
        Image.MAX_IMAGE_PIXELS = None
        try:
            if size is not None and pixels > 2 * bound and image.format == "JPEG":
                turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
                native = image.size if turned else (image.height, image.width)
                image.draft(None, (2 * max(size), 2 * max(size)))
            yield native
        finally:
            Image.MAX_IMAGE_PIXELS = bound


@dataclass(frozen=True)
class _Samples:
    """`[H, W]` or `[H, W, 3]`, upright; and how opaque they are, in the same type. `on_black` says
    that they are multiplied with that already."""

    colour: np.ndarray
    alpha: np.ndarray | None = None
    on_black: bool = False


def _decoded(samples: _Samples, native: Size, size: Size | None, clear: bool = False) -> Decoded:
    colour, alpha = samples.colour, samples.alpha
    if alpha is not None and alpha.max() == 0:
        alpha = None
    full = np.iinfo(colour.dtype).max
    peak, levels = 0, None
    clear = clear or (alpha is not None and bool(alpha.min() < full))
    if colour.dtype == np.uint16:
        peak = int(colour.max())
        levels = _levels(colour if alpha is None or not clear else colour[alpha > 0])
    if alpha is not None and clear and not samples.on_black:
        shares = alpha.astype(np.float32) / full
        colour = np.rint(colour * (shares[..., None] if colour.ndim == 3 else shares))
        colour = colour.astype(samples.colour.dtype)
    resized = colour if size is None or size == colour.shape[:2] else resize(colour, size)
    grey = resized.ndim == 2 or bool((resized == resized[..., :1]).all())
    low, high = _levels(resized) if levels is None else levels
    bands = np.repeat(resized[None], 3, axis=0) if resized.ndim == 2 else resized.transpose(2, 0, 1)
    return Decoded(np.ascontiguousarray(bands), native, peak, low, high, grey, clear)


def _levels(samples: np.ndarray) -> Size:
    """The lowest and the highest sample, but for some single ones: a sensor has hot pixels."""
    if not samples.size:
        return 0, 0
    drop = min(max(8, samples.size // 2000), (samples.size - 1) // 4)
    ordered = np.partition(samples.ravel(), (drop, samples.size - 1 - drop))
    return int(ordered[drop]), int(ordered[samples.size - 1 - drop])


def resize(samples: np.ndarray, size: Size) -> np.ndarray:
    """Antialiased bilinear resize of uint8 or uint16 `[H, W]` or `[H, W, 3]` to H x W `size`."""
    from PIL import Image

    height, width = size
    if samples.dtype == np.uint8:
        image = Image.fromarray(samples)
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    bands = samples[..., None] if samples.ndim == 2 else samples
    resized = [
        np.asarray(
            Image.fromarray(bands[..., band].astype(np.float32)).resize(
                (width, height), Image.Resampling.BILINEAR
            )
        )
        for band in range(bands.shape[2])
    ]
    stacked = np.rint(np.stack(resized, axis=-1)).astype(np.uint16)
    return stacked[..., 0] if samples.ndim == 2 else stacked


def _bilinear() -> Image.Resampling:
    from PIL import Image

    return Image.Resampling.BILINEAR


def _flat(image: Image.Image, recipe: int) -> tuple[Image.Image, bool]:
    """A grey or colour image of 8 bits, upright and opaque; and whether parts were transparent."""
    from PIL import Image, ImageOps

    ImageOps.exif_transpose(image, in_place=True)
    keyed = "transparency" in image.info
    if image.mode in ("1", "L") and not (keyed and recipe >= 3):
        return image.convert("L"), False
    # A palette with transparency goes by RGBA, or Pillow warns.
    if keyed and (recipe >= 3 or image.mode == "P"):
        image = image.convert("RGBA")
    if recipe < 3 or "A" not in image.getbands():
        return image.convert("RGB"), False
    alpha = image.getchannel("A")
    colour = image.convert("L" if image.mode == "LA" else "RGB")
    least, most = alpha.getextrema()
    # Some programs write 0 for alpha that they do not have.
    if least == 255 or most == 0:
        return colour, False
    flat = Image.new(colour.mode, colour.size)
    flat.paste(colour, mask=alpha)
    return flat, True


def _deep(image: ImageFile, content: bytes, recipe: int) -> _Samples | None:
    """16-bit samples, upright; None where the image has 8 bits or less."""
    tags = getattr(image, "tag_v2", {})
    pages = _pages(image) if tags and recipe >= 3 else 1
    if pages > 1:
        raise ValueError(f"has {pages} pages; save each as an image of its own")
    raw = _raw_mode(image)
    if tags.get(_PLANAR) == 2 and 16 in tags.get(_BITS, ()):
        return _planes(content, tags, recipe)
    if image.mode == "F":
        raise ValueError("has floating-point samples; save it with 8 or 16 bits")
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):
        inverted = recipe >= 3 and tags.get(_PHOTOMETRIC) == 0
        grey = np.asarray(_upright(image))
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError(
                f"has samples from {grey.min()} to {grey.max()}; save it with 8 or 16 bits"
            )
        samples = grey.astype(np.uint16)
        return _Samples(65535 - samples if inverted else samples, _keyed(image, samples, recipe))
    if ";16" not in raw or image.mode not in ("RGB", "RGBA"):
        return None
    # Pillow keeps only the high byte of 16-bit colour. Asked for the other byte order, it yields
    # the low bytes of the same file.
    if raw.startswith("LA"):
        both = _reread(content, lambda mode: "RGBA").astype(np.uint16)
        pairs = both[..., ::2] * 256 + both[..., 1::2]
        return _Samples(pairs[..., 0], pairs[..., 1] if recipe >= 3 else None)
    if recipe >= 3 and raw.startswith("RGBa"):
        # Multiplied with alpha, which is to lie on black. Pillow would divide bytes by bytes.
        plain = raw.replace("RGBa", "RGBA")
        high = _reread(content, lambda mode: plain)
        low = _reread(content, lambda mode: _other_order(plain))
        both = high.astype(np.uint16) * 256 + low
        return _Samples(both[..., :3], both[..., 3], on_black=True)
    high = np.asarray(_upright(image)).astype(np.uint16)
    both = high * 256 + _reread(content, _other_order)
    colour = both[..., :3]
    alpha = both[..., 3] if both.shape[2] == 4 else _keyed(image, colour, recipe)
    return _Samples(colour, alpha if recipe >= 3 else None)


def _keyed(image: Image.Image, samples: np.ndarray, recipe: int) -> np.ndarray | None:
    """The alpha of an image in which one colour means transparent; None for others."""
    key = image.info.get("transparency")
    if recipe < 3 or key is None:
        return None
    hit = samples == np.asarray(key)
    return np.where(hit.all(-1) if hit.ndim == 3 else hit, 0, 65535).astype(np.uint16)


def _planes(content: bytes, tags: Any, recipe: int) -> _Samples:
    """16-bit samples that lie in the file as one picture a colour, which Pillow misreads."""
    import tifffile

    planes = tifffile.imread(io.BytesIO(content), key=0).transpose(1, 2, 0).astype(np.uint16)
    if recipe < 3:
        return _Samples(np.asarray(planes[..., :3]))
    planes = _turned(planes, tags.get(_ORIENTATION, 1))
    colours = 3 if planes.shape[2] >= 3 else 1
    colour = planes[..., :3] if colours == 3 else planes[..., 0]
    kind = (tags.get(_EXTRA, ()) or (0,))[0]
    # 1 is alpha that the colours are multiplied with, 2 is alpha, and others are no alpha.
    return _Samples(colour, planes[..., colours] if kind in (1, 2) else None, on_black=kind == 1)


def _turned(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Upright, by the number that a camera's orientation has in TIFF and EXIF."""
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(0, 1)
    vertical, horizontal = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return samples[:: -1 if vertical else 1, :: -1 if horizontal else 1]


def _pages(image: Any) -> int:
    """How many pictures a TIFF file holds, smaller copies and masks of one not counted."""
    count = int(image.n_frames)
    if count == 1:
        return 1
    kinds = []
    for page in range(count):
        image.seek(page)
        kinds.append(int(image.tag_v2.get(254, 0)))
    image.seek(0)
    return sum(not kind & 5 for kind in kinds)


def _reread(content: bytes, change: Callable[[str], str]) -> np.ndarray:
    """The upright 8-bit image that comes of unpacking the file's samples in another way."""
    with open_image(content) as image:
        tiles: list[Any] = []
        for tile in image.tile:
            args: Any = tile[3]
            changed = change(args) if isinstance(args, str) else (change(args[0]), *args[1:])
            tiles.append(tile._replace(args=changed))
        image.tile = tiles
        return np.asarray(_upright(image))


def _other_order(raw: str) -> str:
    mode, _, order = raw.partition(";")
    native, other = ("16L", "16B") if sys.byteorder == "little" else ("16B", "16L")
    return f"{mode};{other if order in ('16N', native) else native}"


def _upright(image: Image.Image) -> Image.Image:
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _raw_mode(image: Image.Image) -> str:
    tiles = getattr(image, "tile", None) or ()
    for tile in tiles:
        arguments = tile[3]
        return str(arguments[0] if isinstance(arguments, tuple) else arguments)
    return ""
