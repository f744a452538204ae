"""The application of the admin site, which `app.py` mounts at /admin."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Controller, Litestar
from litestar.config.csrf import CSRFConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.plugins import InitPluginProtocol
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.template import TemplateConfig

from kitsu.admin.assets import asset_url, load_assets
from kitsu.admin.authentication import AdminAuthentication
from kitsu.admin.exception_handlers import EXCEPTION_HANDLERS
from kitsu.admin.navigation import CSRF_COOKIE, MENU, NOTICES, PATH
from kitsu.domain.accounts.admin_sessions import AdminSessions
from kitsu.web.methods import AllowMiddleware
from kitsu.web.request import MAX_BODY_BYTES, StrictRequest
from kitsu.web.services import provide_db_session


def create_admin(
    pages: Sequence[type[Controller]], parts: Any, database: InitPluginProtocol, *, csrf_secret: str, title: str
) -> Litestar:
    """Build the application of the admin site. Raises RuntimeError when the package with htmx is incomplete."""
    load_assets()
    app = Litestar(
        pages,
        state=State({"parts": parts}),
        plugins=[database],
        dependencies={"db_session": Provide(provide_db_session)},
        csrf_config=CSRFConfig(
            csrf_secret, cookie_name=CSRF_COOKIE, cookie_path=PATH, cookie_httponly=True, cookie_samesite="strict"
        ),
        template_config=TemplateConfig(instance=JinjaTemplateEngine.from_environment(_environment(title))),
        middleware=[AllowMiddleware()],
        request_class=StrictRequest,
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    app.asgi_handler = AdminAuthentication(app.asgi_handler, parts[AdminSessions])
    return app


def _environment(title: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"admin": PATH, "asset": asset_url, "menu": MENU, "notices": NOTICES, "site_title": title}
    return environment
