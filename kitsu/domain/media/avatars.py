"""Avatars: from an upload to a picture that is safe to show, and the user's file in the media store."""

import re
from io import BytesIO
from uuid import UUID, uuid4

import structlog
from PIL import Image, ImageCms, ImageOps
from PIL.ImageFile import ImageFile
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.domain.accounts.users import AccountContext, User, UserService, check_username
from kitsu.domain.media.orphans import AVATARS, OrphanFiles, key_of
from kitsu.domain.media.store import Media, MediaStore, PutOutcomeUnknown
from kitsu.domain.threads import Threads
from kitsu.errors import BadRequest, NotFound

log = structlog.get_logger("kitsu.media")

MAX_BYTES = 5 * 1024 * 1024
MAX_SIDE = 4096
"""Pixels; a picture with this side takes 64 MB while it is read."""
SIDE = 512
"""Pixels; larger pictures are scaled down."""
MAX_SCANS = 100
"""Scans of a JPEG. Cameras and editors write 12 at most; one has 30 bytes and takes the time of a whole picture."""
THREAD_COUNT = 1
QUEUE_SIZE = 16
"""Pictures that may wait for a thread; further uploads get 503."""

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP")
TOO_LARGE = f"The avatar has more than {MAX_SIDE} pixels a side"
NOT_A_PICTURE = "The avatar is no JPEG, PNG, GIF, WebP or BMP picture, or a damaged one"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class AvatarFiles:
    """The files of avatars, and the threads that read what users upload."""

    def __init__(self, media: MediaStore, orphans: OrphanFiles) -> None:
        self.media = media
        self.orphans = orphans
        self.threads = Threads("avatars", threads=THREAD_COUNT, queue=QUEUE_SIZE)

    async def file(self, name: str) -> Media:
        """Return the file of an avatar. Raises NotFound, ServiceUnavailable."""
        if not _NAME.fullmatch(name) or ".." in name:
            raise NotFound
        return await self.media.get(key_of(name))


class AvatarService(UserService):
    """Changes the avatars of users."""

    def __init__(self, session: AsyncSession, *, context: AccountContext, files: AvatarFiles) -> None:
        super().__init__(session, context=context)
        self._files = files

    async def set(self, user_id: UUID, data: bytes, username: str | None = None) -> User:
        """Set a user's avatar, and the name if there is one, in one transaction.

        Raises BadRequest for data that is no picture or a name that is taken, NotFound, InvalidRequest, RateLimited.
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
            user, old = await self._refer(user_id, path, username)
        except Exception as error:
            await self._session.rollback()  # or the note of the file stays locked
            await orphans.tidy(path, again=isinstance(error, PutOutcomeUnknown))
            raise
        log.info("avatar changed", user_id=str(user_id))
        if old is not None:
            await orphans.tidy(old)
        return user

    async def _refer(self, user_id: UUID, path: str, username: str | None) -> tuple[User, str | None]:
        """Have the user refer to the file; return the user, and the file referred to before."""
        user = await self._locked(user_id)
        old = user.avatar
        await self._change(user, {"avatar": path} if username is None else {"avatar": path, "username": username})
        await self._files.orphans.adopt(self._session, path)
        if old is not None:
            await self._files.orphans.note(self._session, old)
        await self._session.commit()
        return self._struct_of(user), old


def picture(data: bytes) -> bytes:
    """Return a WebP picture of at most 512 pixels a side, without metadata. Raises BadRequest."""
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
    except Exception as error:  # Pillow's decoders raise errors of any kind for what they can't read
        raise BadRequest(NOT_A_PICTURE) from error


def _check(image: ImageFile, data: bytes) -> None:
    """Raise BadRequest for a picture that can be refused before it is decoded."""
    if max(image.size) > MAX_SIDE:
        raise BadRequest(TOO_LARGE)
    if image.format == "PNG":
        image.verify()
    elif image.format in {"JPEG", "MPO"} and not _is_whole_jpeg(data):
        raise BadRequest(NOT_A_PICTURE)


def _is_whole_jpeg(data: bytes) -> bool:
    """Return whether the file ends after its last scan and has at most MAX_SCANS."""
    return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda") and data.count(b"\xff\xda") <= MAX_SCANS


def _webp(image: Image.Image) -> bytes:
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I"):  # 16 bits of grey, of which a conversion would keep the lower 8
        image = image.point(lambda value: value / 256).convert("L")
    elif image.mode in {"1", "P", "PA"} or (image.has_transparency_data and image.mode != "RGBA"):
        image = image.convert("RGBA")
    # A JPEG is read at a fraction of its size, where that is enough.
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    image = _srgb(ImageOps.exif_transpose(image), profile)
    file = BytesIO()
    image.save(file, "WEBP", quality=85, method=4)
    return file.getvalue()


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
        except (ImageCms.PyCMSError, OSError, ValueError):  # a profile that is broken, or for other colours than these
            converted = None
        if converted is not None:
            return converted
    return image.convert(mode)
