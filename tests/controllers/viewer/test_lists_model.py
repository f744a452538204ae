"""Favourites and collections against a small model: any sequence of writes leaves the lists that the model has."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.factories import Backend, Viewer

ANIME = 4

numbers = st.integers(0, ANIME - 1)
places = st.integers(0, 2)
steps = st.one_of(
    st.tuples(st.just("favorite"), numbers),
    st.tuples(st.just("unfavorite"), numbers),
    st.tuples(st.just("create"), st.booleans()),
    st.tuples(st.just("publish"), places, st.booleans()),
    st.tuples(st.just("delete"), places),
    st.tuples(st.just("put"), places, numbers),
    st.tuples(st.just("take"), places, numbers),
    st.tuples(st.just("order"), places, st.permutations(range(ANIME))),
)


@dataclass
class Collection:
    id: str
    is_public: bool
    items: list[str] = field(default_factory=list)


@dataclass
class Model:
    """The lists of a viewer, newest first, and the anime that the steps name by their number."""

    anime: list[str]
    favorites: list[str] = field(default_factory=list)
    collections: list[Collection] = field(default_factory=list)


@pytest.fixture
async def anime_ids(backend: Backend) -> list[str]:
    return await backend.animes(ANIME)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(sequence=st.lists(steps, min_size=1, max_size=14))
async def test_lists_follow_their_model(backend: Backend, anime_ids: list[str], sequence: list[Any]) -> None:
    viewer, other, model = await backend.viewer(), await backend.viewer(), Model(anime_ids)
    for step in sequence:
        await _do(viewer, model, step)
    favorites = await viewer.read("/favorites?limit=100")
    assert [each["anime_id"] for each in favorites] == model.favorites
    shown = [(each["id"], each["is_public"], each["item_count"]) for each in await viewer.read("/collections")]
    assert shown == [(each.id, each.is_public, len(each.items)) for each in model.collections]
    for collection in model.collections:
        path = f"/collections/{collection.id}/anime"
        assert [each["id"] for each in await viewer.read(path)] == collection.items
        assert (await other.request("GET", path)).status_code == (200 if collection.is_public else 404)


async def _do(viewer: Viewer, model: Model, step: Any) -> None:
    match step:
        case ("favorite", number):
            anime_id = model.anime[number]
            is_new = anime_id not in model.favorites
            await viewer.write("POST", "/favorites", {"anime_id": anime_id}, status=201 if is_new else 409)
            model.favorites[:0] = [anime_id] if is_new else []
        case ("unfavorite", number):
            anime_id = model.anime[number]
            await viewer.write("DELETE", f"/favorites/{anime_id}", status=204)
            model.favorites = [each for each in model.favorites if each != anime_id]
        case ("create", is_public):
            made = await viewer.write("POST", "/collections", {"name": "Mine", "is_public": is_public}, status=201)
            model.collections.insert(0, Collection(made["id"], is_public))
        case (action, place, *more) if place < len(model.collections):
            await _change(viewer, model, model.collections[place], action, *more)


async def _change(viewer: Viewer, model: Model, collection: Collection, action: str, *more: Any) -> None:
    path = f"/collections/{collection.id}"
    match action, *more:
        case "publish", is_public:
            await viewer.write("PATCH", path, {"is_public": is_public})
            collection.is_public = is_public
        case ("delete",):
            await viewer.write("DELETE", path, status=204)
            model.collections.remove(collection)
        case "put", number:
            anime_id = model.anime[number]
            await viewer.write("PUT", f"{path}/anime/{anime_id}", status=204)
            collection.items += [anime_id] if anime_id not in collection.items else []
        case "take", number:
            anime_id = model.anime[number]
            await viewer.write("DELETE", f"{path}/anime/{anime_id}", status=204)
            collection.items = [each for each in collection.items if each != anime_id]
        case "order", numbers:
            wanted = [model.anime[number] for number in numbers if model.anime[number] in collection.items]
            await viewer.write("PUT", f"{path}/order", {"anime_ids": wanted})
            collection.items = wanted
