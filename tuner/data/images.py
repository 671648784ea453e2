"""One image file to one array."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner.data.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

Size = tuple[int, int]
SMALLEST, LARGEST = 16, 4096

_PLANAR, _BITS = 284, 258


@dataclass(frozen=True)
class Decoded:
    """`pixels` `[3, H, W]`: uint8, or uint16 where the file has 16 bits a sample.

    `native` is height and width in the file, `peak` its largest sample (0 unless 16 bit).
    """

    pixels: np.ndarray
    native: Size
    peak: int = 0


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


def decode(content: bytes | np.ndarray, size: Size | None) -> Decoded:
    """Read, turn upright, make three channels and resize (antialiased, bilinear).

    Raises OSError or ValueError where the content is no image that can be read.
    """
    samples = content if isinstance(content, np.ndarray) else _samples(content)
    native = int(samples.shape[0]), int(samples.shape[1])
    peak = int(samples.max()) if samples.dtype == np.uint16 else 0
    resized = samples if size is None or size == native else resize(samples, size)
    if resized.ndim == 2:
        resized = np.repeat(resized[None], 3, axis=0)
    else:
        resized = resized.transpose(2, 0, 1)
    return Decoded(np.ascontiguousarray(resized), native, peak)


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


def _samples(content: bytes) -> np.ndarray:
    """uint8 or uint16, `[H, W]` or `[H, W, 3]`, upright."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            deep = _deep(image, content)
            if deep is not None:
                return deep
            upright = ImageOps.exif_transpose(image)
            if upright.mode in ("1", "L"):
                return np.asarray(upright.convert("L"))
            # A palette with transparency goes by RGBA, or Pillow warns.
            if upright.mode == "P" and "transparency" in upright.info:
                upright = upright.convert("RGBA")
            return np.asarray(upright.convert("RGB"))
    except UnidentifiedImageError:
        # Pillow names a buffer by its place in memory.
        raise OSError("not a readable image") from None
    except (SyntaxError, KeyError, EOFError, Image.DecompressionBombError) as error:
        # Pillow lets some of these out for broken files.
        raise OSError(f"not a readable image ({type(error).__name__})") from None


def _deep(image: Image.Image, content: bytes) -> np.ndarray | None:
    """16-bit samples, upright; None where the image has 8 bits or less."""
    raw = _raw_mode(image)
    tags = getattr(image, "tag_v2", {})
    if tags.get(_PLANAR) == 2 and 16 in tags.get(_BITS, ()):
        import tifffile

        # Pillow misreads separate 16-bit planes.
        return np.asarray(tifffile.imread(io.BytesIO(content), key=0)[:3].transpose(1, 2, 0))
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        grey = np.asarray(_upright(image))
        if grey.min() < 0 or grey.max() > 65535 or image.mode == "F":
            raise ValueError("has samples beyond 16 bits; save it with 8 or 16 bits")
        return grey.astype(np.uint16)
    if ";16" not in raw or image.mode not in ("RGB", "RGBA"):
        return None
    # Pillow keeps only the high byte of 16-bit colour. Asked for the other byte order, it yields
    # the low bytes of the same file.
    if raw.startswith("LA"):
        both = _reread(content, lambda mode: "RGBA").astype(np.uint16)
        return both[..., 0] * 256 + both[..., 1]
    high = np.asarray(_upright(image)).astype(np.uint16)
    return (high * 256 + _reread(content, _other_order))[..., :3]


def _reread(content: bytes, change: Callable[[str], str]) -> np.ndarray:
    """The upright 8-bit image that comes of unpacking the file's samples in another way."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
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
