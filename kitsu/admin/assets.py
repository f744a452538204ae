"""The files that pages need: the style sheet, the script, and htmx."""

from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated

from litestar import Controller, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, QueryParameter

from kitsu.admin.navigation import PATH

_STATIC = Path(__file__).parent / "static"
_OWN = {
    "admin.css": "text/css",
    "admin.js": "text/javascript",
    "passkeys.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_HTMX = "htmx.js"


def load_assets() -> None:
    """Read all files. Raises RuntimeError for a missing one."""
    for name in (*_OWN, _HTMX):
        try:
            _content(name)
        except (OSError, PackageNotFoundError) as error:
            raise RuntimeError(f"The admin site needs {name}: install the locked packages") from error


def asset_url(name: str) -> str:
    """Return the URL of a file, which changes with its content."""
    return f"{PATH}/static/{name}?v={_content(name)[1]}"


@cache
def _content(name: str) -> tuple[bytes, str]:
    path = _STATIC / name
    if name == _HTMX:
        # The wheel of pgqueuer contains htmx. `importlib.resources` would import the package, which takes memory.
        path = Path(str(distribution("pgqueuer").locate_file("pgqueuer/adapters/web/static/htmx.min.js")))
    content = path.read_bytes()
    return content, sha256(content).hexdigest()[:16]


class AssetController(Controller):
    path = "/static"

    @get("/{name:str}", sync_to_thread=False)
    def get_asset(self, name: FromPath[str], v: Annotated[str | None, QueryParameter()] = None) -> Response[bytes]:
        """Return a file. Browsers store it if the URL has the hash of its content."""
        if name not in _OWN and name != _HTMX:
            raise NotFoundException
        content, digest = _content(name)
        caching = "public, max-age=31536000, immutable" if v == digest else "no-cache"
        media_type = _OWN.get(name, "text/javascript")
        return Response(content, media_type=media_type, headers={"Cache-Control": caching})
