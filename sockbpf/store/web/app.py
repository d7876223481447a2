# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The table of routes: what a client can ask of the store, and which function answers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sockbpf.store.web.advice import advice
from sockbpf.store.web.alerts import AlertRoute, StreamRoute, episodes, post_alerts
from sockbpf.store.web.description import document
from sockbpf.store.web.health import Health
from sockbpf.store.web.history import history
from sockbpf.store.web.now import hosts, now
from sockbpf.store.web.page_files import page_routes
from sockbpf.store.web.problem import HANDLERS
from sockbpf.store.web.store_json import METHODS, store_json
from sockbpf.store.web.timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from prometheus_client.registry import Collector
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from sockbpf.store.web.running_store import RunningStore

OPEN_PATHS = ("/healthz",)
"""The paths, besides those of the page, that need no token."""


def make_app(
    store: RunningStore, metrics: Collector, running: Callable[[], AbstractAsyncContextManager[None]]
) -> ASGIApp:
    """Return the application of a store, which is `running` as long as it is asked; the guard goes in front of it."""
    app = Starlette(
        lifespan=lambda _: running(),
        routes=[
            Route("/alert", AlertRoute(store)),
            Route("/alerts", partial(post_alerts, store), methods=["POST"]),
            Route("/store.json", partial(store_json, store), methods=METHODS),
            Route("/episodes", partial(episodes, store)),
            Route("/timeline", partial(timeline, store)),
            Route("/history", partial(history, store), methods=["GET", "POST"]),
            Route("/advice", partial(advice, store)),
            Route("/stream", StreamRoute(store)),
            Route("/now", partial(now, store)),
            Route("/hosts", partial(hosts, store)),
            Route("/healthz", partial(_healthz, Health(store))),
            Route("/metrics", partial(_metrics, metrics)),
            Route("/openapi.json", _openapi),
            *page_routes(),
        ],
        exception_handlers=HANDLERS,
    )
    app.router.redirect_slashes = (
        False  # such a redirect would lead to the host that the client's Host header names
    )
    return app


async def _healthz(health: Health, _: Request) -> Response:
    await health.check()
    return JSONResponse({"status": "ok"})


async def _metrics(metrics: Collector, _: Request) -> Response:
    registry = CollectorRegistry()
    registry.register(metrics)
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _openapi(_: Request) -> Response:
    return JSONResponse(document())
