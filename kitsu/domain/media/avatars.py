"""Avatars: the decoding of uploads, and the files of users in the media store."""

import re
from contextlib import suppress
from io import BytesIO
from uuid import UUID, uuid4

import structlog
from PIL import Image, ImageCms, ImageOps
from PIL.ImageFile import ImageFile
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.domain.accounts.usernames import check_username
from kitsu.domain.accounts.users import AccountContext, User, UserService
from kitsu.domain.media.orphans import AVATARS, OrphanFiles, key_of
from kitsu.domain.media.store import Media, MediaStore, PutOutcomeUnknown
from kitsu.domain.threads import Threads
from kitsu.errors import BadRequest, NotFound

log = structlog.get_logger("kitsu.media")

MAX_BYTES = 5 * 1024 * 1024
MAX_SIDE = 4096  # pixels; decoding an image of this size takes 64 MB
SIDE = 512  # pixels; larger images are scaled down
MAX_SCANS = 100
"""Scans of a JPEG. Cameras and editors write 12 at most; one has 30 bytes and takes the time of a whole image."""
QUEUE_SIZE = 16  # uploads that may wait for a thread; further ones get 503

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP")
TOO_LARGE = f"The avatar has more than {MAX_SIDE} pixels a side"
NOT_A_PICTURE = "The avatar must be an intact JPEG, PNG, GIF, WebP or BMP picture"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class AvatarFiles:
    """The files of avatars, and the threads that decode uploads."""

    def __init__(self, media: MediaStore, orphans: OrphanFiles) -> None:
        self.media = media
        self.orphans = orphans
        self.threads = Threads("avatars", threads=1, queue=QUEUE_SIZE)

    async def file(self, name: str) -> Media:
        """Return the file of an avatar. Raises NotFound, ServiceUnavailable."""
        if not _NAME.fullmatch(name) or ".." in name:
            raise NotFound
        return await self.media.get(key_of(name))


class AvatarService(UserService):
    def __init__(self, session: AsyncSession, *, context: AccountContext, files: AvatarFiles) -> None:
        super().__init__(session, context=context)
        self._files = files

    async def set(self, user_id: UUID, data: bytes, username: str | None = None) -> User:
        """Set the avatar of a user, and the name if it is given, in one transaction.

        Raises BadRequest for an invalid image or a name that is taken, NotFound, InvalidRequest, RateLimited.
        """
        if username is not None:
            check_username(username)
        if len(data) > MAX_BYTES:
            raise BadRequest("The avatar is larger than 5 MB")
        await self._context.limiter.hit("avatar", str(user_id))
        webp = await self._files.threads.run(lambda: picture(data))
        path = f"{AVATARS}{uuid4().hex}.webp"
        orphans = self._files.orphans
        await orphans.announce(path)
        try:
            await self._files.media.put(key_of(path), webp, "image/webp")
            user = await self._locked(user_id)
            old_path = user.avatar
            await self._change(user, {"avatar": path, "username": username or user.username})
            await orphans.adopt(self._session, path)
            if old_path is not None:
                await orphans.note(self._session, old_path)
            await self._session.commit()
        except Exception as error:
            await self._session.rollback()  # releases the lock on the note
            await orphans.tidy(path, keep_note=isinstance(error, PutOutcomeUnknown))
            raise
        log.info("avatar changed", user_id=str(user_id))
        if old_path is not None:
            await orphans.tidy(old_path)
        return self._struct_of(user)


def picture(data: bytes) -> bytes:
    """Return a WebP image of at most 512 pixels a side, without metadata. Raises BadRequest."""
    if not data:
        raise BadRequest("The avatar is empty")
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            _check(image, data)
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            return _webp(image)
    except BadRequest:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadRequest(TOO_LARGE) from error
    except Exception as error:  # Pillow's decoders raise errors of any kind
        raise BadRequest(NOT_A_PICTURE) from error


def _check(image: ImageFile, data: bytes) -> None:
    """Raise BadRequest for an image that can be refused before it is decoded."""
    if max(image.size) > MAX_SIDE:
        raise BadRequest(TOO_LARGE)
    if image.format == "PNG":
        image.verify()
    elif image.format in {"JPEG", "MPO"}:
        is_cut = data.rfind(b"\xff\xd9") <= data.rfind(b"\xff\xda")  # no end of image after the last scan
        if is_cut or data.count(b"\xff\xda") > MAX_SCANS:
            raise BadRequest(NOT_A_PICTURE)


def _webp(image: Image.Image) -> bytes:
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I"):  # 16-bit greyscale: a conversion would keep the lower 8 bits
        image = image.point(lambda value: value / 256).convert("L")
    elif image.mode in {"1", "P", "PA"} or (image.has_transparency_data and image.mode != "RGBA"):
        image = image.convert("RGBA")
    # reducing_gap lets a JPEG be decoded at a fraction of its size.
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    image = ImageOps.exif_transpose(image)
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    if profile:
        with suppress(ImageCms.PyCMSError, OSError, ValueError):  # a damaged profile, or one of another colour space
            source, target = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
            image = ImageCms.profileToProfile(image, source, target, outputMode=mode) or image
    file = BytesIO()
    image.convert(mode).save(file, "WEBP", quality=85, method=4)
    return file.getvalue()
