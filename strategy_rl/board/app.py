"""The plugin: HTTP around `routes` and the front end's files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tensorboard.backend import http_util
from tensorboard.plugins.base_plugin import FrontendMetadata, TBPlugin
from werkzeug.wrappers import Request, Response

from strategy_rl.board.catalog import Catalog
from strategy_rl.board.faults import RequestError
from strategy_rl.board.frontend import TYPES, json_bytes, static_files
from strategy_rl.board.routes import ROUTES
from strategy_rl.board.runs import roots_of

App = Callable[[Request], Response]


class PolicyPlugin(TBPlugin):  # type: ignore[misc] # TensorBoard has no types
    """Episodes as a tab; reads run folders only, never TensorBoard's events."""

    plugin_name = "strategy_rl"

    def __init__(self, context: Any) -> None:
        spec = getattr(context.flags, "logdir_spec", None)
        self.catalog = Catalog(roots_of(context.logdir, spec))

    def get_plugin_apps(self) -> dict[str, Any]:
        """One WSGI application a route, and one a file: no name in a request becomes a path."""
        apps: dict[str, App] = {route: partial(self._answer, route) for route in ROUTES}
        for name, path in static_files().items():
            apps[f"/static/{name}"] = partial(_send, path)
        return {route: Request.application(app) for route, app in apps.items()}

    def is_active(self) -> bool:
        """Whether there are episodes; asked at every listing, so only what is indexed counts."""
        return self.catalog.has_episodes()

    def frontend_metadata(self) -> Any:
        """The tab."""
        return FrontendMetadata(es_module_path="/static/index.js", tab_name="Policy")

    def _answer(self, route: str, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return _respond(request, {"error": f"got {request.method}, expected GET"}, 405)
        try:
            return _respond(request, ROUTES[route](self.catalog, request.args.to_dict()), 200)
        except RequestError as error:
            return _respond(request, {"error": str(error)}, error.status)


def _respond(request: Request, value: Any, code: int) -> Response:
    # As bytes, since Respond makes texts of numbers that are not finite.
    response: Response = http_util.Respond(request, json_bytes(value), TYPES[".json"], code)
    return response


def _send(path: Path, request: Request) -> Response:
    response: Response = http_util.Respond(request, path.read_bytes(), TYPES[path.suffix])
    return response
