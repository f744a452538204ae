"""The urls of the project: every controller, once."""

from litestar.types import ControllerRouterHandler

from kitsu.controllers.anime import AnimeController
from kitsu.controllers.auth import AuthController
from kitsu.controllers.docs import get_docs, get_docs_asset, get_openapi
from kitsu.controllers.episodes import EpisodeController
from kitsu.controllers.health import HealthController
from kitsu.controllers.releases import ReleaseController
from kitsu.controllers.search import SearchController
from kitsu.controllers.users import UserController

ROUTES: list[ControllerRouterHandler] = [
    AuthController,
    UserController,
    AnimeController,
    ReleaseController,
    EpisodeController,
    SearchController,
    HealthController,
    get_docs,
    get_docs_asset,
    get_openapi,
]
