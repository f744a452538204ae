"""A session of a front end, played with the generated Python client: `python scenario.py ADDRESS PICTURE`.

`test_clients.py` generates the client, checks this file against it with mypy and runs it.
"""

import io
import sys
from pathlib import Path
from typing import TypeVar

from kitsu_client import AuthenticatedClient, Client
from kitsu_client.api.accounts import change_me, get_me, login, logout, refresh_tokens, register
from kitsu_client.api.catalogue import get_anime, list_anime, list_episodes, list_releases, search_anime
from kitsu_client.api.media import get_avatar
from kitsu_client.api.viewer import (
    add_collection,
    add_favorite,
    change_collection,
    export_library,
    get_library_entry,
    import_library,
    list_collection_anime,
    list_collections,
    list_continue_watching,
    list_favorites,
    list_library,
    post_view,
    post_watch_progress,
    put_collection_anime,
    put_library_entry,
    remove_favorite,
)
from kitsu_client.models import (
    AnimeType,
    Collection,
    CollectionChange,
    Credentials,
    ErrorBody,
    ErrorCode,
    Favorite,
    ImportReport,
    LibraryEntry,
    LibraryImportForm,
    LibraryStatus,
    NewCollection,
    NewFavorite,
    NewLibraryEntry,
    NewProgress,
    NewView,
    ProfileForm,
    RefreshRequest,
    Season,
    Sort,
    Tokens,
)
from kitsu_client.types import File, Response

T = TypeVar("T")

CREDENTIALS = Credentials(email="python@example.org", password="a long enough password")
LIST = b"""<?xml version="1.0" encoding="UTF-8"?>
<myanimelist>
  <myinfo><user_export_type>1</user_export_type></myinfo>
  <anime>
    <series_animedb_id>16498</series_animedb_id>
    <series_title>Shingeki no Kyojin</series_title>
    <my_watched_episodes>3</my_watched_episodes>
    <my_score>9</my_score>
    <my_status>Watching</my_status>
    <update_on_import>1</update_on_import>
  </anime>
</myanimelist>
"""


def ok(response: Response[T | ErrorBody], status: int = 200) -> T:
    """Return the body of a successful response."""
    assert response.status_code == status, response.content
    body = response.parsed
    assert body is not None
    assert not isinstance(body, ErrorBody)
    return body


def empty(response: Response[T | ErrorBody]) -> None:
    """Check that a response is 204 without a body."""
    assert (response.status_code, response.content) == (204, b""), response.content


def failed(response: Response[T | ErrorBody], status: int, code: ErrorCode) -> ErrorBody:
    """Return the body of an error."""
    assert response.status_code == status, response.content
    body = response.parsed
    assert isinstance(body, ErrorBody)
    assert body.code == code
    return body


def signed_in(address: str) -> tuple[AuthenticatedClient, Tokens]:
    """Register, refresh the tokens, and return a client that sends them."""
    guest = Client(base_url=address)
    failed(get_me.sync_detailed(client=bearer(address, "x")), 401, ErrorCode.AUTH_ERROR)
    failed(login.sync_detailed(client=guest, body=CREDENTIALS), 401, ErrorCode.AUTH_ERROR)
    first = ok(register.sync_detailed(client=guest, body=CREDENTIALS), 201)
    failed(register.sync_detailed(client=guest, body=CREDENTIALS), 400, ErrorCode.VALIDATION_ERROR)
    tokens = ok(refresh_tokens.sync_detailed(client=guest, body=RefreshRequest(first.refresh_token)))
    assert tokens.refresh_token != first.refresh_token
    return bearer(address, tokens.access_token), tokens


def bearer(address: str, token: str) -> AuthenticatedClient:
    """Return a client with an access token."""
    return AuthenticatedClient(base_url=address, token=token)


def browse(address: str) -> None:
    """Read the catalogue as a guest."""
    guest = Client(base_url=address)
    found = ok(list_anime.sync_detailed(client=guest, type_=AnimeType.TV, season=Season.FALL, sort=Sort.SCORE_DESC))
    assert found
    assert all((item.type_, item.season) == (AnimeType.TV, Season.FALL) for item in found)
    page = list_anime.sync_detailed(client=guest, limit=2, total=True)
    assert len(ok(page)) == 2
    assert int(page.headers["X-Total-Count"]) > 2
    anime = ok(get_anime.sync_detailed(found[0].id, client=guest))
    assert anime.title == found[0].title
    releases = ok(list_releases.sync_detailed(client=guest, anime_id=anime.id))
    assert ok(list_episodes.sync_detailed(client=guest, release_id=releases[0].id))
    assert [item.title for item in ok(search_anime.sync_detailed(client=guest, q="shingeki no kyojin", limit=1))]
    failed(search_anime.sync_detailed(client=guest, q="x"), 400, ErrorCode.VALIDATION_ERROR)
    failed(get_anime.sync_detailed(releases[0].id, client=guest), 404, ErrorCode.NOT_FOUND)
    error = failed(list_anime.sync_detailed(client=guest, limit=0), 422, ErrorCode.VALIDATION_ERROR)
    assert error.details is not None
    assert [detail.field for detail in error.details] == ["limit"]


