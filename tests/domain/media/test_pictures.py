"""The conversion of uploaded pictures, and the refusal of invalid ones at little cost."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms

from kitsu.domain.media.pictures import picture
from kitsu.domain.threads import Threads
from kitsu.errors import BadRequest, ServiceUnavailable
from tests import images
from tests.images import blank_png, chunk, decoded, encoded, noise, plain

MEBIBYTE = 1024 * 1024
FAST: dict[str, Any] = {"quality": 1, "enc_params": {"preset": "ultrafast"}}  # for HEIC
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "AVIF", "HEIF")


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_becomes_webp(form: str) -> None:
    made = decoded(picture(plain(form)))
    assert (made.format, made.mode, made.size) == ("WEBP", "RGB", (64, 48))
    red, green, blue = made.getpixel((30, 20))  # type: ignore[misc] # three numbers for RGB
    assert (red > 240, green < 15, blue < 15) == (True, True, True)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        *(((1, 1), (1, 1)), ((512, 512), (512, 512)), ((1000, 500), (512, 256)), ((50, 1024), (25, 512))),
        *(((4096, 4096), (512, 512)), ((4096, 2), (512, 1)), ((511, 513), (510, 512))),
    ],
)
def test_large_picture_is_scaled_down_and_small_one_unchanged(size: tuple[int, int], expected: tuple[int, int]) -> None:
    for form in ("PNG", "JPEG"):
        assert decoded(picture(plain(form, size))).size == expected


@pytest.mark.parametrize("form", FORMATS)
def test_picture_of_one_row_or_column_is_converted(form: str) -> None:
    short = 64 if form == "HEIF" else 1  # x265 encodes nothing that is smaller
    assert decoded(picture(plain(form, (8192, short)))).size == (512, short // 16 or 1)
    assert decoded(picture(plain(form, (short, 8192)))).size == (short // 16 or 1, 512)


def grey(side: int, **options: Any) -> bytes:
    return encoded(Image.new("L", (side, side), 128), "JPEG", quality=5, **options)


def coloured(side: int, **options: Any) -> bytes:
    return plain("JPEG", (side, side), quality=5, **options)


TOO_LARGE: dict[str, tuple[Callable[[], bytes], str]] = {
    "jpeg": (lambda: grey(8063), "The avatar has 66 megapixels; the limit for JPEG is 65"),
    "progressive": (lambda: coloured(5100, progressive=True, subsampling=0), "for this kind of JPEG is 25"),
    "png": (lambda: blank_png(5600), "The avatar has 32 megapixels; the limit for PNG is 30"),
    "webp": (lambda: plain("WEBP", (3100, 3100)), "has 10 megapixels; the limit for WEBP is 9"),
    "gif": (lambda: plain("GIF").replace(b"\x40\x00\x30\x00", b"\x00\x17\x00\x17"), "the limit for GIF is 30"),
    "avif": (images.huge_avif, "has 16 megapixels; the limit for AVIF is 12"),
    "heic": (
        lambda: encoded(Image.new("L", (4200, 4200)), "HEIF", **FAST),
        "has 18 megapixels; the limit for HEIC is 16",
    ),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_picture_that_would_take_too_much_memory_is_refused(name: str) -> None:
    make, message = TOO_LARGE[name]
    with pytest.raises(BadRequest, match=message):
        picture(make())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_every_pixel_mode_is_converted(mode: str) -> None:
    form = {"CMYK": "JPEG", "YCbCr": "JPEG", "PA": "PNG"}.get(mode, "PNG")
    ramp = Image.linear_gradient("L").resize((64, 64))
    if mode == "I;16":
        image = ramp.convert("I").point(lambda value: value * 257).convert("I;16")
    else:
        image = ramp.convert("RGB").convert(mode) if mode in {"CMYK", "YCbCr"} else ramp.convert(mode)
    made = decoded(picture(encoded(image if mode != "PA" else image.convert("LA"), form))).convert("L")
    top, bottom = made.crop((0, 0, 64, 8)).resize((1, 1)), made.crop((0, 56, 64, 64)).resize((1, 1))
    assert top.tobytes()[0] < 60
    assert bottom.tobytes()[0] > 195


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_preserved(mode: str) -> None:
    image = Image.new("RGBA", (40, 40), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 20, 40))
    made = decoded(picture(encoded(image.convert(mode) if mode != "P" else image.quantize(), "PNG")))
    assert made.mode == "RGBA"
    assert [made.getpixel((column, 20))[3] for column in (5, 35)] == [0, 255]  # type: ignore[index] # four numbers


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_animation_becomes_its_first_frame(form: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "lime", "blue")]
    made = decoded(picture(encoded(frames[0], form, save_all=True, append_images=frames[1:], duration=100)))
    assert getattr(made, "n_frames", 1) == 1
    assert made.convert("RGB").getpixel((16, 16))[0] > 240  # type: ignore[index] # three numbers


SECRET = b"Tokyo, 35.6895 N"


def with_metadata(form: str) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    exif.get_ifd(0x8825)[1] = "N"
    options: dict[str, Any] = {"exif": exif.tobytes()}
    if form == "JPEG":
        options["comment"] = SECRET
    if form in {"JPEG", "WEBP"}:
        options["xmp"] = b"<x:xmpmeta>" + SECRET + b"</x:xmpmeta>"
    data = plain(form, **options)
    return data[:33] + chunk(b"tEXt", b"Comment\0" + SECRET) + data[33:] if form == "PNG" else data


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_metadata_is_removed(form: str) -> None:
    data = with_metadata(form)
    assert SECRET in data
    made = picture(data)
    assert SECRET not in made
    assert not {b"EXIF", b"XMP ", b"ICCP"} & {made[at : at + 4] for at in range(len(made))}


@pytest.mark.parametrize("form", FORMATS)
def test_data_after_the_picture_is_removed(form: str) -> None:
    made = picture(plain(form) + images.HTML)
    assert b"script" not in made
    assert decoded(made).size == (64, 48)


@pytest.mark.parametrize(
    ("orientation", "corner"), [(1, (4, 4)), (3, (60, 28)), (6, (28, 4)), (8, (4, 60)), (2, (60, 4))]
)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_applied(form: str, orientation: int, corner: tuple[int, int]) -> None:
    image = Image.new("RGB", (64, 32), "blue")
    image.paste("red", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    made = decoded(picture(encoded(image, form, exif=exif.tobytes()))).convert("RGB")
    assert made.size == ((32, 64) if orientation in {6, 8} else (64, 32))
    assert made.getpixel(corner)[0] > 200  # type: ignore[index] # three numbers
    assert "exif" not in made.info


def test_colours_are_converted_to_srgb() -> None:
    # A profile with red and green exchanged.
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"tmp_").replace(b"gXYZ", b"rXYZ").replace(b"tmp_", b"gXYZ")
    for form in ("PNG", "JPEG"):
        red, green, _ = decoded(picture(plain(form, colour="red", icc_profile=swapped))).getpixel((9, 9))  # type: ignore[misc]
        assert (red < 60, green > 200) == (True, True)
        red, green, _ = decoded(picture(plain(form, colour="red", icc_profile=srgb))).getpixel((9, 9))  # type: ignore[misc]
        assert (red > 240, green < 15) == (True, True)


@pytest.mark.parametrize("profile", [b"no profile", b"\0" * 200])
def test_damaged_colour_profile_is_ignored(profile: bytes) -> None:
    assert decoded(picture(plain(icc_profile=profile))).size == (64, 48)


BIG = (1500, 1500)
BAD: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"hello",
    "svg": lambda: images.SVG,
    "html": lambda: images.HTML,
    "pdf": lambda: images.PDF,
    "eps": lambda: images.EPS,
    "tiff": lambda: plain("TIFF"),
    "icon": lambda: plain("ICO"),
    "jpeg-2000": lambda: plain("JPEG2000"),
    "bomb": lambda: blank_png(13_000),
    "bigger-bomb": lambda: blank_png(20_000),
    "webp-bomb": images.huge_webp,
    "gif-bomb": lambda: plain("GIF").replace(b"\x40\x00\x30\x00", b"\xff\xff\xff\xff"),
    "many-scans": images.many_scans,
    "no-header": lambda: b"\x89PNG\r\n\x1a\n",
    "no-pixels": lambda: plain().replace(b"IDAT", b"iDAT"),
    "wrong-sum": lambda: plain()[:-14] + b"x" + plain()[-13:],
    "png-cut": lambda: noise("PNG", (1000, 1000))[:-5000],
    "jpeg-cut": lambda: noise("JPEG", BIG)[:-5000],
    "progressive-cut": lambda: noise("JPEG", BIG, progressive=True)[:-5000],
    "webp-cut": lambda: noise("WEBP", BIG, quality=30)[:-5000],
    "gif-cut": lambda: noise("GIF", BIG)[:-5000],
    "bmp-cut": lambda: plain("BMP", (1000, 1000))[:-5000],
    "jpeg-start": lambda: plain("JPEG")[:30],
}


def peak() -> int:
    """Return the peak memory of this process since the last reset, in bytes."""
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


LARGE: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: plain("JPEG", (9280, 6944), quality=5),
    "progressive": lambda: plain("JPEG", (8160, 6120), quality=5, progressive=True),
    "progressive-without-end": lambda: plain("JPEG", (8160, 6120), quality=5, progressive=True)[:-2],
    "png": lambda: plain("PNG", (6300, 4700)),
    "png-palette": lambda: encoded(Image.new("P", (6300, 4700)), "PNG"),
    "png-transparent": lambda: encoded(Image.new("RGBA", (6300, 4700)), "PNG"),
    "gif": lambda: plain("GIF", (6300, 4700)),
    "webp": lambda: plain("WEBP", (3000, 3000)),
    "avif": lambda: plain("AVIF", (4032, 3024), speed=10),
    "heic": lambda: plain("HEIF", (5712, 4284), **FAST),
    "heic-transparent": lambda: encoded(Image.new("RGBA", (4032, 3024)), "HEIF", **FAST),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_picture_is_converted_within_memory(name: str) -> None:
    data = LARGE[name]()
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    assert max(decoded(picture(data)).size) == 512
    assert peak() - before < 150 * MEBIBYTE


@pytest.mark.parametrize("name", BAD)
def test_invalid_picture_is_refused_within_time_and_memory(name: str) -> None:
    data = BAD[name]()
    Path("/proc/self/clear_refs").write_text("5")
    before, started = peak(), time.process_time()
    with pytest.raises(BadRequest) as caught:
        picture(data)
    assert time.process_time() - started < 0.2
    assert peak() - before < 50 * MEBIBYTE
    assert caught.value.message.startswith("The avatar ")


def test_truncated_picture_is_converted_or_refused() -> None:
    for form in FORMATS:
        data = plain(form, (16, 16))
        for length in range(0, len(data), 7):
            try:
                made = picture(data[:length])
            except BadRequest:
                continue
            assert decoded(made).size == (16, 16)


def test_picture_with_any_damaged_byte_is_converted_or_refused() -> None:
    for form in FORMATS:
        data = bytearray(plain(form, (16, 16), exif=Image.Exif().tobytes()) if form != "BMP" else plain(form, (16, 16)))
        for at in range(0, len(data), 3):
            broken = bytes([*data[:at], data[at] ^ 0xFF, *data[at + 1 :]])
            with suppress(BadRequest):  # and nothing else
                picture(broken)


async def test_full_queue_of_threads_rejects_until_it_is_processed() -> None:
    threads, go = Threads("test", threads=1, queue=2), threading.Event()
    waiting = [asyncio.create_task(threads.run(go.wait)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(ServiceUnavailable):
        await threads.run(lambda: None)
    go.set()
    assert await asyncio.gather(*waiting) == [True, True, True]
    assert await threads.run(lambda: 7) == 7
    threads.close()
