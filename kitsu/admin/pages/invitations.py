"""Invitations: the list, with a form for a new one."""

from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect, Template

from kitsu.admin.authentication import AdminRequest
from kitsu.admin.forms import Form
from kitsu.admin.lists import page_request, paging
from kitsu.admin.navigation import see
from kitsu.domain.accounts.invitations import InvitationReader, InvitationRules, InvitationService
from kitsu.errors import AppError
from kitsu.web.guards import requires
from kitsu.web.services import service

Invitations = NamedDependency[InvitationService]


class NewInvitation(msgspec.Struct, forbid_unknown_fields=True):
    """What the form of a new invitation sends."""

    email: str | None = None


class InvitationsController(Controller):
    path = "/invitations"
    guards = [requires("admin:*")]
    dependencies = {"invitations": service(InvitationService)}
    reader: InvitationReader
    rules: InvitationRules

    @get("/")
    async def list_invitations(self, request: AdminRequest) -> Template:
        """List invitations, newest first, with the links of those that are open."""
        return await self._page(request, Form())

    @post("/")
    async def invite(self, request: AdminRequest, invitations: Invitations) -> Template | Redirect:
        """Issue an invitation."""
        form = await Form.read(request)
        try:
            await invitations.invite(form.convert(NewInvitation).email, by=request.user.user_id)
        except AppError as error:
            return await self._page(request, form.refused(error), error.status)
        return see("/invitations", done="user-invited")

    @post("/{invitation_id:uuid}/revoke")
    async def revoke(self, request: AdminRequest, invitation_id: FromPath[UUID], invitations: Invitations) -> Redirect:
        """Revoke an invitation."""
        await invitations.revoke(invitation_id, by=request.user.user_id)
        return see("/invitations", done="invitation-revoked")

    async def _page(self, request: AdminRequest, form: Form, status: int = 200) -> Template:
        page = await self.reader.page(page_request(request))
        context = {
            "form": form,
            "invitations": page.items,
            "link": self.rules.link,
            "sends_mail": self.rules.sends_mail,
            "paging": paging(request, page.cursor),
        }
        return Template("invitations.html", context=context, status_code=status)
