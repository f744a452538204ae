"""GET /media/avatars/{name}."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any

from litestar import Controller, Request, Response, get
from litestar.datastructures import ResponseHeader
from litestar.params import PathParameter
from litestar.response import Stream

from kitsu.domain.media.avatars import AvatarFiles
from kitsu.domain.media.store import CACHE_CONTROL, Media
from kitsu.errors import NotFound, RangeNotSatisfiable
from kitsu.web.authentication import PUBLIC
from kitsu.web.middleware.response_cache import has_tag
from kitsu.web.middleware.streams import STREAM_BYTES, STREAMED, start_stream
from kitsu.web.openapi import NOT_MODIFIED, body_of, documented_header, errors, parameter

MEDIA_TYPES = {f".{name}": f"image/{name}" for name in ("webp", "jpeg", "png", "gif", "bmp")} | {".jpg": "image/jpeg"}
# The older service stored any upload under the client's suffix: browsers must not run it.
POLICY = "default-src 'none'; sandbox"
_FIXED_HEADERS = {"Cache-Control": CACHE_CONTROL, "Accept-Ranges": "bytes", "Content-Security-Policy": POLICY}

_HEADERS: Sequence[ResponseHeader] = (
    documented_header("ETag", "Send it as `If-None-Match` to get a 304."),
    documented_header("Cache-Control", f"`{CACHE_CONTROL}`."),
    documented_header("Accept-Ranges", "`bytes`."),
)
_RANGE = re.compile(r"bytes=(?!-$)([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE)


class AvatarController(Controller):
    path = "/media/avatars"
    tags = ["Media"]
    opt = PUBLIC
    avatars: AvatarFiles

    @get(
        "/{name:str}",
        middleware=[STREAMED],
        media_type="image/webp",
        response_description="The image. Avatars of the previous service may have another image type.",
        response_headers=_HEADERS,
        responses={
            206: body_of(bytes, "The requested range.", "image/webp"),
            **NOT_MODIFIED,
            **errors(NotFound, RangeNotSatisfiable),
        },
    )
    async def get_avatar(
        self,
        request: Request[Any, Any, Any],
        name: Annotated[str, parameter(PathParameter, "The last part of `avatar_url`.", "5f0c6a7be1d24d0f.webp")],
    ) -> Response[Any]:
        """Get an avatar. The image of a name never changes. Supports one range of bytes."""
        file = await self.avatars.file(name)
        tag = f'"{file.tag}"'
        headers = {"ETag": tag, **_FIXED_HEADERS}
        if has_tag(request.scope, tag.encode()):
            return Response(b"", status_code=304, headers=headers)
        media_type = MEDIA_TYPES.get(PurePosixPath(name).suffix.lower())
        if media_type is None:
            headers["Content-Disposition"] = "attachment"
        requested = _range(request, file, tag)
        start, end = requested or (0, file.size)
        if requested:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        status, media_type = 206 if requested else 200, media_type or "application/octet-stream"
        if end - start <= STREAM_BYTES:
            content = await file.read(start, end)
            return Response(content, status_code=status, headers=headers, media_type=media_type)
        headers["Content-Length"] = str(end - start)
        pieces = await start_stream(file.pieces(start, end))
        return Stream(pieces, status_code=status, headers=headers, media_type=media_type)


def _range(request: Request[Any, Any, Any], file: Media, tag: str) -> tuple[int, int] | None:
    """Return the first byte and the end of the requested range, None for the whole file. Raises RangeNotSatisfiable.

    Several ranges and invalid ones are ignored, as HTTP allows (RFC 9110, 14.2).
    """
    found = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if found is None or request.headers.get("if-range", tag).strip() != tag:
        return None
    first, last = found.groups()
    if not first:  # a number of bytes at the end
        start, end = max(file.size - int(last), 0), file.size
    elif last and int(last) < int(first):
        return None
    else:
        start, end = int(first), min(int(last) + 1, file.size) if last else file.size
    if start >= file.size:
        raise RangeNotSatisfiable(file.size)
    return start, end
