"""Uploads of what phones, cameras and editors write: each becomes an avatar that looks like its picture."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from PIL import Image, ImageCms
from sqlalchemy.engine import URL

from tests import images
from tests.application import client_of
from tests.controllers.accounts.test_users import Person, person, refused
from tests.images import decoded, encoded

WIDE = (1200, 900)
PHONE = (8160, 6120)
"""A photo of 50 megapixels."""
FAST = {"enc_params": {"preset": "ultrafast"}}  # for HEIC


@pytest.fixture(scope="module")
async def application(module_database: URL) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the application, which stores avatars in a folder of its own."""
    async with client_of(module_database) as client:
        yield client


@pytest.fixture
async def member(application: httpx.AsyncClient, accountless: URL) -> Person:
    return await person(application, "member")


def photo(size: tuple[int, int] = WIDE, mode: str = "RGB") -> Image.Image:
    """Return a picture that is red, except for its top left quarter, which is blue."""
    image = Image.new(mode, size, "red")
    image.paste("blue", (0, 0, size[0] // 2, size[1] // 2))
    return image


def jpeg(size: tuple[int, int] = WIDE, **options: Any) -> bytes:
    return encoded(photo(size), "JPEG", **options)


def turned(form: str, orientation: int = 6, size: tuple[int, int] = WIDE) -> bytes:
    """Return a picture that a viewer turns to the right: blue is at the top right then."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(photo(size), form, exif=exif.tobytes())


def cmyk(**options: Any) -> bytes:
    return encoded(photo().convert("CMYK"), "JPEG", **options)


def with_gain_map() -> bytes:
    """Return a JPEG with an index of pictures, followed by a second one."""
    return encoded(photo(), "MPO", save_all=True, append_images=[Image.new("RGB", (300, 225), "lime")])


def motion_photo() -> bytes:
    """Return a JPEG followed by a video, in whose data any two bytes occur."""
    video = b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + b"\xff\xd8\xff\xda\0\x0c\xff\xd9\xff\xda" * 4000
    return jpeg() + video


def deep_png() -> bytes:
    """Return a PNG of 16 bits a channel."""
    rows = []
    for row in range(90):
        pixels = [b"\0\0\0\0\xff\xff" if row < 45 and column < 60 else b"\xff\xff\0\0\0\0" for column in range(120)]
        rows.append(b"\0" + b"".join(pixels))
    return images.deep_png((120, 90), b"".join(rows))


def animation(form: str) -> bytes:
    others = [Image.new("RGB", WIDE, colour) for colour in ("lime", "black")]
    return encoded(photo(), form, save_all=True, append_images=others, duration=100, loop=0)


def burst() -> bytes:
    """Return a HEIC with two pictures, of which the first is the primary one."""
    return encoded(photo(), "HEIF", save_all=True, append_images=[Image.new("RGB", WIDE, "lime")], primary_index=0)


def with_bad_metadata() -> bytes:
    return jpeg(exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03" * 9, icc_profile=b"no profile")


def with_profile(form: str) -> bytes:
    """Return a picture with the profile of sRGB."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return encoded(photo(), form, icc_profile=profile)


TOP_LEFT, TOP_RIGHT = (0.25, 0.25), (0.75, 0.25)
PICTURES: dict[str, tuple[Callable[[], bytes], tuple[int, int], tuple[float, float]]] = {
    # what is uploaded, the size of the avatar, and where it is blue
    "jpeg": (jpeg, (512, 384), TOP_LEFT),
    "jpeg-progressive": (lambda: jpeg(progressive=True), (512, 384), TOP_LEFT),
    "jpeg-profile": (lambda: with_profile("JPEG"), (512, 384), TOP_LEFT),
    "phone": (lambda: jpeg(PHONE), (512, 384), TOP_LEFT),
    "phone-turned": (lambda: turned("JPEG", size=PHONE), (384, 512), TOP_RIGHT),
    "phone-progressive": (lambda: jpeg(PHONE, progressive=True), (512, 384), TOP_LEFT),
    "jpeg-cmyk": (cmyk, (512, 384), TOP_LEFT),
    "jpeg-cmyk-progressive": (lambda: cmyk(progressive=True), (512, 384), TOP_LEFT),
    "gain-map": (with_gain_map, (512, 384), TOP_LEFT),
    "motion-photo": (motion_photo, (512, 384), TOP_LEFT),
    "restarts": (lambda: jpeg(restart_marker_rows=1), (512, 384), TOP_LEFT),
    "no-end": (lambda: jpeg()[:-2], (512, 384), TOP_LEFT),
    "half-an-end": (lambda: jpeg()[:-1], (512, 384), TOP_LEFT),
    "no-end-progressive": (lambda: jpeg(progressive=True)[:-2], (512, 384), TOP_LEFT),
    "no-end-but-another": (lambda: jpeg()[:-2] + images.plain("JPEG"), (512, 384), TOP_LEFT),
    "no-end-of-phone": (lambda: jpeg(PHONE)[:-2], (512, 384), TOP_LEFT),
    "zeros-behind": (lambda: jpeg() + bytes(100_000), (512, 384), TOP_LEFT),
    "bad-metadata": (with_bad_metadata, (512, 384), TOP_LEFT),
    "png": (lambda: encoded(photo(), "PNG"), (512, 384), TOP_LEFT),
    "png-turned": (lambda: turned("PNG"), (384, 512), TOP_RIGHT),
    "png-16-bit": (deep_png, (120, 90), TOP_LEFT),
    "png-without-end": (lambda: encoded(photo(), "PNG")[:-12], (512, 384), TOP_LEFT),
    "png-and-another": (lambda: encoded(photo(), "PNG") + images.plain("PNG"), (512, 384), TOP_LEFT),
    "png-palette": (lambda: encoded(photo().quantize(), "PNG"), (512, 384), TOP_LEFT),
    "png-25-megapixels": (lambda: encoded(photo((5712, 4284)), "PNG"), (512, 384), TOP_LEFT),
    "png-animated": (lambda: animation("PNG"), (512, 384), TOP_LEFT),
    "gif": (lambda: encoded(photo(), "GIF"), (512, 384), TOP_LEFT),
    "gif-without-end": (lambda: encoded(photo(), "GIF")[:-1], (512, 384), TOP_LEFT),
    "gif-animated": (lambda: animation("GIF"), (512, 384), TOP_LEFT),
    "webp": (lambda: encoded(photo(), "WEBP"), (512, 384), TOP_LEFT),
    "webp-turned": (lambda: turned("WEBP"), (384, 512), TOP_RIGHT),
    "webp-animated": (lambda: animation("WEBP"), (512, 384), TOP_LEFT),
    "bmp": (lambda: encoded(photo(), "BMP"), (512, 384), TOP_LEFT),
    "avif": (lambda: encoded(photo(), "AVIF"), (512, 384), TOP_LEFT),
    "avif-turned": (lambda: turned("AVIF"), (384, 512), TOP_RIGHT),
    "avif-animated": (lambda: animation("AVIF"), (512, 384), TOP_LEFT),
    "avif-12-megapixels": (lambda: encoded(photo((4032, 3024)), "AVIF", speed=10), (512, 384), TOP_LEFT),
    "heic": (lambda: encoded(photo(), "HEIF"), (512, 384), TOP_LEFT),
    "heic-turned": (lambda: turned("HEIF"), (384, 512), TOP_RIGHT),
    "heic-burst": (burst, (512, 384), TOP_LEFT),
    "heic-tiles": (
        lambda: encoded(photo((4032, 3024)), "HEIF", quality=1, tile_size=512, **FAST),
        (512, 384),
        TOP_LEFT,
    ),
    "heic-transparent": (lambda: encoded(photo(mode="RGBA"), "HEIF"), (512, 384), TOP_LEFT),
    "heic-profile": (lambda: with_profile("HEIF"), (512, 384), TOP_LEFT),
    "heic-48-megapixels": (  # its thumbnail is used
        lambda: encoded(photo((8064, 6048)), "HEIF", quality=1, thumbnails=[320], **FAST),
        (320, 240),
        TOP_LEFT,
    ),
}


async def upload(member: Person, data: bytes) -> httpx.Response:
    assert len(data) < 5 * 1024 * 1024
    return await member.request("PATCH", "/users/me", files={"avatar": ("IMG_0042.JPG", data, "image/jpeg")})


SLOW = {
    *("heic-48-megapixels", "phone", "phone-progressive", "no-end-of-phone", "no-end-progressive", "heic-tiles"),
    *("png-25-megapixels", "avif-12-megapixels", "jpeg-cmyk-progressive"),
}


@pytest.mark.filterwarnings("ignore:.*EXIF data:UserWarning", "ignore:Tag data:UserWarning")  # of Pillow
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in PICTURES])
async def test_picture_becomes_an_avatar(member: Person, name: str) -> None:
    make, size, blue = PICTURES[name]
    response = await upload(member, make())
    assert response.status_code == 200, response.text
    served = await member.client.get(response.json()["avatar_url"])
    avatar = decoded(served.content)
    assert (served.headers["content-type"], avatar.format, avatar.size) == ("image/webp", "WEBP", size)
    assert getattr(avatar, "n_frames", 1) == 1
    for place in ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)):
        pixel: Any = avatar.convert("RGB").getpixel((int(place[0] * size[0]), int(place[1] * size[1])))
        red, green, blue_part = pixel
        assert (blue_part > 180, red < 90) == (place == blue, place == blue)
        assert green < 90


