"""The pages of users: list, search, role, sessions."""

import re

import pytest

from tests.accounts import login, me
from tests.admin.browser import Browser
from tests.admin.conftest import NewBrowser
from tests.factories import Backend, insert
from tests.second_factors import Clock, protect


async def test_list_has_pages_in_both_directions(admin: Browser, backend: Backend) -> None:
    for number in range(120):
        user = {"email": f"p{number}@pages.example", "username": f"paged{number}", "password_hash": "secret-hash"}
        await insert(backend.rows, "users", user)
    seen, path, pages = [], "/users", []
    while path:
        page = await admin.open(path)
        assert "secret-hash" not in page
        seen += re.findall(r">(paged\d+)</a>", page)
        pages.append(page)
        following = re.search(r'href="/admin([^"]+)" rel="next"', page)
        path = following[1].replace("&amp;", "&") if following else ""
    assert len(seen) == len(set(seen)) == 120
    back = re.search(r'href="/admin([^"]+)" rel="prev"', pages[2])
    assert back
    before = await admin.open(back[1].replace("&amp;", "&"))
    assert re.findall(r">(paged\d+)</a>", before) == re.findall(r">(paged\d+)</a>", pages[1])


@pytest.mark.parametrize("text", ["kaguya@", "KAGUYA", "kaguya_s"])
async def test_search_finds_users_by_start_of_email_or_name(admin: Browser, backend: Backend, text: str) -> None:
    await backend.rows.execute("DELETE FROM users WHERE email LIKE '%@search.example'")
    user = {"email": "Kaguya@search.example", "username": "Kaguya_S", "password_hash": "x"}
    other = {"email": "other@search.example", "username": "kaguyaXS", "password_hash": "x"}
    user_id = await insert(backend.rows, "users", user)
    await insert(backend.rows, "users", other)
    page = await admin.open("/users", params={"q": text})
    assert f'href="/admin/users/{user_id}">Kaguya_S</a>' in page
    assert ("kaguyaXS" in page) == (text == "KAGUYA")


async def test_search_without_result_shows_the_text(admin: Browser) -> None:
    page = await admin.open("/users", params={"q": "<script>alert(1)</script>%"})
    assert "No user has" in page
    assert "&lt;script&gt;" in page
    assert "<script>alert" not in page


async def test_deactivated_user_is_signed_out_at_once(admin: Browser, signed_in: NewBrowser) -> None:
    editor = await signed_in("editor")
    response = await admin.send(f"/users/{editor.user_id}", {"is_active": "false"})
    assert response.headers["location"] == f"/admin/users/{editor.user_id}?done=user-changed"
    page = await admin.open(f"/users/{editor.user_id}?done=user-changed")
    assert "The user was changed." in page
    assert "deactivated" in page
    assert (await editor.client.get("/admin/")).status_code == 303
    assert (await editor.sign_in()).status_code == 401


async def test_changed_role_holds_for_the_next_request(admin: Browser, signed_in: NewBrowser) -> None:
    editor = await signed_in("editor")
    assert (await admin.send(f"/users/{editor.user_id}", {"role": "admin"})).status_code == 303
    assert "Users" in await editor.open("/users")


async def test_refused_value_keeps_the_entered_values(admin: Browser, editor: Browser) -> None:
    response = await admin.send(f"/users/{editor.user_id}", {"role": "king", "is_active": "maybe"})
    assert response.status_code == 422
    assert "Invalid enum value &#39;king&#39;" in response.text
    assert "Expected `bool`, got `str`" in response.text
    assert 'aria-invalid="true"' in response.text


async def test_nul_is_refused_at_its_field(admin: Browser, editor: Browser) -> None:
    response = await admin.send(f"/users/{editor.user_id}", {"role": "us\0er", "is_active": "maybe"})
    assert response.status_code == 422
    assert "Must not contain NUL" in response.text
    assert "Expected `bool`, got `str`" in response.text


