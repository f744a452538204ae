"""Pictures: the decoding of uploads at a reduced size, within limits of memory and time, and their encoding as WebP."""

import re
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import Any, NamedTuple

import pillow_heif
from PIL import Image, ImageCms, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from kitsu.errors import BadRequest

SIDE = 512  # pixels; larger pictures are scaled down
MAX_PIXELS = 65_000_000
MAX_DECODER_BYTES = 144 * 1024 * 1024  # memory of a decoder; the rest of the work takes 6 MB at most
BYTES_PER_PIXEL = {"PNG": 5, "GIF": 5, "BMP": 5, "WEBP": 16, "AVIF": 12}
"""Memory that decoding takes, rounded up from measured values."""
HEIC_BYTES_PER_PIXEL, DEEP_HEIC_BYTES_PER_PIXEL = 6, 9  # the second one with more than 8 bits, or transparency
MAX_SCANS = 20
"""Scans of a JPEG. Cameras and editors write 12 at most; one has 30 bytes and takes the time of a whole picture."""
MAX_SEGMENTS = 2000  # of a JPEG; a colour profile has 255 at most
ROUGH = 1.5  # a picture is first reduced to this multiple of its final size, or more, by the fastest way
BAND = 32  # rows of a reduced picture that are made at once

FORMATS = ("PNG", "GIF", "WEBP", "BMP", "AVIF")  # those that Pillow opens; JPEG and HEIC have ways of their own
NOT_A_PICTURE = "The avatar must be an intact JPEG, PNG, GIF, WebP, BMP, AVIF or HEIC picture"

pillow_heif.options.DECODE_THREADS = 1  # several ones keep the memory that they free

_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")  # without those that have no length and can be in a scan
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_END_OF_JPEG = b"\xff\xd9"
_END_OF_PNG = b"\0\0\0\0IEND\xaeB`\x82"


def picture(data: bytes) -> bytes:
    """Return a WebP image of at most 512 pixels a side, without metadata. Raises BadRequest."""
    if not data:
        raise BadRequest("The avatar is empty")
    try:
        if data.startswith(b"\xff\xd8"):
            return _from_jpeg(data)
        if data[4:8] == b"ftyp" and not re.search(b"avi[fs]", data[8 : int.from_bytes(data[:4])]):
            return _from_heic(data)
        return _from_other(data)
    except BadRequest:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadRequest(f"The avatar has more than {MAX_PIXELS // 1_000_000} megapixels") from error
    except Exception as error:  # decoders raise errors of any kind
        raise BadRequest(NOT_A_PICTURE) from error


class _Jpeg(NamedTuple):
    """The first picture of a file. Others may follow, such as a gain map, or a video."""

    data: bytes
    is_complete: bool
    is_buffered: bool  # whether the decoder keeps the coefficients of the whole picture


def _from_jpeg(data: bytes) -> bytes:
    jpeg = _first_jpeg(data)
    image = _decoded_jpeg(jpeg, b"" if jpeg.is_complete else _END_OF_JPEG)
    # Where data is missing, the decoder takes what follows for it. So a cut picture depends on what follows.
    if not jpeg.is_complete and image != _decoded_jpeg(jpeg, bytes(range(128)) + _END_OF_JPEG):
        raise BadRequest(NOT_A_PICTURE)
    return _webp(image)


def _first_jpeg(data: bytes) -> _Jpeg:
    """Find the end of the first picture. Raises BadRequest for too many scans or segments."""
    at, scans, is_buffered, components = 2, 0, False, 0
    for _ in range(MAX_SEGMENTS):
        marker = _MARKER.search(data, at)
        if marker is None or marker[1][0] == _START:
            end = marker.start() if marker else len(data)
            return _Jpeg(data[:end].rstrip(b"\xff"), is_complete=False, is_buffered=is_buffered)
        kind, at = marker[1][0], marker.end()
        if kind == _END:
            return _Jpeg(data[:at], is_complete=True, is_buffered=is_buffered)
        if 0xC0 <= kind <= 0xC2:
            is_buffered |= kind == 0xC2  # progressive
            components = data[at + 7]
        elif kind == _SCAN:
            scans += 1
            is_buffered |= data[at + 2] != components
            if scans > MAX_SCANS:
                break
        at += int.from_bytes(data[at : at + 2])
    raise BadRequest(NOT_A_PICTURE)


