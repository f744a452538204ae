"""Public collections, which administrators hide."""

from tests.admin.browser import Browser, Page
from tests.factories import Backend


async def test_hidden_collection_is_private_and_its_owner_keeps_it(admin: Browser, backend: Backend) -> None:
    owner, guest = await backend.viewer(), backend.client
    new = {"name": "<i>Bad</i> words", "description": "text", "is_public": True}
    collection = await owner.write("POST", "/collections", new, 201)
    private = await owner.write("POST", "/collections", {"name": "My secret"}, 201)
    page = await admin.open("/collections")
    assert "&lt;i&gt;Bad&lt;/i&gt; words" in page
    assert "My secret" not in page
    response = await admin.send("/collections", action=f"/collections/{collection['id']}/hide")
    assert response.headers["location"] == "/admin/collections?done=collection-hidden"
    assert collection["id"] not in await admin.open("/collections")
    assert (await guest.get(f"/collections/{collection['id']}")).status_code == 404
    kept = await owner.read(f"/collections/{collection['id']}")
    assert (kept["is_public"], kept["version"]) == (False, collection["version"] + 1)
    page = await admin.open("/audit/actions")
    assert "collection hidden" in page
    token = Page(page).forms["/admin/sign-out"]
    for id_ in (collection["id"], private["id"]):
        assert (await admin.client.post(f"/admin/collections/{id_}/hide", data=token)).status_code == 404


async def test_collections_are_for_administrators(editor: Browser) -> None:
    assert "No access" in await editor.open("/collections", 403)
