"""The demo's server: no request leaves it, and no file outside its folder does."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mvdiffusion.demo.models import find_models, find_scenes
from mvdiffusion.demo.settings import Limits, recommended
from mvdiffusion.demo.studio import Studio, size_of
from mvdiffusion.records import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")

POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors *; form-action 'self'; base-uri 'self'"
)
"""What a browser may load: what came from here. Gradio's page needs scripts inside it."""

_READ = re.compile(
    r"/|/config/?|/(gradio_api/)?theme\.css|/manifest\.json|/favicon\.ico|/robots\.txt|/pwa_icon.*"
    r"|/(static|assets)/.*|/gradio_api/(info/?|app_id/?|startup-events|upload_progress|queue/data)"
    r"|/gradio_api/heartbeat/[^/]+|/gradio_api/call/[^/]+/[^/]+|/gradio_api/file=(?!.*:).*"
)
_WRITE = re.compile(r"/gradio_api/(queue/join|cancel|upload|reset/?|call/[^/]+|run/[^/]+)/?")
_LARGEST_FORM = 100_000  # bytes of a request without the file that it uploads


class Gate:
    """Lets through what the page uses; Gradio's server answers more, some of it from elsewhere."""

    def __init__(self, app: Any, folder: Path, limits: Limits) -> None:
        """Guard an application.

        Args:
            app: the ASGI application.
            folder: where uploads and results lie.
            limits: how large an upload may be, and how much there may be in the folder before
                uploads are refused.
        """
        self.app, self.folder, self.limits = app, folder, limits

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or have the application do it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        status = self._refusal(scope)
        if status:
            headers = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b"refused"})
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = {"content-security-policy": POLICY, "referrer-policy": "no-referrer"}
                pairs = [(name.encode(), value.encode()) for name, value in more.items()]
                message = {**message, "headers": [*message.get("headers", ()), *pairs]}
            await send(message)

        await self.app(scope, receive, guarded)

    def _refusal(self, scope: Any) -> int | None:
        """Give the status with which a request is refused."""
        method, path = scope["method"], scope["path"]
        if method in ("GET", "HEAD"):
            return None if _READ.fullmatch(path) else 404
        if method == "OPTIONS":
            return None
        if method != "POST" or not _WRITE.fullmatch(path):
            return 404
        is_upload = path.startswith("/gradio_api/upload")
        most = _LARGEST_FORM + self.limits.image_bytes * is_upload  # one file, though a form may
        length = dict(scope["headers"]).get(b"content-length", b"")  # hold many
        if not length.isdigit() or int(length) > most:
            return 413
        return 507 if is_upload and size_of(self.folder) > self.limits.kept_bytes else None


@contextmanager
def workspace() -> Iterator[Path]:
    """Yield a new folder for all files of Gradio, which is deleted at the end; sends no analytics.

    Call it before Gradio is imported, which reads the environment.
    """
    with tempfile.TemporaryDirectory(
        prefix="mvdiffusion-demo-", ignore_cleanup_errors=True
    ) as folder:
        own = Path(folder).resolve()
        chosen = {
            "GRADIO_TEMP_DIR": str(own / "files"),
            "GRADIO_EXAMPLES_CACHE": str(own / "examples"),
            "GRADIO_ANALYTICS_ENABLED": "False",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        before = {name: os.environ.get(name) for name in chosen}
        os.environ.update(chosen)
        try:
            (own / "files" / "results").mkdir(parents=True)
            yield own / "files"
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def make_app(studio: Studio, folder: Path) -> Any:
    """Make the web application of the page, which `uvicorn` or a test client can run.

    Args:
        studio: what generates, inside `folder`.
        folder: from `workspace`.
    """
    import gradio  # an extra
    from fastapi import FastAPI
    from starlette.routing import Mount

    from mvdiffusion.demo.page import CSS, build_page, theme

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Gate, folder=folder, limits=studio.limits)
    gradio.mount_gradio_app(
        app,
        build_page(studio),
        path="/",
        css=CSS,
        theme=theme(),
        allowed_paths=[],
        max_file_size=studio.limits.image_bytes,
        show_error=False,
        footer_links=["gradio"],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
    )
    mounted: Any
    (mounted,) = (route.app for route in app.routes if isinstance(route, Mount))
    app.state.stop = mounted.stop_event.set  # ends the streams on which pages hear that it is there
    return app


def run_demo(
    models: Sequence[Path] = (),
    scenes: Sequence[Path] = (),
    host: str = "127.0.0.1",
    port: int = 7860,
    limits: Limits | None = None,
    **chosen: Any,
) -> None:
    """Find the models, and serve the page until the process is interrupted.

    Args:
        models: model folders, one for each task; none: see `find_models`.
        scenes: see `find_scenes`.
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        limits: bounds of the requests.
        chosen: how to sample, if not as recommended (see `recommended`).

    Raises:
        InputError: no model, no Gradio, wrong settings, or nothing can listen there.
    """
    if find_spec("gradio") is None:
        raise InputError("the demo needs Gradio; install it by: pip install 'mvdiffusion[demo]'.")
    found, named = find_models(models), find_scenes(scenes)
    samplings = {task: recommended(model, **chosen) for task, model in found.items()}
    with workspace() as folder:
        studio = Studio(found, folder / "results", samplings, named, limits)
        try:
            serve(studio, folder, host, port)
        finally:
            studio.cancel_all()


def serve(studio: Studio, folder: Path, host: str, port: int) -> None:
    """Serve the page until the process is interrupted.

    Args:
        studio: what generates, inside `folder`.
        folder: from `workspace`.
        host: address to listen on.
        port: TCP port; 0 takes a free one.

    Raises:
        InputError: nothing can listen there.
    """
    app = make_app(studio, folder)
    import uvicorn  # comes with Gradio

    with _listening(host, port) as listener:
        address, port = listener.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        print(f"The demo is at http://{shown}:{port} (Ctrl-C ends it).", file=sys.stderr)
        if host not in LOOPBACK:
            print("note: anyone who can reach this address can use it.", file=sys.stderr)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)

        class Server(uvicorn.Server):
            def handle_exit(self, *received: Any) -> None:
                studio.cancel_all()
                app.state.stop()
                super().handle_exit(*received)

        server = Server(config)

        def leave(*received: Any) -> None:
            server.handle_exit(signal.SIGTERM, None)

        # The server ends on a signal, and then sends it again.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # a terminal closes; not under nohup
            signal.signal(signal.SIGHUP, leave)
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        (family, _, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        listener = socket.create_server(address[:2], family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise InputError(
            f"--host {host} --port {port}: {reason}; choose another one, such as --port 0 "
            "for any that is free."
        ) from None
    with listener:
        yield listener
