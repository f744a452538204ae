"""The pages, by what they show."""

from litestar import Controller

from kitsu.admin.assets import AssetController
from kitsu.admin.pages.anime import AnimeController
from kitsu.admin.pages.audit import AuditController
from kitsu.admin.pages.collections import CollectionsController
from kitsu.admin.pages.imports import ImportsController, JobsController
from kitsu.admin.pages.invitations import InvitationsController
from kitsu.admin.pages.merges import MergesController
from kitsu.admin.pages.releases import ReleasesController
from kitsu.admin.pages.reviews import ReviewsController
from kitsu.admin.pages.second_factors import SecondFactorController
from kitsu.admin.pages.sign_in import SignInController
from kitsu.admin.pages.start import StartController
from kitsu.admin.pages.users import UsersController

PAGES: tuple[type[Controller], ...] = (
    AssetController,
    SignInController,
    SecondFactorController,
    StartController,
    AnimeController,
    ReleasesController,
    MergesController,
    ReviewsController,
    ImportsController,
    CollectionsController,
    UsersController,
    InvitationsController,
    AuditController,
    JobsController,
)
