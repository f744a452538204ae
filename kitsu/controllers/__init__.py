"""All controllers, and how they get the parts."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from litestar import Controller

from kitsu.controllers.accounts import auth, oidc, passkeys, recovery, second_factors, users
from kitsu.controllers.catalogue import anime, facets, history, merges, releases, reviews, search
from kitsu.controllers.front_end import gateway
from kitsu.controllers.media import avatars
from kitsu.controllers.operations import docs, health, metrics
from kitsu.controllers.viewer import (
    collections,
    exports,
    favorites,
    imports,
    library,
    plays,
    profiles,
    statistics,
    views,
    watch_progress,
)

CONTROLLERS: tuple[type[Controller], ...] = (
    auth.AuthController,
    recovery.RecoveryController,
    second_factors.SecondFactorController,
    passkeys.PasskeyController,
    oidc.OIDCController,
    oidc.SignInLinkController,
    users.UserController,
    anime.AnimeController,
    releases.ReleaseController,
    releases.EpisodeController,
    search.SearchController,
    facets.FacetController,
    history.HistoryController,
    merges.MergeController,
    reviews.ReviewController,
    favorites.FavoriteController,
    watch_progress.WatchProgressController,
    views.ViewController,
    plays.PlayController,
    collections.CollectionController,
    library.LibraryController,
    imports.LibraryImportController,
    exports.ExportController,
    gateway.GatewayController,
    statistics.StatisticsController,
    profiles.ProfileController,
    avatars.AvatarController,
    health.HealthController,
    metrics.MetricsController,
    docs.DocsController,
)


def bind(controllers: Iterable[type[Controller]], parts: Mapping[type, Any]) -> list[type[Controller]]:
    """Return the controllers with the parts that they declare as attributes: `anime: AnimeReader`. Raises KeyError."""
    bound = []
    for controller in controllers:
        attributes = {name: parts[kind] for name, kind in inspect.get_annotations(controller).items()}
        bound.append(type(controller.__name__, (controller,), attributes))
    return bound
