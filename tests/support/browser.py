"""A real Chromium without a window, driven through a pair of pipes by its own protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
"""Programs that are looked for, unless TSPLANNER_BROWSER names one."""


def find_browser() -> str | None:
    """The path of a browser; None: no browser is here."""
    named = os.environ.get("TSPLANNER_BROWSER")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


LOADED = """new Promise(done => {
  const look = () => document.readyState == "complete" ? done(true) : setTimeout(look, 20);
  look();
})"""


class Browser:
    """One page of one browser, which may reach nothing but the file that it shows."""

    def __init__(self, program: str) -> None:
        read_theirs, self._write = os.pipe()
        self._read, write_theirs = os.pipe()
        self._profile = tempfile.mkdtemp(prefix="tsplanner-browser-")
        # The protocol is spoken on descriptors 3 and 4, which only a start of this kind can set.
        starter = (
            "import fcntl,os,sys;"
            "a,b=(fcntl.fcntl(int(each),fcntl.F_DUPFD,10) for each in sys.argv[1:3]);"
            "os.dup2(a,3);os.dup2(b,4);os.execv(sys.argv[3],sys.argv[3:])"
        )
        flags = (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
            f"--user-data-dir={self._profile}",
            "about:blank",
        )
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                starter,
                str(read_theirs),
                str(write_theirs),
                program,
                *flags,
            ],
            pass_fds=(read_theirs, write_theirs),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_theirs)
        os.close(write_theirs)
        self._pending = b""
        self._count = 0
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.call("Page.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command and its answer; events in between are passed over."""
        self._count += 1
        message: dict[str, object] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            piece = os.read(self._read, 1 << 16)
            assert piece, "the browser ended"
            self._pending += piece
        line, _, self._pending = self._pending.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        return found

    def show(self, path: Path, *, width: int, dark: bool = False, phone: bool = False) -> None:
        """Open a file at a width, in a light or a dark scheme."""
        self.view(width=width, dark=dark, phone=phone)
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.ask(LOADED)

    def view(self, *, width: int, dark: bool = False, phone: bool = False) -> None:
        """A window or a phone of a width, in a light or a dark scheme."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=phone,
        )

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self, path: Path) -> Path:
        """The whole page as a PNG."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path

    def paper(self, path: Path) -> Path:
        """The page as it prints, as a PDF."""
        answer = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path
