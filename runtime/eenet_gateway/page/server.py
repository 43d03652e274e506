"""The HTTP port of the status page: loopback only, reads only."""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Final

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from eenet_gateway.page.html import status_page
from eenet_gateway.page.metrics import metrics_text
from eenet_gateway.store.report import Report
from eenet_runtime.errors import GatewayError

HOST: Final = "127.0.0.1"
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}


def application(
    report: Callable[[], Report],
    problems: Callable[[], Sequence[str]],
    preview: Callable[[str], bytes | None],
) -> Starlette:
    """The pages. Every request looks anew, in a thread of its own.

    Args:
        report: looks at the store.
        problems: what is wrong with the gateway itself.
        preview: the picture of a study, PNG, by its key.
    """

    def page(request: Request) -> Response:
        return HTMLResponse(status_page(report(), problems()), headers=_HEADERS)

    def health(request: Request) -> Response:
        found = problems()
        return PlainTextResponse("\n".join(found) or "well", 503 if found else 200, headers=_HEADERS)

    def metrics(request: Request) -> Response:
        return Response(metrics_text(report(), not problems()), media_type=CONTENT_TYPE_LATEST, headers=_HEADERS)

    def status(request: Request) -> Response:
        return JSONResponse(dataclasses.asdict(report()), headers=_HEADERS)

    def picture(request: Request) -> Response:
        found = preview(request.path_params["key"])
        if found is None:
            return PlainTextResponse("no picture", 404, headers=_HEADERS)
        return Response(found, media_type="image/png", headers=_HEADERS)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/healthz", health),
            Route("/metrics", metrics),
            Route("/status.json", status),
            Route("/preview/{key}", picture),
        ],
        # A page elsewhere must not read this one by a name that it lets point here.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
    )


class PageServer:
    """Serves the pages from `start` to `stop`, in a thread of its own."""

    def __init__(self, app: Starlette, port: int) -> None:
        """Take the port.

        Raises:
            GatewayError: it cannot be had.
        """
        try:
            self._socket = socket.create_server((HOST, port))
        except OSError as error:
            raise GatewayError(f"page: {HOST}:{port} cannot be listened on ({error.strerror or error})") from error
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            limit_concurrency=50,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=2,
            server_header=False,
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="page", daemon=True
        )

    def start(self) -> None:
        """Serve."""
        self._thread.start()

    def stop(self) -> None:
        """End, within seconds."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(5)
        self._socket.close()
