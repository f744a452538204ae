"""The page of a release, with its episodes."""

from uuid import UUID

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect, Template

from kitsu.admin.authentication import AdminRequest
from kitsu.admin.forms import Form, new_id
from kitsu.admin.navigation import see
from kitsu.admin.pages.anime import CHOICES
from kitsu.domain.catalogue.anime import AnimeReader
from kitsu.domain.catalogue.editing import EpisodeService, ReleaseService
from kitsu.domain.catalogue.edits import EpisodeChange, NewEpisode, NewRelease, ReleaseChange
from kitsu.domain.catalogue.releases import Release, ReleaseReader
from kitsu.errors import AppError
from kitsu.web.guards import EDITS
from kitsu.web.services import service

Releases = NamedDependency[ReleaseService]
Episodes = NamedDependency[EpisodeService]


class ReleasesController(Controller):
    guards = EDITS
    dependencies = {"editing": service(ReleaseService), "episode_editing": service(EpisodeService)}
    anime: AnimeReader
    releases: ReleaseReader

    @get("/anime/{anime_id:uuid}/releases/new")
    async def show_new(self, anime_id: FromPath[UUID]) -> Template:
        """Show the form of a new release."""
        return await self._new_page(anime_id, Form.empty(episode_count="12"))

    @post("/anime/{anime_id:uuid}/releases/new")
    async def add_release(
        self, request: AdminRequest, anime_id: FromPath[UUID], editing: Releases
    ) -> Template | Redirect:
        """Create a release with its first episodes."""
        form = await Form.read(request)
        try:
            new = form.convert(NewRelease, anime_id=str(anime_id))
            release = await editing.add(request.user.user_id, new, new_id(form))
        except AppError as error:
            return await self._new_page(anime_id, form.refused(error), error.status)
        return see(f"/releases/{release.id}", done="release-added")

    @get("/releases/{release_id:uuid}")
    async def show_release(self, release_id: FromPath[UUID]) -> Template:
        """Show a release."""
        release = await self.releases.detail(release_id)
        return await self._page(release, Form.of(release))

    @post("/releases/{release_id:uuid}")
    async def change_release(
        self, request: AdminRequest, release_id: FromPath[UUID], editing: Releases
    ) -> Template | Redirect:
        """Change a release."""
        form = await Form.read(request)
        release = await self.releases.detail(release_id)
        try:
            change = form.convert(ReleaseChange)
            await editing.change(request.user.user_id, release_id, change, form.expected)
        except AppError as error:
            return await self._page(release, form.refused(error), error.status)
        return see(f"/releases/{release_id}", done="release-changed")

    @post("/releases/{release_id:uuid}/delete")
    async def remove_release(self, request: AdminRequest, release_id: FromPath[UUID], editing: Releases) -> Redirect:
        """Delete a release, as it was shown."""
        form = await Form.read(request)
        release = await self.releases.detail(release_id)
        await editing.remove(request.user.user_id, release_id, form.expected)
        return see(f"/anime/{release.anime_id}", done="release-deleted")

    @post("/releases/{release_id:uuid}/episodes")
    async def add_episode(
        self, request: AdminRequest, release_id: FromPath[UUID], episode_editing: Episodes
    ) -> Template | Redirect:
        """Create an episode."""
        form = await Form.read(request)
        try:
            await episode_editing.add(request.user.user_id, form.convert(NewEpisode, release_id=str(release_id)))
        except AppError as error:
            release = await self.releases.detail(release_id)
            return await self._page(release, Form.of(release), error.status, new_episode=form.refused(error))
        return see(f"/releases/{release_id}", done="episode-added")

    @post("/releases/{release_id:uuid}/episodes/{episode_id:uuid}")
    async def change_episode(
        self, request: AdminRequest, release_id: FromPath[UUID], episode_id: FromPath[UUID], episode_editing: Episodes
    ) -> Template | Redirect:
        """Change an episode."""
        form = await Form.read(request)
        try:
            change = form.convert(EpisodeChange)
            await episode_editing.change(request.user.user_id, episode_id, change, form.expected)
        except AppError as error:
            release = await self.releases.detail(release_id)
            return await self._page(release, Form.of(release), error.status, {episode_id: form.refused(error)})
        return see(f"/releases/{release_id}", done="episode-changed")

    @post("/releases/{release_id:uuid}/episodes/{episode_id:uuid}/delete")
    async def remove_episode(
        self, request: AdminRequest, release_id: FromPath[UUID], episode_id: FromPath[UUID], episode_editing: Episodes
    ) -> Redirect:
        """Delete an episode."""
        await episode_editing.remove(request.user.user_id, episode_id, None)
        return see(f"/releases/{release_id}", done="episode-deleted")

    async def _new_page(self, anime_id: UUID, form: Form, status: int = 200) -> Template:
        context = {"anime": await self.anime.detail(anime_id), "form": form, **CHOICES}
        return Template("releases/new.html", context=context, status_code=status)

    async def _page(
        self,
        release: Release,
        form: Form,
        status: int = 200,
        episode_forms: dict[UUID, Form] | None = None,
        new_episode: Form | None = None,
    ) -> Template:
        episodes = await self.releases.episodes(release.id)
        forms = {each.id: Form.of(each) for each in episodes} | (episode_forms or {})
        following = max((each.number for each in episodes), default=0) + 1
        context = {
            "release": release,
            "anime": await self.anime.detail(release.anime_id),
            "form": form,
            "episodes": episodes,
            "forms": forms,
            "new_episode": new_episode or Form.empty(number=str(following)),
            **CHOICES,
        }
        return Template("releases/detail.html", context=context, status_code=status)
