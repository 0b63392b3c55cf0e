"""The page that follows a run, in a real browser: what changes is swapped, and nothing else moves.

Needs a Chromium (Debian: apt install chromium); TSPLANNER_BROWSER names another program. Pictures
of every view stay in the folder that TSPLANNER_PICTURES names, to be looked at.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.report.records.test_progress import begin, say
from tests.support.browser import Browser, find_browser
from tsplanner.commands.page import live as module
from tsplanner.commands.page.live import LivePage
from tsplanner.commands.page.server import Server
from tsplanner.folders.owner import RunFolder

PROGRAM = find_browser()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(
        PROGRAM is None,
        reason="no Chromium is here: apt install chromium, or name one in TSPLANNER_BROWSER",
    ),
]
LINE = "document.getElementById('live').textContent"
VIEWS = [(1280, False), (1280, True), (375, False), (375, True)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    with Browser(PROGRAM or "") as found:
        yield found


def wait(browser: Browser, condition: str) -> None:
    """Until a condition holds in the page."""
    deadline = time.monotonic() + 20
    while not browser.ask(condition):
        assert time.monotonic() < deadline, browser.ask("document.body.innerText")
        time.sleep(0.05)


def has(words: str) -> str:
    """A condition that the progress says something."""
    return f"document.querySelector('#progress').innerText.includes({words!r})"


def test_a_page_follows_a_run_and_stays_where_its_reader_is(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that did not change stay the same elements, and a server that is gone is told of."""
    monkeypatch.setattr(module, "MOVING_SECONDS", 0.2)
    monkeypatch.setattr(module, "RESTING_SECONDS", 0.2)
    run = tmp_path / "mine"
    server = Server(0, LivePage(run))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    browser.view(width=1280)
    browser.call("Page.navigate", url=server.address)
    wait(browser, "document.readyState == 'complete' && !!document.querySelector('#progress')")
    assert browser.ask(has("nothing has begun here yet"))
    with RunFolder(run, "train", saves=tmp_path):
        begin(tmp_path, run)
        say(run, step=0, epoch=0.0, eval_loss=3.0, seconds=0.5)
        say(run, step=1, epoch=0.2, loss=2.5, seconds=1.0, process_bytes=2**29)
        wait(browser, f"{has('1 of 10')} && !!document.querySelector('#learning')")
        order = "[...document.querySelectorAll('main > section')].map(each => each.id).join(' ')"
        assert browser.ask(order) == "progress curves memory plans learning about"
        browser.ask("window.table = document.querySelector('#learning table'); 1")
        browser.ask("document.querySelector('#learning').scrollIntoView()")
        top = "Math.round(document.querySelector('#learning').getBoundingClientRect().top) + 0"
        before = browser.ask(top)
        say(run, step=5, epoch=1.0, loss=2.0, seconds=3.0)
        say(run, step=5, epoch=1.0, eval_loss=2.25, seconds=3.5)
        # The headline and the advice come in above what is read.
        wait(browser, f"{has('5 of 10')} && !!document.querySelector('#advice')")
        assert abs(browser.ask(top) - before) <= 1
        assert browser.ask("window.table === document.querySelector('#learning table')")
        assert browser.ask(order) == ("progress headline advice curves memory plans learning about")
        for width, dark in VIEWS:
            browser.view(width=width, dark=dark, phone=width < 500)
            assert browser.ask("document.documentElement.scrollWidth") <= width
            if folder := os.environ.get("TSPLANNER_PICTURES"):
                name = f"live-{width}-{'dark' if dark else 'light'}.png"
                browser.picture(Path(folder) / name)
    wait(browser, has("it was interrupted or killed"))
    browser.ask("window.table = document.querySelector('#learning table'); 1")
    server.shutdown()
    server.server_close()
    thread.join()
    wait(browser, f"{LINE}.startsWith('The server gives no answer any more')")
    assert browser.ask("window.table === document.querySelector('#learning table')")


def test_words_that_a_reader_marks_stay_marked(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is swapped meanwhile; it is afterwards."""
    monkeypatch.setattr(module, "MOVING_SECONDS", 0.1)
    run = tmp_path / "mine"
    begin(tmp_path, run)
    with Server(0, LivePage(run)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        browser.call("Page.navigate", url=server.address)
        wait(browser, "document.readyState == 'complete' && !!document.querySelector('#progress')")
        browser.ask("getSelection().selectAllChildren(document.querySelector('#progress')); 1")
        say(run, step=1, epoch=0.2, loss=2.5, seconds=1.0)
        time.sleep(0.6)
        assert not browser.ask(has("1 of 10"))
        browser.ask("getSelection().removeAllRanges(); 1")
        wait(browser, has("1 of 10"))
        server.shutdown()
        thread.join()
