"""The audit: all changes of the catalogue, and the actions of administrators."""

from litestar import Controller, get
from litestar.response import Template

from kitsu.admin.authentication import AdminRequest
from kitsu.admin.forms import Form, literal_values
from kitsu.admin.lists import page_request, paging
from kitsu.domain.admin_log import AdminLogReader
from kitsu.domain.catalogue.audit import AuditedChange, AuditFilter, AuditReader
from kitsu.domain.catalogue.history import Source
from kitsu.domain.pagination import Page
from kitsu.errors import InvalidRequest
from kitsu.web.guards import requires

SOURCES = (("", "All"), *literal_values(Source))


class AuditController(Controller):
    path = "/audit"
    reader: AuditReader
    log_reader: AdminLogReader

    @get("/")
    async def list_changes(self, request: AdminRequest) -> Template:
        """List changes of the catalogue, newest first, with filters."""
        names = ("user", "source", "anime_id")
        form = Form({name: [request.query_params.get(name, "").strip()] for name in names})
        page: Page[AuditedChange] = Page([], None)
        try:
            wanted = form.convert(AuditFilter)
            page = await self.reader.page(wanted, page_request(request))
        except InvalidRequest as error:
            form.refused(error)
        context = {"changes": page.items, "paging": paging(request, page.cursor), "form": form, "sources": SOURCES}
        return Template("audit/changes.html", context=context, status_code=422 if form.errors else 200)

    @get("/actions", guards=[requires("admin:*")])
    async def list_actions(self, request: AdminRequest) -> Template:
        """List the actions of administrators, newest first."""
        page = await self.log_reader.page(page_request(request))
        return Template("audit/actions.html", context={"actions": page.items, "paging": paging(request, page.cursor)})