async def test_last_administrator_is_kept(admin: Browser, backend: Backend) -> None:
    await backend.rows.execute("UPDATE users SET role = 'user' WHERE id <> $1", admin.user_id)
    response = await admin.send(f"/users/{admin.user_id}", {"role": "editor"})
    assert response.status_code == 400
    assert "The last administrator can&#39;t be removed or demoted" in response.text


async def test_stale_form_changes_nothing(admin: Browser, editor: Browser, backend: Backend) -> None:
    page = f"/users/{editor.user_id}"
    text = await admin.open(page)
    tag = re.search('name="_tag" value="([^"]+)"', text)
    assert tag
    await backend.rows.execute("UPDATE users SET role = 'admin' WHERE id = $1", editor.user_id)
    response = await admin.send(page, {"_tag": tag[1], "role": "user", "is_active": "false"})
    assert response.status_code == 412
    assert "Someone changed this" in response.text
    assert '<option value="user" selected>' in response.text
    assert await backend.rows.fetchval("SELECT is_active FROM users WHERE id = $1", editor.user_id)


async def test_end_of_all_sessions_signs_the_user_out_and_is_logged(admin: Browser, editor: Browser) -> None:
    page = f"/users/{editor.user_id}"
    response = await admin.send(page, action=f"{page}/end-sessions")
    assert response.headers["location"] == f"/admin{page}?done=sessions-ended"
    text = await admin.open(f"{page}?done=sessions-ended")
    assert "All sessions were ended." in text
    assert "signed in on no device" in text
    assert re.search(r'data-label="Action">sessions ended<', text)
    assert (await editor.client.get("/admin/")).status_code == 303
    assert (await admin.client.get("/admin/users")).status_code == 200


async def test_mail_to_reset_the_password_is_sent_and_logged(admin: Browser, editor: Browser, backend: Backend) -> None:
    page = f"/users/{editor.user_id}"
    response = await admin.send(page, action=f"{page}/send-reset-mail")
    assert response.headers["location"] == f"/admin{page}?done=reset-mail-sent"
    assert re.search(r'data-label="Action">reset mail sent<', await admin.open(page))
    query = "SELECT convert_from(payload, 'UTF8')::json ->> 'template' FROM pgqueuer WHERE payload::text ~ $1"
    address = f"{editor.user_id}@example.org"
    assert await backend.rows.fetchval(query, address.encode().hex()) == "reset-password"


async def test_second_factor_is_removed_and_logged(
    admin: Browser, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await protect(backend.client, Clock(monkeypatch), "lost@example.org")
    assert (await login(backend.client, "lost@example.org")).status_code == 401
    user_id = (await me(backend.client, user.tokens)).json()["id"]
    page = f"/users/{user_id}"
    response = await admin.send(page, action=f"{page}/reset-second-factor")
    assert response.headers["location"] == f"/admin{page}?done=second-factor-reset"
    text = await admin.open(page)
    assert re.search(r'data-label="Action">second factor reset<', text)
    assert "reset-second-factor" not in text
    assert (await login(backend.client, "lost@example.org")).status_code == 200


async def test_account_that_its_owner_deactivated_shows_the_day_of_its_deletion(
    admin: Browser, editor: Browser, backend: Backend
) -> None:
    await backend.rows.execute("UPDATE users SET deletion_at = '2030-01-31 10:00Z' WHERE id = $1", editor.user_id)
    text = await admin.open(f"/users/{editor.user_id}")
    assert "Deactivated by the owner" in text
    assert "2030-01-31 10:00" in text


async def test_ended_session_of_a_user_stops_working(admin: Browser, editor: Browser) -> None:
    page = await admin.open(f"/users/{editor.user_id}")
    ends = re.findall(r'action="/admin([^"]+/end)"', page)
    assert len(ends) == 2
    for end in ends:
        response = await admin.send(f"/users/{editor.user_id}", action=end)
        assert response.headers["location"] == f"/admin/users/{editor.user_id}?done=session-ended"
    assert (await editor.client.get("/admin/")).status_code == 303
