"""All controllers, and how they get the parts."""

from collections.abc import Iterable, Mapping
from typing import Any

from litestar import Controller

from kitsu.controllers.accounts.auth import AuthController
from kitsu.controllers.accounts.users import UserController
from kitsu.controllers.catalogue.anime import AnimeController
from kitsu.controllers.catalogue.episodes import EpisodeController
from kitsu.controllers.catalogue.releases import ReleaseController
from kitsu.controllers.catalogue.search import SearchController
from kitsu.controllers.media.avatars import AvatarController
from kitsu.controllers.operations.docs import DocsController
from kitsu.controllers.operations.health import HealthController
from kitsu.controllers.operations.metrics import MetricsController
from kitsu.controllers.viewer.account_export import AccountExportController
from kitsu.controllers.viewer.collections import CollectionController
from kitsu.controllers.viewer.favorites import FavoriteController
from kitsu.controllers.viewer.library import LibraryController
from kitsu.controllers.viewer.library_files import LibraryFileController
from kitsu.controllers.viewer.views import ViewController
from kitsu.controllers.viewer.watch_progress import WatchProgressController

CONTROLLERS: tuple[type[Controller], ...] = (
    AuthController,
    UserController,
    AccountExportController,
    AnimeController,
    ReleaseController,
    EpisodeController,
    SearchController,
    FavoriteController,
    WatchProgressController,
    ViewController,
    CollectionController,
    LibraryController,
    LibraryFileController,
    AvatarController,
    HealthController,
    MetricsController,
    DocsController,
)


def bind(controllers: Iterable[type[Controller]], parts: Mapping[type, Any]) -> list[type[Controller]]:
    """Return the controllers with the parts that they declare as attributes: `anime: AnimeReader`.

    What belongs to one request is a dependency instead. Raises ValueError for a type that is not in `parts`.
    """
    return [_bound(controller, parts) for controller in controllers]


def _bound(controller: type[Controller], parts: Mapping[type, Any]) -> type[Controller]:
    attributes: dict[str, Any] = {"__module__": controller.__module__, "__doc__": controller.__doc__}
    for name, kind in vars(controller).get("__annotations__", {}).items():
        if kind not in parts:
            raise ValueError(f"{controller.__name__}.{name}: there is no {getattr(kind, '__name__', kind)} in Parts")
        attributes[name] = parts[kind]
    return type(controller.__name__, (controller,), attributes)
