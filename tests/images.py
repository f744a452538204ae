"""Images to upload: valid ones, and files that attack a decoder."""

import io
import struct
import zlib
from typing import Any

import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()  # lets Pillow write HEIC

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"
PDF = b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n/Courier findfont\nshowpage\n%%EOF\n"


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """Encode an image."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def plain(form: str = "PNG", size: tuple[int, int] = (64, 48), colour: str = "red", **options: Any) -> bytes:
    """Return an image of one colour."""
    return encoded(Image.new("RGB", size, colour), form, **options)


def noise(form: str, size: tuple[int, int], **options: Any) -> bytes:
    """Return an image that no format compresses well."""
    return encoded(Image.effect_noise(size, 60).convert("RGB"), form, **options)


def decoded(data: bytes) -> Image.Image:
    """Decode an image."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def blank_png(side: int) -> bytes:
    """Return a black square PNG, which takes few bytes at any size."""
    compressor = zlib.compressobj(9)
    rows = b"".join(compressor.compress(bytes(1 + (side + 7) // 8)) for _ in range(side)) + compressor.flush()
    return _png((side, side), 1, 0, rows)


def deep_png(size: tuple[int, int], rows: bytes) -> bytes:
    """Return a PNG of three channels of 16 bits. Each row begins with a zero."""
    return _png(size, 16, 2, zlib.compress(rows))


def _png(size: tuple[int, int], depth: int, colour_type: int, compressed_rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", compressed_rows) + chunk(b"IEND", b"")


def huge_webp() -> bytes:
    """Return a WebP whose header declares 16383 pixels a side."""
    data = bytearray(plain("WEBP", exif=b"Exif\0\0"))  # metadata causes the extended header
    data[24:30] = b"\xfe\x3f\0" * 2
    return bytes(data)


def huge_avif() -> bytes:
    """Return an AVIF whose header declares 4000 pixels a side."""
    data = plain("AVIF")
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", 4000, 4000) + data[at + 8 :]


def many_scans() -> bytes:
    """Return a JPEG of 5 MB that decodes its 16 million pixels 150,000 times."""
    data = encoded(Image.new("L", (4096, 4096), 128), "JPEG", progressive=True)
    last = data[data.rfind(b"\xff\xda") : -2]
    return data[:-2] + last * 150_000 + b"\xff\xd9"
