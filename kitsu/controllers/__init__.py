"""The urls of the project: every controller, once."""

from litestar.types import ControllerRouterHandler

from kitsu.controllers.accounts.auth import AuthController
from kitsu.controllers.accounts.users import UserController
from kitsu.controllers.catalogue.anime import AnimeController
from kitsu.controllers.catalogue.episodes import EpisodeController
from kitsu.controllers.catalogue.releases import ReleaseController
from kitsu.controllers.catalogue.search import SearchController
from kitsu.controllers.media.avatars import get_avatar
from kitsu.controllers.operations.docs import get_docs, get_docs_asset, get_openapi
from kitsu.controllers.operations.health import HealthController
from kitsu.controllers.operations.metrics import get_metrics
from kitsu.controllers.viewer.account_export import export_me
from kitsu.controllers.viewer.collections import CollectionController
from kitsu.controllers.viewer.favorites import FavoriteController
from kitsu.controllers.viewer.library import LibraryController
from kitsu.controllers.viewer.library_files import export_library, import_library
from kitsu.controllers.viewer.views import ViewController
from kitsu.controllers.viewer.watch_progress import WatchProgressController

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
