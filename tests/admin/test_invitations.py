"""The page of invitations."""

import html
import re

from tests.admin.browser import Browser
from tests.factories import Backend


async def test_invitation_is_listed_with_its_link_and_revoked(admin: Browser, backend: Backend) -> None:
    assert 'href="/admin/invitations"' in await admin.open("/users")
    response = await admin.send("/invitations", {"email": "Guest@Example.org"})
    assert response.headers["location"] == "/admin/invitations?done=user-invited"
    page = await admin.open("/invitations?done=user-invited")
    assert "The invitation was issued." in page
    assert "guest@example.org" in page
    link = re.search(r"<code>(.*?)</code>", page)
    assert link
    token = html.unescape(link[1]).partition("token=")[2]
    revoke = re.search(r'action="/admin([^"]+/revoke)"', page)
    assert revoke
    assert (await admin.send("/invitations", action=revoke[1])).status_code == 303
    assert "guest@example.org" not in await admin.open("/invitations")
    body = {"email": "guest@example.org", "password": "a long enough password", "invitation": token}
    assert (await backend.client.post("/auth/register", json=body)).status_code == 400
    audit = await admin.open("/audit/actions")
    assert "user invited" in audit
    assert "invitation revoked" in audit
    assert "guest@example.org" not in audit


async def test_accepted_invitation_shows_no_link(admin: Browser, backend: Backend) -> None:
    await admin.send("/invitations")
    link = re.search(r"<code>(.*?)</code>", await admin.open("/invitations"))
    assert link
    token = html.unescape(link[1]).partition("token=")[2]
    body = {"email": "accepted@example.org", "password": "a long enough password", "invitation": token}
    assert (await backend.client.post("/auth/register", json=body)).status_code == 201
    page = await admin.open("/invitations")
    assert token not in page
    assert ">used<" in page


async def test_wrong_address_is_refused_at_its_field(admin: Browser) -> None:
    response = await admin.send("/invitations", {"email": "no address"})
    assert response.status_code == 422
    assert 'aria-invalid="true"' in response.text
    assert 'value="no address"' in response.text


async def test_editor_sees_no_invitations(editor: Browser) -> None:
    assert "No access" in await editor.open("/invitations", 403)
