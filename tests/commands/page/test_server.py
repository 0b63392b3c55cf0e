"""The server: answers for its owner, nothing for pages of the web or other users."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support import tiny
from tsplanner.commands.page import server as module
from tsplanner.commands.page.answer import FIRST, answer
from tsplanner.commands.page.server import MOST_BYTES, Server, own_cards, plan_reply
from tsplanner.hardware.describe import parse_gpus


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for all requests."""
    found = Server(0)
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    with found:
        yield found
        found.shutdown()
    thread.join()


def ask(
    server: Server, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[int, str, http.client.HTTPMessage]:
    """A request as its owner makes it; ``headers`` replace the usual ones, "" leaves one out."""
    sent = {
        "Host": server.hosts[0],
        "Content-Type": "application/json",
        "Authorization": f"Bearer {server.token}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)  # type: ignore[misc]
    connection.request(method, path, body, {name: value for name, value in sent.items() if value})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, answer.headers


def estimate(server: Server, **headers: str) -> tuple[int, Any]:
    """The first question of the page."""
    status, text, _ = ask(server, "POST", "/api/estimate", json.dumps({"given": FIRST}), **headers)
    return status, json.loads(text)


def test_only_loopback_is_listened_on(server: Server) -> None:
    """Another machine cannot reach it."""
    assert server.server_address[0] == "127.0.0.1"
    assert server.address == f"http://127.0.0.1:{server.server_port}/?token={server.token}"
    assert len(server.token) >= 20


def test_the_page_is_shown_to_whoever_has_its_address(server: Server) -> None:
    """With headers that let it load nothing from elsewhere."""
    status, text, headers = ask(server, "GET", f"/?token={server.token}")
    assert status == 200
    assert "<title>Will it fit?" in text
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["Access-Control-Allow-Origin"] is None
    assert ask(server, "GET", "/")[0] == 403
    assert ask(server, "GET", "/?token=guess")[0] == 403
    assert ask(server, "GET", "/etc/passwd")[0] == 404


def test_an_estimate_is_that_of_the_page(server: Server) -> None:
    """The same function answers."""
    assert estimate(server) == (200, answer({"given": FIRST}))
    status, text, _ = ask(server, "POST", "/api/estimate", '{"given": {"lora_rank": 0}}')
    assert status == 400
    assert "must be at least 1" in json.loads(text)["error"]


def test_a_plan_is_the_document_of_the_command_line(server: Server) -> None:
    """Errors have the exit status of the command line."""
    body = json.dumps({"given": {"model": "qwen2.5-7b", "gpus": "RTX 4090"}})
    status, text, _ = ask(server, "POST", "/api/plan", body)
    found = json.loads(text)
    assert status == 200
    assert found["plan"]["verdict"] == "fits"
    assert found["path"] is None
    for given, status_wanted, exit_status in (
        ({"model": "qwen2.5-7b", "gpus": "RTX 9999"}, 400, 2),
        ({"model": "qwen2.5-7b", "trust_remote_code": True}, 400, 2),
        ({"model": "qwen2.5-7b", "rent": True}, 400, 2),
        ({"model": "qwen2.5-7b", "output": "x"}, 400, 2),
        ({"model": "qwen2.5-7b", "gpus": "RTX 4090", "adalora_init_rank": 4}, 400, 2),
        ({"model": "llama-3.1-70b", "gpus": "T4", "finetuning_type": "full"}, 422, 4),
        (None, 400, 2),
    ):
        status, text, _ = ask(server, "POST", "/api/plan", json.dumps({"given": given}))
        assert (status, json.loads(text)["exit_status"]) == (status_wanted, exit_status)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer guess"}, 401),
        ({"Host": "evil.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": ""}, 415),
        ({"Content_Length": str(MOST_BYTES + 1)}, 413),
        ({"Content_Length": "9" * 5000}, 413),
        ({"Content_Length": "-1"}, 411),
    ],
)
def test_strangers_get_a_sentence_and_no_answer(
    server: Server, headers: dict[str, str], status: int
) -> None:
    """Other users have no token; pages of the web have another host, origin or type of content."""
    found, document = estimate(server, **headers)
    assert found == status
    assert set(document) == {"error"}


def test_what_is_no_question_is_a_sentence(server: Server) -> None:
    """Not JSON, not an object, nested without end, or to another address."""
    for body in ("{", "[]", "[" * 100_000, "\xff"):
        assert ask(server, "POST", "/api/estimate", body)[0] == 400
    assert ask(server, "POST", "/api/other", "{}")[0] == 404
    assert ask(server, "PUT", "/api/estimate", "{}")[0] == 501
    assert estimate(server)[0] == 200


def test_a_card_of_this_machine_is_offered_once_with_what_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two alike: the fuller one counts. A card that no catalogue knows is described."""
    card = parse_gpus("RTX 4090")[0]
    fuller = replace(card, free_bytes=5 * 2**30)
    strange = replace(card, name="Prototype X", total_bytes=24 * 2**30)
    machine = replace(tiny.machine(), devices=(card, fuller, strange))
    monkeypatch.setattr(module, "detect_machine", lambda: machine)
    assert own_cards() == [
        {"name": "RTX 4090", "count": 2, "free_bytes": 5 * 2**30},
        {"name": "24.0GiB sm_89", "count": 1, "free_bytes": card.free_bytes},
    ]


def test_numbers_that_are_too_large_are_a_sentence_of_a_plan() -> None:
    """An overflow in the arithmetic ends no thread."""
    status, found = plan_reply({"given": {"model": "phi-2", "gpus": "T4", "cutoff_len": 10**12}})
    assert status in (400, 422)
    assert found["error"]
