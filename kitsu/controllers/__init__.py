"""The urls of the project: every controller, once."""

from litestar.types import ControllerRouterHandler

from kitsu.controllers.account_export import export_me
from kitsu.controllers.anime import AnimeController
from kitsu.controllers.auth import AuthController
from kitsu.controllers.collections import CollectionController
from kitsu.controllers.docs import get_docs, get_docs_asset, get_openapi
from kitsu.controllers.episodes import EpisodeController
from kitsu.controllers.favorites import FavoriteController
from kitsu.controllers.health import HealthController
from kitsu.controllers.library import LibraryController
from kitsu.controllers.library_lists import export_library, import_library
from kitsu.controllers.media import get_avatar
from kitsu.controllers.metrics import get_metrics
from kitsu.controllers.releases import ReleaseController
from kitsu.controllers.search import SearchController
from kitsu.controllers.users import UserController
from kitsu.controllers.views import ViewController
from kitsu.controllers.watch_progress import WatchProgressController

ROUTES: list[ControllerRouterHandler] = [
    AuthController,
    UserController,
    AnimeController,
    ReleaseController,
    EpisodeController,
    SearchController,
    FavoriteController,
    WatchProgressController,
    ViewController,
    CollectionController,
    LibraryController,
    import_library,
    export_library,
    export_me,
    get_avatar,
    HealthController,
    get_metrics,
    get_docs,
    get_docs_asset,
    get_openapi,
]
