"""The audit: changes of the catalogue, and actions of administrators."""

from uuid import uuid4

from tests.admin.browser import Browser
from tests.factories import Backend


async def add_anime(backend: Backend, role: str, title: str) -> tuple[str, str]:
    """Create an anime over the API; return its id and the name of its editor."""
    editor = await backend.viewer(role)
    anime = await editor.write("POST", "/anime", {"title": title}, 201)
    return anime["id"], editor.id.hex


async def test_audit_shows_changes_and_filters_them(editor: Browser, backend: Backend) -> None:
    first, name = await add_anime(backend, "editor", "<b>Bold</b>")
    second, other = await add_anime(backend, "admin", "Another anime")
    page = await editor.open("/audit")
    assert "&lt;b&gt;Bold&lt;/b&gt;" in page
    assert "<b>Bold" not in page
    assert page.index(second) < page.index(first)
    queries: list[tuple[dict[str, str], str, str]] = [
        ({"user": name.upper()}, first, second),
        ({"anime_id": second}, second, first),
        ({"user": other, "source": "edit", "anime_id": second}, second, first),
    ]
    for query, shown, hidden in queries:
        page = await editor.open("/audit", params=query)
        assert shown in page
        assert f"/admin/anime/{hidden}" not in page
    for query in ({"source": "import"}, {"user": "unknown"}, {"anime_id": str(uuid4())}):
        assert "No changes." in await editor.open("/audit", params=query)


async def test_audit_refuses_invalid_filters_and_keeps_them(editor: Browser) -> None:
    page = await editor.open("/audit", 422, params={"anime_id": "naruto", "source": "god"})
    assert "Invalid UUID" in page
    assert "Invalid enum value" in page
    assert 'value="naruto"' in page


async def test_link_to_the_next_page_keeps_the_filters(editor: Browser, backend: Backend) -> None:
    await backend.rows.execute(
        "INSERT INTO catalogue_changes (source, entity, entity_id, action, fields) "
        "SELECT 'database', 'anime', 'row' || n, 'update', '{}' FROM generate_series(1, 60) n"
    )
    page = await editor.open("/audit", params={"source": "database"})
    assert all(f'<option value="{source}"' in page for source in ("edit", "merge", "undo", "split", "import"))
    end = page.index('rel="next"')
    assert "source=database" in page[end - 300 : end]


async def test_actions_of_administrators_are_logged(admin: Browser, editor: Browser, backend: Backend) -> None:
    api = await backend.viewer("admin")
    await admin.send(f"/users/{editor.user_id}", {"role": "user"})
    await api.write("PATCH", f"/users/{editor.user_id}", {"is_active": False, "email": f"new-{uuid4()}@example.org"})
    new = {"email": f"{uuid4()}@example.org", "password": "a long enough password"}
    created = await api.write("POST", "/users", new, 201)
    await api.write("DELETE", f"/users/{created['id']}", status=204)
    rows = await backend.rows.fetch("SELECT action, user_id FROM admin_actions ORDER BY id DESC LIMIT 4")
    assert [row["action"] for row in rows] == ["user deleted", "user created", "user changed", "user changed"]
    assert [row["user_id"] for row in rows] == [api.id, api.id, api.id, admin.user_id]
    page = await admin.open("/audit/actions")
    assert "user deleted" in page
    assert "<del>editor</del>" in page
    assert "<ins>user</ins>" in page
    assert "new-" not in page
    assert "<ins>false</ins>" in await admin.open(f"/users/{editor.user_id}")


async def test_unchanged_values_are_not_logged(admin: Browser, editor: Browser, backend: Backend) -> None:
    await admin.send(f"/users/{editor.user_id}")
    query = "SELECT count(*) FROM admin_actions WHERE subject_user_id = $1"
    assert await backend.rows.fetchval(query, editor.user_id) == 0


async def test_ended_session_is_logged(admin: Browser, editor: Browser, backend: Backend) -> None:
    query = "SELECT id FROM auth_sessions WHERE user_id = $1 LIMIT 1"
    session = await backend.rows.fetchval(query, editor.user_id)
    await admin.send(f"/users/{editor.user_id}", action=f"/users/{editor.user_id}/sessions/{session}/end")
    assert "session ended" in await admin.open(f"/users/{editor.user_id}")


async def test_actions_are_for_administrators(editor: Browser) -> None:
    assert "No access" in await editor.open("/audit/actions", 403)
    assert "/audit/actions" not in await editor.open("/audit")
