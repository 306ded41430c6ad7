"""Who reaches the page, and what of it: the port, the guard, the command."""

import asyncio
import importlib.util
import os
import socket
from pathlib import Path

import pytest

from alexnet_jax.demo import server
from alexnet_jax.demo.__main__ import main, make_parser
from alexnet_jax.errors import InputError


def test_this_machine_alone_unless_asked():
    assert make_parser().parse_args(["run"]).host == "127.0.0.1"
    with server.listen("127.0.0.1", None) as listening:
        host, port = listening.getsockname()
        assert host == "127.0.0.1" and 7860 <= port < 7960
        assert server.is_local(listening)
        assert server.address_of(listening) == f"http://127.0.0.1:{port}"
    with server.listen("0.0.0.0", None) as listening:
        assert not server.is_local(listening)
        assert server.address_of(listening).startswith(
            f"http://{socket.gethostname()}:"
        )


def test_the_next_port_is_taken_if_the_first_is_in_use(monkeypatch):
    with server.listen("127.0.0.1", None) as first:
        monkeypatch.setattr(server, "FIRST_PORT", first.getsockname()[1])
        with server.listen("127.0.0.1", None) as second:
            assert second.getsockname()[1] > first.getsockname()[1]
        monkeypatch.setattr(server, "_PORTS", 1)
        with pytest.raises(InputError, match=r"^--port: .* in use; give another$"):
            server.listen("127.0.0.1", None)


@pytest.fixture
def gradio(monkeypatch):
    """As if Gradio were installed."""
    found = importlib.util.find_spec

    def find(name, *rest):
        return found("json") if name == "gradio" else found(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find)


def test_errors_of_the_command_are_one_line(gradio, error_line, tmp_path):
    with server.listen("127.0.0.1", None) as taken:
        port = taken.getsockname()[1]
        line = error_line(main, "run", f"--port={port}")
        assert line == (
            f"error: --port: {port} cannot be opened (it is in use); give another, or "
            "leave it out for the first free one"
        )
    line = error_line(main, "run", "--host=no.such.host.invalid")
    assert line.startswith(
        "error: --host: 'no.such.host.invalid' is no address of this"
    )
    assert "is no address" in error_line(main, "run", "--host=192.0.2.1")
    assert "must be from 1 to 65535" in error_line(main, "run", "--port=70000")
    assert "must be at least 1" in error_line(main, "run", "--port=0")
    line = error_line(main, "run", "--share")
    assert line == "error: unrecognized arguments: --share"
    assert str(tmp_path / "none") in error_line(main, tmp_path / "none")


def test_without_gradio_a_line_names_the_extra(monkeypatch, error_line):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    line = error_line(main, "run")
    assert line.startswith("error: gradio is not installed")
    assert line.endswith("pip install 'alexnet_jax[demo]'")


def test_another_gradio_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(server, "version", lambda name: "5.49.1")
    with pytest.raises(InputError, match="must be of version 6, .* got 5.49.1: run"):
        server.check_installed()
    monkeypatch.setattr(server, "version", lambda name: "6.31.0")
    server.check_installed()


def test_visitors_files_lie_in_a_folder_that_goes(monkeypatch):
    monkeypatch.setenv("GRADIO_ALLOWED_PATHS", "/")
    monkeypatch.setenv("GRADIO_SHARE", "True")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    before = dict(os.environ)
    with server.own_folder() as folder:
        set_now = {k: v for k, v in os.environ.items() if k.startswith("GRADIO_")}
        assert set_now == {
            "GRADIO_TEMP_DIR": str(folder),
            "GRADIO_ANALYTICS_ENABLED": "False",
        }
        Path(folder, "a file").touch()
    assert not folder.exists() and dict(os.environ) == before


LOCAL = ("localhost", "127.0.0.1")


def ask(method, path, hosts=LOCAL, **headers):
    """The status and headers of what the guard sends; 200 of what it lets through."""
    headers = {"host": "127.0.0.1:7860"} | headers
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [
            (k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()
        ],
    }
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b""})

    async def send(message):
        sent.append(message)

    asyncio.run(server.Guard(app, hosts)(scope, None, send))
    return sent[0]["status"], dict(sent[0].get("headers", []))


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 200),
        ("HEAD", "/", {}, 200),
        ("GET", "/assets/index.js", {}, 200),
        ("GET", "/gradio_api/queue/data", {}, 200),
        ("GET", "/gradio_api/file=/tmp/x.png", {}, 200),  # Gradio looks whose it is
        ("GET", "/gradio_api/info", {}, 404),
        ("GET", "/gradio_api/openapi.json", {}, 404),
        ("GET", "/gradio_api/runs", {}, 404),
        ("GET", "/gradio_api/proxy=http://example.org", {}, 404),
        ("GET", "/docs", {}, 404),
        ("GET", "/monitoring", {}, 404),
        ("GET", "/?view=api", {}, 404),
        ("POST", "/gradio_api/run/predict", {"content_length": "2"}, 404),
        ("POST", "/gradio_api/vibe-edit", {"content_length": "2"}, 404),
        ("POST", "/gradio_api/upload", {"content_length": "33000000"}, 200),
        ("POST", "/gradio_api/upload", {"content_length": "34000000"}, 413),
        ("POST", "/gradio_api/queue/join", {"content_length": "34000000"}, 413),
        ("POST", "/gradio_api/upload", {}, 411),
        ("POST", "/gradio_api/upload", {"content_length": "-1"}, 411),
        ("PUT", "/", {}, 404),
        ("GET", "/", {"host": "localhost"}, 200),
        ("GET", "/", {"host": "LOCALHOST:7860"}, 200),
        ("GET", "/", {"host": "evil.example:7860"}, 421),
        ("GET", "/", {"host": ""}, 421),
    ],
)
def test_the_guard_lets_through_what_the_page_asks_for(method, path, headers, status):
    assert ask(method, path, **headers)[0] == status


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.1.1", "0.0.0.0"])
def test_the_page_answers_at_its_own_address(host):
    with socket.socket() as listening:
        listening.bind((host, 0))
        names = server.allowed_names(listening)
        assert (names is None) == (host == "0.0.0.0")
        assert ask("GET", "/", names, host=host)[0] == 200


def test_browsers_are_told_to_ask_no_other_host():
    _, headers = ask("GET", "/")
    policy = headers[b"content-security-policy"].decode()
    assert policy.startswith("default-src 'self' data: blob:;") and "http" not in policy
    assert "*" not in policy
    assert ask("GET", "/", None, host="school.example")[0] == 200  # with --host


def test_no_web_sockets():
    async def app(scope, receive, send):
        raise AssertionError

    asyncio.run(server.Guard(app, LOCAL)({"type": "websocket"}, None, None))


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "http://example.org/a.png", "{}/../b.png", "{}b/a.png", "a"]
)
def test_a_visitor_names_no_file_that_was_not_uploaded(path, tmp_path):
    folder = tmp_path / "uploaded"
    take = server.only_uploaded(folder)
    assert asyncio.run(take(f"{folder}/x/a.png")) == f"{folder}/x/a.png"
    with pytest.raises(ValueError, match="was not uploaded"):
        asyncio.run(take(path.format(folder)))
