"""GET /media/avatars/{name}: the files that users uploaded, here and in the service before Kitsu."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from litestar import Controller, Request, Response, get
from litestar.datastructures import ResponseHeader
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from litestar.response import Stream

from kitsu.domain.media.avatars import AvatarFiles
from kitsu.domain.media.store import CACHE_CONTROL, Media
from kitsu.errors import NotFound, RangeNotSatisfiable
from kitsu.web.authentication import PUBLIC
from kitsu.web.middleware.response_cache import has_tag
from kitsu.web.middleware.streams import STREAM_BYTES, STREAMED, start_stream
from kitsu.web.openapi import NOT_MODIFIED, documented_header, errors

TYPES = {
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
}
# The older service stored whatever came, under the client's own suffix: a browser shall run nothing of it.
POLICY = "default-src 'none'; sandbox"

_HEADERS: Sequence[ResponseHeader] = (
    documented_header("ETag", "send it back as `If-None-Match` for a 304"),
    documented_header("Cache-Control", f"`{CACHE_CONTROL}`"),
    documented_header("Accept-Ranges", "`bytes`"),
)
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE)


class AvatarController(Controller):
    """The pictures of users."""

    path = "/media/avatars"
    tags = ["Media"]
    opt = PUBLIC
    avatars: AvatarFiles

    @get(
        "/{name:str}",
        middleware=[STREAMED],
        media_type="image/webp",
        response_headers=_HEADERS,
        responses={
            206: ResponseSpec(
                bytes, description="The range that was asked for.", media_type="image/webp", generate_examples=False
            ),
            **NOT_MODIFIED,
            **errors(NotFound, RangeNotSatisfiable),
        },
    )
    async def get_avatar(self, request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
        """Get an avatar.

        The name is the last part of `avatar_url`. The picture of a name never changes. Supports one range of
        bytes.
        """
        file = await self.avatars.file(name)
        tag = f'"{file.tag}"'
        headers = {
            "ETag": tag,
            "Cache-Control": CACHE_CONTROL,
            "Accept-Ranges": "bytes",
            "Content-Security-Policy": POLICY,
        }
        if has_tag(request.scope, tag.encode()):
            return Response(b"", status_code=304, headers=headers)
        media_type = TYPES.get(PurePosixPath(name).suffix.lower())
        if media_type is None:
            headers["Content-Disposition"] = "attachment"
        wanted = _range(request, file, tag)
        start, end = wanted or (0, file.size)
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        known: dict[str, Any] = {
            "status_code": 206 if wanted else 200,
            "headers": headers,
            "media_type": media_type or "application/octet-stream",
        }
        if end - start <= STREAM_BYTES:
            return Response(await file.read(start, end), **known)
        headers["Content-Length"] = str(end - start)
        return Stream(await start_stream(file.pieces(start, end)), **known)


def _range(request: Request[Any, Any, Any], file: Media, tag: str) -> tuple[int, int] | None:
    """Where to begin and before which byte to end; None for all of it. Raises RangeNotSatisfiable.

    Several ranges, and what is no range, are ignored, as HTTP allows (RFC 9110, 14.2).
    """
    found = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if found is None or not (found[1] or found[2]) or request.headers.get("if-range", tag).strip() != tag:
        return None
    if not found[1]:  # so many of the last bytes
        start, end = max(file.size - int(found[2]), 0), file.size
    else:
        start, end = int(found[1]), min(int(found[2]) + 1, file.size) if found[2] else file.size
        if found[2] and int(found[2]) < start:
            return None
    if start >= file.size:
        raise RangeNotSatisfiable(file.size)
    return start, end
