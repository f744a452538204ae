"""Users: the list with search, and a page for each user with role and sessions."""

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.response import Redirect, Template

from kitsu.admin.authentication import AdminRequest
from kitsu.admin.forms import Form
from kitsu.admin.lists import page_request, paging
from kitsu.admin.navigation import see
from kitsu.domain.accounts.identities import SessionReader
from kitsu.domain.accounts.permissions import PERMISSIONS, Role
from kitsu.domain.accounts.recovery import RecoveryService
from kitsu.domain.accounts.second_factors import SecondFactorService
from kitsu.domain.accounts.sessions import SessionService
from kitsu.domain.accounts.user_sessions import UserSessions
from kitsu.domain.accounts.users import MAX_FOUND, User, UserChange, UserReader, UserService
from kitsu.domain.admin_log import AdminLogReader
from kitsu.domain.pagination import PageRequest
from kitsu.errors import AppError
from kitsu.web.guards import requires
from kitsu.web.services import service

Users = NamedDependency[UserService]


class Account(msgspec.Struct, forbid_unknown_fields=True):
    """What the form of a user changes."""

    role: Role
    is_active: bool


class UsersController(Controller):
    path = "/users"
    guards = [requires("admin:*")]
    dependencies = {
        "users": service(UserService),
        "sessions": service(SessionService),
        "user_sessions": service(UserSessions),
        "recovery": service(RecoveryService),
        "second_factors": service(SecondFactorService),
    }
    reader: UserReader
    session_reader: SessionReader
    log_reader: AdminLogReader

    @get("/")
    async def list_users(
        self, request: AdminRequest, q: Annotated[str, QueryParameter(max_length=255)] = ""
    ) -> Template:
        """List users, newest first, or those whose e-mail or name begins with a text."""
        if q.strip():
            found, cursor = await self.reader.search(q), None
        else:
            page = await self.reader.page(page_request(request))
            found, cursor = page.items, page.cursor
        context = {"users": found, "q": q, "paging": paging(request, cursor), "is_cut": q and len(found) == MAX_FOUND}
        return Template("users/list.html", context=context)

    @get("/{user_id:uuid}")
    async def show_user(self, request: AdminRequest, user_id: FromPath[UUID]) -> Template:
        """Show a user."""
        user = await self.reader.detail(user_id)
        return await self._page(request, user, Form.of(Account(user.role, user.is_active)))

    @post("/{user_id:uuid}")
    async def change_user(self, request: AdminRequest, user_id: FromPath[UUID], users: Users) -> Template | Redirect:
        """Change the role of a user, and whether the user may sign in."""
        user = await self.reader.detail(user_id)
        form = await Form.read(request)
        try:
            account = form.convert(Account)
            form.expected.check_content(Account(user.role, user.is_active))
            await users.change(
                user_id, UserChange(is_active=account.is_active, role=account.role), by=request.user.user_id
            )
        except AppError as error:
            return await self._page(request, user, form.refused(error), error.status)
        return see(f"/users/{user_id}", done="user-changed")

    @post("/{user_id:uuid}/sessions/{session_id:uuid}/end")
    async def end_session(
        self,
        request: AdminRequest,
        user_id: FromPath[UUID],
        session_id: FromPath[UUID],
        sessions: NamedDependency[SessionService],
    ) -> Redirect:
        """End a session of a user."""
        await sessions.end(user_id, session_id, by=request.user.user_id)
        return see(f"/users/{user_id}", done="session-ended")

    @post("/{user_id:uuid}/end-sessions")
    async def end_sessions(
        self, request: AdminRequest, user_id: FromPath[UUID], user_sessions: NamedDependency[UserSessions]
    ) -> Redirect:
        """End all sessions of a user."""
        await user_sessions.end_all(user_id, by=request.user.user_id)
        return see(f"/users/{user_id}", done="sessions-ended")

    @post("/{user_id:uuid}/send-reset-mail")
    async def send_reset_mail(
        self, request: AdminRequest, user_id: FromPath[UUID], recovery: NamedDependency[RecoveryService]
    ) -> Redirect:
        """Send a user the link to reset the password."""
        await recovery.send_reset(user_id, by=request.user.user_id)
        return see(f"/users/{user_id}", done="reset-mail-sent")

    @post("/{user_id:uuid}/reset-second-factor")
    async def reset_second_factor(
        self, request: AdminRequest, user_id: FromPath[UUID], second_factors: NamedDependency[SecondFactorService]
    ) -> Redirect:
        """Remove the second factors of a user, who has lost them."""
        await second_factors.reset(user_id, by=request.user.user_id)
        return see(f"/users/{user_id}", done="second-factor-reset")

    async def _page(self, request: AdminRequest, user: User, form: Form, status: int = 200) -> Template:
        sessions = await self.session_reader.active_sessions(user.id, request.user.session_id)
        actions = await self.log_reader.page(PageRequest(20), subject=user.id)
        context = {
            "user": user,
            "sessions": sessions,
            "actions": actions.items,
            "form": form,
            "roles": list(PERMISSIONS),
        }
        return Template("users/detail.html", context=context, status_code=status)