def favourites(client: AuthenticatedClient) -> None:
    """Add, list and remove a favourite."""
    anime_id = ok(list_anime.sync_detailed(client=client))[0].id
    added = ok(add_favorite.sync_detailed(client=client, body=NewFavorite(anime_id)), 201)
    failed(add_favorite.sync_detailed(client=client, body=NewFavorite(anime_id)), 409, ErrorCode.CONFLICT_ERROR)
    (favorite,) = ok(list_favorites.sync_detailed(client=client))
    assert isinstance(favorite, Favorite)
    assert favorite == added
    assert favorite.anime.id == anime_id
    empty(remove_favorite.sync_detailed(anime_id, client=client))
    assert ok(list_favorites.sync_detailed(client=client)) == []


def watch(client: AuthenticatedClient) -> None:
    """Play an episode and find it under "continue watching"."""
    anime = ok(search_anime.sync_detailed(client=client, q="death note"))[0]
    release = ok(list_releases.sync_detailed(client=client, anime_id=anime.id))[0]
    episode = ok(list_episodes.sync_detailed(client=client, release_id=release.id))[0]
    body = NewProgress(anime_id=anime.id, episode=episode.number, position_seconds=431, progress_percent=30.5)
    progress = ok(post_watch_progress.sync_detailed(client=client, body=body, idempotency_key="player-1"))
    assert (progress.episode, progress.position_seconds, progress.progress_percent) == (episode.number, 431, 30.5)
    assert ok(list_continue_watching.sync_detailed(client=client)) == [progress]
    view = ok(post_view.sync_detailed(client=client, body=NewView(episode.id, progress=431, device="phone")), 201)
    assert (view.anime_id, view.device) == (anime.id, "phone")


def collect(client: AuthenticatedClient) -> None:
    """Fill a collection and change it."""
    first, second = (item.id for item in ok(list_anime.sync_detailed(client=client, limit=2)))
    body = NewCollection(name="Rainy days", is_public=True)
    collection = ok(add_collection.sync_detailed(client=client, body=body), 201)
    empty(put_collection_anime.sync_detailed(collection.id, first, client=client))
    empty(put_collection_anime.sync_detailed(collection.id, second, client=client, position=0))
    items = ok(list_collection_anime.sync_detailed(collection.id, client=client))
    assert [item.id for item in items] == [second, first]
    change = CollectionChange(description="Best with tea")
    changed = ok(change_collection.sync_detailed(collection.id, client=client, body=change))
    assert (changed.name, changed.description, changed.item_count) == ("Rainy days", "Best with tea", 2)
    (listed,) = ok(list_collections.sync_detailed(client=client))
    assert isinstance(listed, Collection)
    assert listed == changed


def keep_library(client: AuthenticatedClient) -> None:
    """Change an entry under `If-Match`, import a list and export the library."""
    anime_id = ok(list_anime.sync_detailed(client=client))[0].id
    read = ok(
        put_library_entry.sync_detailed(anime_id, client=client, body=NewLibraryEntry(LibraryStatus.PLAN_TO_WATCH))
    )
    tag = get_library_entry.sync_detailed(anime_id, client=client).headers["ETag"]
    scored = NewLibraryEntry(LibraryStatus.WATCHING, score=8, notes="From the start")
    entry = ok(put_library_entry.sync_detailed(anime_id, client=client, body=scored, if_match=tag))
    assert (entry.version, entry.score) == (read.version + 1, 8)
    late = put_library_entry.sync_detailed(anime_id, client=client, body=scored, if_match=tag)
    failed(late, 412, ErrorCode.PRECONDITION_FAILED)
    file = File(io.BytesIO(LIST), file_name="animelist.xml", mime_type="application/xml")
    report = import_library.sync_detailed(client=client, body=LibraryImportForm(file)).parsed
    assert isinstance(report, ImportReport)
    assert (report.added, report.not_imported) == (1, [])
    report = import_library.sync_detailed(client=client, body=File(io.BytesIO(LIST)), dry_run=True).parsed
    assert isinstance(report, ImportReport)
    assert (report.added, report.unchanged) == (0, 1)
    exported = ok(export_library.sync_detailed(client=client))
    listed = ok(list_library.sync_detailed(client=client, status=LibraryStatus.WATCHING))
    entries = {each.id for each in listed if isinstance(each, LibraryEntry)}
    assert entries >= {entry.id}
    assert entries <= {each.entry.id for each in exported.entries}


def set_avatar(client: AuthenticatedClient, picture: bytes) -> None:
    """Upload an avatar and download it."""
    form = ProfileForm(username="python", avatar=File(io.BytesIO(picture), "a.png", "image/png"))
    user = ok(change_me.sync_detailed(client=client, body=form))
    assert user.username == "python"
    assert user.avatar is not None
    avatar = ok(get_avatar.sync_detailed(user.avatar.rpartition("/")[2], client=client))
    assert avatar.payload.read().startswith(b"RIFF")
    failed(get_avatar.sync_detailed("x.webp", client=client), 404, ErrorCode.NOT_FOUND)


def main(address: str, picture: bytes) -> None:
    """Play the session."""
    browse(address)
    client, tokens = signed_in(address)
    favourites(client)
    watch(client)
    collect(client)
    keep_library(client)
    set_avatar(client, picture)
    empty(logout.sync_detailed(client=client, body=RefreshRequest(tokens.refresh_token)))
    failed(get_me.sync_detailed(client=client), 401, ErrorCode.AUTH_ERROR)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).read_bytes())
