"""A browser without JavaScript: it stores cookies, and sends the forms that a page shows."""

from html.parser import HTMLParser
from typing import Any
from uuid import UUID

import httpx

PASSWORD = "a long enough password"


class Page(HTMLParser):
    """The forms of a page, the first one of each action, with the values that they show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: dict[str, dict[str, list[str]]] = {}
        self._fields: dict[str, list[str]] = {}
        self._select: str | None = None
        self._area: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        name, value = attributes.get("name"), attributes.get("value") or ""
        if tag == "form":
            self._fields = {}
            self.forms.setdefault(str(attributes.get("action")), self._fields)
        elif tag == "input" and name:
            if attributes.get("type") not in {"checkbox", "radio", "file"} or "checked" in attributes:
                self._fields.setdefault(name, []).append(value)
        elif tag == "select" and name:
            self._select = name
        elif tag == "option" and self._select and ("selected" in attributes or self._select not in self._fields):
            self._fields[self._select] = [value]
        elif tag == "textarea" and name:
            self._area = name
            self._fields[name] = [""]

    def handle_data(self, data: str) -> None:
        if self._area:
            self._fields[self._area][0] += data if self._fields[self._area][0] else data.removeprefix("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = None
        elif tag == "textarea":
            self._area = None


class Browser:
    """A browser with cookies of its own, in front of the application."""

    def __init__(self, client: httpx.AsyncClient, user_id: UUID | None = None) -> None:
        self.user_id = user_id
        self.client = httpx.AsyncClient(transport=client._transport, base_url=client.base_url)  # noqa: SLF001 - httpx has no other way

    @property
    def email(self) -> str:
        return f"{self.user_id}@example.org"

    async def close(self) -> None:
        """Forget the cookies. The transport belongs to the application's client."""
        self.client.cookies.clear()

    async def open(self, path: str, status: int = 200, **more: Any) -> str:
        """Open a page of the site, check its status, and return it."""
        response = await self.client.get(f"/admin{path}", **more)
        assert response.status_code == status, response.text
        return response.text

    async def send(
        self, page: str, fields: dict[str, Any] | None = None, action: str | None = None, **more: Any
    ) -> httpx.Response:
        """Open a page, fill in its form, and send it."""
        action = f"/admin{page if action is None else action}"
        form = Page(await self.open(page)).forms[action]
        return await self.client.post(action, data=form | (fields or {}), **more)

    async def sign_in(
        self, email: str | None = None, password: str = PASSWORD, page: str = "/sign-in"
    ) -> httpx.Response:
        fields = {"email": email or self.email, "password": password}
        return await self.send(page, fields, action="/sign-in")