NOT_PICTURES: dict[str, Callable[[], bytes]] = {
    "jpeg-cut": lambda: encoded(Image.effect_noise(WIDE, 60), "JPEG")[:-4000],
    "jpeg-cut-with-end": lambda: jpeg()[:200] + b"\xff\xd9",
    "jpeg-progressive-cut": lambda: encoded(Image.effect_noise(WIDE, 60), "JPEG", progressive=True)[:-4000],
    "jpeg-cut-before-video": lambda: encoded(Image.effect_noise(WIDE, 60), "JPEG")[:-4000] + motion_photo(),
    "jpeg-of-markers": lambda: b"\xff\xd8" + b"\xff\xe0\0\2" * 1_000_000 + b"\xff\xd9",
    "jpeg-lossless": lambda: jpeg().replace(b"\xff\xc0", b"\xff\xc3"),
    "heic-cut": lambda: encoded(photo(), "HEIF")[:-300],
    "avif-cut": lambda: encoded(photo(), "AVIF")[:-50],
    "mp4": lambda: b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(1000),
    "heic-header": lambda: encoded(photo(), "HEIF")[:40],
}


@pytest.mark.parametrize("name", NOT_PICTURES)
async def test_damaged_picture_is_refused(member: Person, name: str) -> None:
    message = "The avatar must be an intact JPEG, PNG, GIF, WebP, BMP, AVIF or HEIC picture"
    refused(await upload(member, NOT_PICTURES[name]()), 400, message)
    assert (await member.request("GET", "/users/me")).json()["avatar"] is None
