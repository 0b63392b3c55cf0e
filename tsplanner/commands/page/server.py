"""A page and its answers on loopback, for the person who started it and nobody else.

A token in the address keeps out other users of the machine. A page of the web can neither read an
answer nor ask for one: the host and the origin must be ours, a question must be JSON, which a
foreign page may not send without leave, and no header gives that leave.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tsplanner.commands.inputs.keywords import NOT_OF_A_SERVER, options, words
from tsplanner.commands.inputs.verbs import calling
from tsplanner.commands.page.answer import answer
from tsplanner.commands.page.build import served_page
from tsplanner.commands.parts.documents import document_of
from tsplanner.commands.plan import planned
from tsplanner.errors import EXIT_NO_PLAN, EXIT_OK, TsplannerError, UsageError
from tsplanner.hardware.describe import parse_gpus
from tsplanner.hardware.detect import detect_machine

LOOPBACK = "127.0.0.1"
MOST_BYTES = 9 * 1024 * 1024
"""Of a question: a pasted config.json may have eight."""
IDLE_SECONDS = 30
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
STATUS = {EXIT_OK: HTTPStatus.OK, EXIT_NO_PLAN: HTTPStatus.UNPROCESSABLE_ENTITY}
"""Of an answer by the exit status that the command line would have."""
Reply = tuple[HTTPStatus, dict[str, Any]]
PageOf = Callable[[dict[str, str]], str]
"""A page by the values of the query in its address."""


class Server(ThreadingHTTPServer):
    """Listens on loopback; ``port`` 0 takes a free one. Raises OSError: the port is taken."""

    daemon_threads = True

    def __init__(self, port: int, page: PageOf | None = None) -> None:
        """``page`` takes the place of "Will it fit?", and there are no other answers then."""
        self.page = page or will_it_fit
        self.answers = ANSWERS if page is None else {}
        self.token = secrets.token_urlsafe(16)
        self.one_at_a_time = threading.Lock()
        """Answers share caches, and one of them takes milliseconds."""
        super().__init__((LOOPBACK, port), Handler)

    @property
    def address(self) -> str:
        """Where the page is, with the token."""
        return f"http://{LOOPBACK}:{self.server_port}/?token={self.token}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """What a request to this server calls it."""
        return (f"{LOOPBACK}:{self.server_port}", f"localhost:{self.server_port}")


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    server_version = "tsplanner"
    sys_version = ""
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        """The page."""
        asked = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(asked.query).items()}
        if not self._is_ours():
            self._refuse(HTTPStatus.FORBIDDEN, "This server answers to its own address alone.")
        elif asked.path != "/":
            there = ", ".join(["the page", *self.server.answers])
            self._refuse(HTTPStatus.NOT_FOUND, f"There is no more than {there}.")
        elif not self._knows(query.get("token", "")):
            self._refuse(HTTPStatus.FORBIDDEN, "Open the address that tsplanner serve printed.")
        else:
            self._show(query)

    def _show(self, query: dict[str, str]) -> None:
        try:
            text = self.server.page(query)
        except (TsplannerError, OSError, ValueError) as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error) or type(error).__name__)
            return
        self._send(HTTPStatus.OK, "text/html", text)

    def do_POST(self) -> None:
        """An estimate or a plan."""
        # A connection whose body was not read cannot carry another request.
        self.close_connection = True
        answers = self.server.answers.get(urlsplit(self.path).path)
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if not self._is_ours():
            self._refuse(HTTPStatus.FORBIDDEN, "This server answers to its own address alone.")
        elif scheme != "Bearer" or not self._knows(token):
            self._refuse(
                HTTPStatus.UNAUTHORIZED, "Send the token of the page's address: Bearer TOKEN."
            )
        elif answers is None:
            there = ", ".join(self.server.answers) or "nothing to ask"
            self._refuse(HTTPStatus.NOT_FOUND, f"There is no more than {there}.")
        elif self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send application/json.")
        else:
            self._answer(answers)

    def _answer(self, answers: Callable[[dict[str, Any]], Reply]) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "Send a Content-Length.")
            return
        if len(length) > len(str(MOST_BYTES)) or int(length) > MOST_BYTES:
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A question has at most {MOST_BYTES} bytes."
            )
            return
        try:
            asked = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            self._refuse(HTTPStatus.BAD_REQUEST, 'Send a JSON object: {"given": {...}}.')
            return
        with self.server.one_at_a_time:
            status, found = answers(asked)
        self._send(status, "application/json", json.dumps(found))

    def _is_ours(self) -> bool:
        """Whether the request was made to this address, and not by another site's page."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        return host in self.server.hosts and origin in (None, f"http://{host}")

    def _knows(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(), self.server.token.encode())

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self._send(status, "application/json", json.dumps({"error": sentence}))

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal belongs to the person who started the server."""


def will_it_fit(query: dict[str, str]) -> str:
    """The page "Will it fit?" with this machine's cards, whatever its address asks."""
    return served_page(own_cards())


def estimate_reply(asked: dict[str, Any]) -> Reply:
    """What the page is told; a sentence where the question is wrong."""
    found = answer(asked)
    return HTTPStatus.BAD_REQUEST if "error" in found else HTTPStatus.OK, found


def plan_reply(asked: dict[str, Any]) -> Reply:
    """The document of ``tsplanner plan --json``, errors included."""
    given = asked.get("given")

    def found() -> dict[str, Any]:
        if not isinstance(given, dict):
            raise UsageError("given must be an object of settings by name.")
        parsed = options("plan", words("plan", given, NOT_OF_A_SERVER))
        with calling(parsed):
            return planned(parsed).document()

    document, exit_status = document_of(found)
    return STATUS.get(exit_status, HTTPStatus.BAD_REQUEST), document


ANSWERS: dict[str, Callable[[dict[str, Any]], Reply]] = {
    "/api/estimate": estimate_reply,
    "/api/plan": plan_reply,
}


def own_cards() -> list[dict[str, object]]:
    """The cards of this machine, each kind once, as ``--gpus`` takes them, with what is free."""
    found: dict[str, dict[str, object]] = {}
    for device in detect_machine().devices:
        major, minor = device.compute_capability
        name = device.name
        try:
            parse_gpus(name)
        except UsageError:  # a card that the catalogue does not know
            name = f"{device.total_bytes / 2**30:.1f}GiB sm_{major}{minor}"
        known = found.setdefault(name, {"name": name, "count": 0, "free_bytes": device.free_bytes})
        known["count"] = int(str(known["count"])) + 1
        known["free_bytes"] = min(int(str(known["free_bytes"])), device.free_bytes)
    return list(found.values())