def _decoded_jpeg(jpeg: _Jpeg, tail: bytes) -> Image.Image:
    with JpegImageFile(BytesIO(jpeg.data + tail)) as image:  # Image.open would look at the other pictures too
        if jpeg.is_buffered:
            samplings = [horizontal * vertical for _, horizontal, vertical, _ in image.layer]
            _check_size(image.size, 2 * sum(samplings) / max(samplings), "this kind of JPEG")
        else:
            _check_size(image.size, 1, "JPEG")  # decoded in rows
        factor = max(image.size) / (SIDE * ROUGH)
        image.draft(None, (int(image.width / factor) or 1, int(image.height / factor) or 1))  # decodes a fraction of it
        image.load()  # a small one is not scaled
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        return image


def _from_heic(data: bytes) -> bytes:
    file = pillow_heif.open_heif(BytesIO(data), remove_stride=False)
    image = file[file.primary_index]
    source: pillow_heif.HeifImage | pillow_heif.HeifThumbnail = image
    info: dict[str, Any] = image.info
    is_deep = image.mode != "RGB" or info["bit_depth"] > 8
    bytes_per_pixel = DEEP_HEIC_BYTES_PER_PIXEL if is_deep else HEIC_BYTES_PER_PIXEL
    try:
        _check_size(image.size, bytes_per_pixel, "HEIC")
    except BadRequest:
        sizes = info["thumbnails"]
        if not sizes:
            raise
        source = image.get_thumbnail(sizes.index(max(sizes)))
        _check_size(source.size, bytes_per_pixel, "HEIC")
    pixels, stride = source.data, source.stride  # decodes

    def rows(top: int, bottom: int) -> Image.Image:
        size = (source.size[0], bottom - top)
        band = pixels[top * stride : bottom * stride]
        return Image.frombuffer(source.mode, size, band, "raw", source.mode, stride, 1)

    made = _reduced(source.size, rows)
    made.info["icc_profile"] = info.get("icc_profile")
    return _webp(made)  # libheif has applied the orientation


def _from_other(data: bytes) -> bytes:
    if data.startswith(b"\x89PNG"):
        data = data.partition(_END_OF_PNG)[0] + _END_OF_PNG
    with Image.open(BytesIO(data), formats=FORMATS) as image:
        _check_size(image.size, BYTES_PER_PIXEL[image.format or ""], image.format or "")
        if image.format == "PNG":
            image.verify()
    with Image.open(BytesIO(data), formats=FORMATS) as image:
        image.load()
        made = _reduced(image.size, lambda top, bottom: image.crop((0, top, image.width, bottom)))
        made.info |= {name: value for name, value in image.info.items() if name != "transparency"}
    return _webp(made)


def _check_size(size: tuple[int, int], bytes_per_pixel: float, kind: str) -> None:
    """Raise BadRequest for a picture that would take too much memory or time."""
    pixels = size[0] * size[1]
    limit = min(MAX_PIXELS, int(MAX_DECODER_BYTES / bytes_per_pixel))
    if pixels > limit:
        found, allowed = -(-pixels // 1_000_000), limit // 1_000_000
        raise BadRequest(f"The avatar has {found} megapixels; the limit for {kind} is {allowed}")


def _reduced(size: tuple[int, int], rows: Callable[[int, int], Image.Image]) -> Image.Image:
    """Return a picture at an integer fraction of its size. It is made in bands, so that no second whole one exists."""
    factor = max(1, int(max(size) / (SIDE * ROUGH)))
    height = factor * BAND
    bands = [_convertible(rows(top, min(top + height, size[1]))).reduce(factor) for top in range(0, size[1], height)]
    whole = Image.new(bands[0].mode, (bands[0].width, sum(band.height for band in bands)))
    for number, band in enumerate(bands):
        whole.paste(band, (0, number * BAND))
    whole.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return whole


def _convertible(image: Image.Image) -> Image.Image:
    """Return an image in a mode that can be scaled."""
    if image.mode.startswith("I"):  # 16-bit greyscale: a conversion would keep the lower 8 bits
        return image.point(lambda value: value / 256).convert("L")
    if image.mode in {"1", "P", "PA"} or (image.has_transparency_data and image.mode != "RGBA"):
        return image.convert("RGBA")
    return image


def _webp(image: Image.Image) -> bytes:
    profile = image.info.get("icc_profile")
    with suppress(SyntaxError, ValueError, OSError):  # damaged metadata
        image = ImageOps.exif_transpose(image)
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    if profile:
        with suppress(ImageCms.PyCMSError, OSError, ValueError):  # a damaged profile, or one of another colour space
            source, target = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
            image = ImageCms.profileToProfile(image, source, target, outputMode=mode) or image
    file = BytesIO()
    image.convert(mode).save(file, "WEBP", quality=85, method=4)
    return file.getvalue()
