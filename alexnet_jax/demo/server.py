"""Serves the page, and nothing else, on one port of this machine."""

import contextlib
import errno
import importlib
import importlib.util
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from alexnet_jax.errors import InputError, RunError
from alexnet_jax.terminal import signals

LOOPBACK = "127.0.0.1"
FIRST_PORT, _PORTS = 7860, 100  # of which the first free one is taken
MAX_BYTES = 32 << 20  # of a picture, and of any request
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_GOODBYE_S = 1
# What the page asks for. Gradio answers more: an API, histories, files of other hosts.
_GET = re.compile(
    r"/|/(assets|static)/.+|/(theme\.css|config|favicon\.ico)"
    r"|/gradio_api/(file=.+|queue/data|heartbeat/.+|upload_progress|startup-events)"
)
_POST = re.compile(r"/gradio_api/(upload|queue/join|cancel|reset/?)")
_HEADERS = {
    # A browser asks no other machine for anything, whatever Gradio's page says.
    "content-security-policy": "default-src 'self' data: blob:; script-src 'self' "
    "'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'self'; form-action 'self'; base-uri 'self'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def check_installed() -> None:
    """Checks that Gradio is there, without the seconds of importing it.

    Raises:
      InputError: It is not installed.
    """
    if importlib.util.find_spec("gradio") is None:
        raise InputError(
            "gradio is not installed, which the page is made with; run: "
            "pip install 'alexnet_jax[demo]'"
        )
    with contextlib.suppress(PackageNotFoundError):  # a copy without metadata
        if not (found := version("gradio")).startswith("6."):
            raise InputError(
                f"gradio must be of version 6, which the page is made with; got {found}"
                ": run: pip install 'alexnet_jax[demo]'"
            )


def listen(host: str, port: int | None) -> socket.socket:
    """Opens the port, so that nobody takes it meanwhile.

    Args:
      host: Name or number of the address.
      port: The port; if not given, the first free one from `FIRST_PORT` on.

    Raises:
      InputError: The host is unknown, or the port is taken.
    """
    unknown = InputError(
        f"--host: {host!r} is no address of this machine; give one, such as "
        f"{LOOPBACK}, or 0.0.0.0 for all"
    )
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise unknown from error
    family, *_, address = found[0]
    for one in [port] if port else range(FIRST_PORT, FIRST_PORT + _PORTS):
        try:
            return socket.create_server((address[0], one), family=family)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise unknown from error
            if port:
                reason = error.strerror or str(error)
                if error.errno == errno.EADDRINUSE:
                    reason = "it is in use"
                raise InputError(
                    f"--port: {port} cannot be opened ({reason}); give another, or "
                    "leave it out for the first free one"
                ) from error
    raise InputError(
        f"--port: {FIRST_PORT} to {FIRST_PORT + _PORTS - 1} are in use; give another"
    )


def address_of(listening: socket.socket) -> str:
    """Returns the page's address, as a browser takes it."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_local(listening: socket.socket) -> bool:
    """Whether this machine alone can reach the page."""
    host = listening.getsockname()[0]
    return host == "::1" or host.startswith("127.")


def allowed_names(listening: socket.socket) -> tuple[str, ...] | None:
    """Returns the names of this machine that a request may have; None: any."""
    if not is_local(listening):
        return None
    return *_LOCAL_NAMES, listening.getsockname()[0]  # such as 127.0.1.1, a host's own


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """Makes the folder of visitors' files, which is gone at the end.

    And keeps Gradio from what its environment variables would have it do besides, such
    as to send out what it is used for; before it is imported.
    """
    with tempfile.TemporaryDirectory(prefix="alexnet-demo-") as folder:
        kept = {key: os.environ[key] for key in os.environ if key.startswith("GRADIO_")}
        for key in kept:
            del os.environ[key]
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        signals.folders.add(folder)  # an interrupted import cleans up nothing
        try:
            yield Path(folder)
        finally:
            signals.folders.discard(folder)
            for key in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
                os.environ.pop(key, None)
            os.environ.update(kept)


def only_uploaded(folder: Path) -> Callable[[str | None], Awaitable[str | None]]:
    """Returns what takes a visitor's file: one that was sent here, and no other.

    Args:
      folder: From `own_folder`.
    """

    async def take(path: str | None) -> str | None:
        if path and not Path(path).resolve().is_relative_to(folder.resolve()):
            raise ValueError("a visitor named a file that was not uploaded")
        return path

    return take


@contextlib.contextmanager
def served(
    page: Any, css: str, listening: socket.socket, folder: Path
) -> Iterator[threading.Thread]:
    """Serves a page while the context lasts.

    Args:
      page: A `gradio.Blocks`.
      css: Its own style sheet.
      listening: From `listen`; closed at the end.
      folder: From `own_folder`.

    Yields:
      The thread that serves, which is alive until then.

    Raises:
      RunError: It does not begin to serve.
    """
    gr: Any = importlib.import_module("gradio")
    uvicorn: Any = importlib.import_module("uvicorn")
    fastapi: Any = importlib.import_module("fastapi")
    # Else it would fetch and serve any file of the machine that a visitor names, and
    # any address of the web.
    for block in page.blocks.values():
        block.async_move_resource_to_block_cache = only_uploaded(folder)
    fonts = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]  # none is loaded
    app = gr.mount_gradio_app(
        fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path="/",
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        show_error=False,
        max_file_size=MAX_BYTES,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=gr.themes.Default(font=fonts[0], font_mono=fonts[1]),
        css=css,
    )
    server = uvicorn.Server(
        uvicorn.Config(
            Guard(app, allowed_names(listening)),
            log_config=None,
            log_level="error",
            access_log=False,
            timeout_graceful_shutdown=_GOODBYE_S,
        )
    )
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listening]}, daemon=True
    )
    thread.start()
    try:
        while thread.is_alive() and not server.started:
            time.sleep(0.01)
        if not server.started:
            raise RunError("demo: the server did not start; choose another --port")
        yield thread
    finally:
        server.should_exit = True
        thread.join(2 * _GOODBYE_S)
        listening.close()


class Guard:
    """An ASGI application before Gradio's, which lets through what the page asks for.

    A request that is longer than `MAX_BYTES`, for anything else, or of a page that
    another name led here (DNS rebinding), is refused.
    """

    def __init__(self, app: Any, hosts: tuple[str, ...] | None) -> None:
        """Takes the application.

        Args:
          app: What answers.
          hosts: The names of this machine that a request may have; any, if None.
        """
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers a request."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":  # the page uses no web socket
            return None
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        status = self._status(scope, headers)
        if status != 200:
            await send({"type": "http.response.start", "status": status, "headers": []})
            return await send({"type": "http.response.body", "body": b""})

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = [(key.encode(), one.encode()) for key, one in _HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *more]
            await send(message)

        return await self._app(scope, receive, sent)

    def _status(self, scope: Any, headers: dict[str, bytes]) -> int:
        """Returns 200 for what is let through, else the status of the refusal."""
        host = headers.get("host", b"").decode("latin-1")
        name = re.sub(r":\d+$", "", host).strip("[]").lower()
        if self._hosts is not None and name not in self._hosts:
            return 421
        path, method = scope["path"], scope["method"]
        if method in ("GET", "HEAD"):
            return 200 if _GET.fullmatch(path) else 404
        if method != "POST" or not _POST.fullmatch(path):
            return 404
        length = headers.get("content-length", b"")
        if not length.isdigit():
            return 411
        # A form has some lines around its file.
        return 200 if int(length) <= MAX_BYTES + 10_000 else 413
