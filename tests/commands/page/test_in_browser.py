"""The page in a real browser, from file://: bytes, time, screens, languages, accessibility.

Needs a Chromium, Node.js, and npm for Pyodide and axe. Pictures stay in the folder that
TSPLANNER_PICTURES names.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import npm
from tests.support.browser import Browser, find_browser
from tsplanner.commands.estimate import estimated
from tsplanner.commands.inputs.keywords import options
from tsplanner.commands.page.answer import FIRST, answer, cards
from tsplanner.commands.page.build import PYODIDE, compressed_mib, static_page
from tsplanner.commands.page.server import Server
from tsplanner.models.source import preset_folder, preset_names

PROGRAM = find_browser()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium is here: apt install chromium"),
]
DRAWN = 200
MOST_MIB = 12
PATIENCE_SECONDS = 60
"""A shared machine may be many times slower than a laptop; the figures are printed."""
DATA = "document.getElementById('answer').dataset"
SERIOUS = """axe.run().then(found => found.violations
  .filter(each => ["serious", "critical"].includes(each.impact))
  .map(each => each.id + ": " + each.nodes.map(node => node.target.join(" ")).join(", ")))"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with the interpreter inside."""
    found = tmp_path_factory.mktemp("page") / "will-it-fit.html"
    found.write_text(static_page(npm.package(f"pyodide@{PYODIDE}")), encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all views."""
    assert PROGRAM is not None
    with Browser(PROGRAM) as found:
        yield found


def wait(browser: Browser, expression: str) -> Any:
    """The value of an expression once it is true."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if value := browser.ask(expression):
            return value
        time.sleep(0.005)
    raise AssertionError(f"{expression} stays false: {browser.ask('document.body.innerText')}")


def opened(browser: Browser, page: Path, **view: Any) -> None:
    """The page, once Python answers in it."""
    browser.show(page, **{"width": 1280, **view})
    wait(browser, f"Number({DATA}.count || 0) > 0")


def told(browser: Browser, change: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The question and the answer after a change that a person makes."""
    count = browser.ask(f"{DATA}.count")
    browser.ask(change)
    wait(browser, f"{DATA}.count != {count} && !asking")
    return browser.ask("question()"), json.loads(browser.ask(f"{DATA}.answer"))


def keep(browser: Browser, name: str) -> None:
    """A picture of the view, if somebody wants to look."""
    if folder := os.environ.get("TSPLANNER_PICTURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.picture(Path(folder) / f"{name}.png")


def drawn(dice: random.Random, model: str) -> dict[str, object]:
    """Settings of one question, such as a person could choose on the page."""
    sharding = dice.choice([0, 0, 1, 2, 3])
    return {
        "model": model,
        "gpus": dice.choice(["", *(str(card["name"]) for card in cards())]),
        "world_size": dice.choice([1, 1, 2, 4, 8]) if sharding == 0 else dice.choice([2, 4, 8]),
        "zero_stage": sharding,
        "offload_optimizer": sharding > 0 and dice.random() < 0.3,
        "offload_param": sharding == 3 and dice.random() < 0.3,
        "finetuning_type": dice.choice(["lora", "lora", "dora", "rslora", "full", "freeze"]),
        "lora_rank": dice.choice([1, 4, 8, 16, 17, 64, 256]),
        "sequence_length": dice.choice([16, 512, 777, 2048, 4096, 32768]),
        "micro_batch_size": dice.choice([1, 1, 2, 3, 8]),
        "gradient_checkpointing": dice.random() < 0.6,
        "precision": dice.choice(["bf16", "bf16", "fp16", "fp32"]),
        "quantization": dice.choice(["none", "none", "nf4", "nf4-dq", "int8"]),
        "optimizer": dice.choice(["adamw_torch_fused", "adamw_bnb_8bit", "adafactor", "sgd"]),
        "loss_kernel": dice.choice(["plain", "fused"]),
        "kernels": dice.choice(["reference", "fused"]),
        "attention": dice.choice(["sdpa", "sdpa", "eager"]),
    }


def test_the_bytes_are_those_of_the_command_line(browser: Browser, page: Path) -> None:
    """Two hundred drawn settings over all presets, to the last byte; refusals to the last word."""
    opened(browser, page)
    dice, sized = random.Random(20), 0
    for place in range(DRAWN):
        state = drawn(dice, preset_names()[place % len(preset_names())])
        question, found = told(browser, f"Object.assign(state, {json.dumps(state)}), update()")
        assert found == json.loads(json.dumps(answer(question))), state
        if "command" in found:
            sized += 1
            line = shlex.split(found["command"])[2:]
            assert found["estimate"] == estimated(options("estimate", line)).document, state
    assert sized >= DRAWN // 2


def test_it_is_small_and_answers_before_python_does(browser: Browser, page: Path) -> None:
    """At most 12 MiB as a server sends it; benchmarks/speed/page.py measures the times."""
    assert compressed_mib(page.read_text(encoding="utf-8")) <= MOST_MIB
    opened(browser, page)
    first, ready = (float(browser.ask(f"{DATA}.{name}")) for name in ("first", "ready"))
    assert first < ready


def test_a_link_carries_the_settings_and_a_pasted_config(browser: Browser, page: Path) -> None:
    """Opened again, the page says the same."""
    opened(browser, page)
    config = (preset_folder("smollm2-135m") / "config.json").read_text(encoding="utf-8")
    _, before = told(browser, f"useConfig({json.dumps(config)}), set('lora_rank', 32)")
    assert "--model config.json" in before["command"]
    assert before["model"] == "pasted model"
    link = wait(browser, "location.hash.includes('config=') && location.hash")
    assert "lora_rank=32" in link
    opened(browser, page)
    _, after = told(browser, f"location.hash = {json.dumps(link)}")
    assert after == before
    keep(browser, "pasted")


def test_bad_input_is_one_sentence_and_loses_nothing(browser: Browser, page: Path) -> None:
    """The last answer and every setting stay."""
    opened(browser, page)
    for change, says in (
        ("useConfig('{')", "This is not the JSON of a config.json"),
        ('useConfig(\'{"model_type": "mamba"}\')', "estimate --trace"),
        ("useConfig(''), set('lora_rank', 0)", "must be at least 1"),
        ("set('lora_rank', 8), set('gpus', 'RTX 9999')", 'unknown GPU "RTX 9999"'),
    ):
        _, found = told(browser, change)
        shown = browser.ask("document.getElementById('state').textContent")
        assert shown == found["error"]
        assert says in shown
        assert browser.ask("!document.getElementById('result').hidden")
    _, found = told(browser, "set('gpus', 'RTX 4090')")
    assert found == json.loads(json.dumps(answer({"given": FIRST})))
    assert browser.ask("document.getElementById('state').textContent") == ""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_every_screen_shows_all_of_it_in_both_languages(
    browser: Browser, page: Path, width: int, dark: bool
) -> None:
    """Nothing sticks out, and axe finds nothing serious."""
    opened(browser, page, width=width, dark=dark, phone=width < 500)
    axe = (npm.package(npm.AXE) / "axe.min.js").read_text(encoding="utf-8")
    browser.ask(axe + "; 1")
    wanted = {"en": "放得下", "zh-CN": "Will it fit?"}
    for _ in wanted:
        browser.ask("document.getElementById('own').open = true")
        browser.ask("document.getElementById('language').click()")
        language = browser.ask("document.documentElement.lang")
        keep(browser, f"page-{language}-{width}-{'dark' if dark else 'light'}")
        assert browser.ask("document.documentElement.scrollWidth") <= width
        assert browser.ask(SERIOUS) == []
        assert browser.ask("document.querySelectorAll('label:empty, legend:empty').length") == 0


def test_the_served_page_asks_the_server(browser: Browser) -> None:
    """The same page, whose Python is behind an address with a token."""
    server = Server(0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with server:
        browser.call("Page.navigate", url=server.address)
        wait(browser, "document.readyState == 'complete' && typeof engine != 'undefined'")
        wait(browser, f"Number({DATA}.count || 0) > 0 && !asking")
        question, found = told(browser, "set('sequence_length', 4096)")
        assert found == json.loads(json.dumps(answer(question)))
        _, refused = told(browser, "set('lora_rank', 0)")
        assert "must be at least 1" in refused["error"]
        server.shutdown()
    thread.join()
