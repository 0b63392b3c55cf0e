"""The parent's side of recordings: asks the recording process, and keeps its answers.

Answers lie in the state folder under the hash of the config and of the libraries' versions, so that
a second plan of a model starts no process and imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO

import msgspec

from memory_models.architecture import Architecture
from memory_models.recorded.recording import Recipe, Recording, Source
from tsplanner import install
from tsplanner.errors import TsplannerError
from tsplanner.processes.run import TEXT_VARIABLES
from tsplanner.runs import write_text
from tsplanner.settings import recordings_folder
from tsplanner.tracing.recording.messages import FORMAT, Answer, Ask
from tsplanner.tracing.records import Subject
from tsplanner.trust import is_granted

SERVER = (sys.executable, "-m", "tsplanner.tracing.recording.server")
SHAPES = "shapes"
"""Name of the kept answer that holds the shapes; the others are named for their recipe."""
PACKAGES = (
    *install.TRACING,
    "bitsandbytes",
    "mamba-ssm",
    "causal-conv1d",
    "flash-linear-attention",
)
"""Packages that decide what a model's code allocates."""
OWN_CODE = ("tracing", "training")
"""Packages of tsplanner that decide it, too."""
LAST_WORDS = 300
DIGITS = 16


class NoRecordingError(TsplannerError, ValueError):
    """Layers cannot be recorded under a recipe.

    The core refuses what cannot run by ValueError; where nobody refuses, it is told as it is.
    """


class Recordings:
    """Describes and records models without a reader; see ``models.strangers.Describer``."""

    def __init__(self, tell: Callable[[str], None] = lambda sentence: None) -> None:
        """``tell`` is given a sentence before the first wait for the process."""
        self.tell = tell
        self.process: subprocess.Popen[bytes] | None = None
        self.log: IO[bytes] | None = None
        self.failed: dict[Path, Answer] = {}
        """Refusals that the state folder must not keep, because a missing package may come."""

    def architecture(
        self, config: Mapping[str, object], *, name: str, folder: str | None
    ) -> Architecture:
        """The shapes of a causal model.

        Raises:
            TsplannerError: packages are missing, or the installed transformers cannot build it.
        """
        found = self._answer(config, folder, None).architecture
        if found is None:
            raise TsplannerError("The recording process answered without shapes.")
        return replace(found, name=name)

    def source(self, config: Mapping[str, object], *, folder: str | None) -> Source:
        """What records the layers of the model under one recipe after the other."""

        def record(recipe: Recipe) -> Recording:
            try:
                return self._record(config, folder, recipe)
            except TsplannerError as error:
                raise NoRecordingError(str(error).rstrip(".")) from error

        return record

    def _record(
        self, config: Mapping[str, object], folder: str | None, recipe: Recipe
    ) -> Recording:
        for one_row in dict.fromkeys((False, recipe.one_row)):
            asked = replace(recipe, one_row=one_row)
            found = self._answer(config, folder, asked).recording
            if found is None:
                raise TsplannerError("The recording process answered without a recording.")
            if found.any_rows or one_row is recipe.one_row:
                return found
        raise AssertionError("one of the two is what was asked for")

    def _answer(
        self, config: Mapping[str, object], folder: str | None, recipe: Recipe | None
    ) -> Answer:
        key = config_key(config, folder)
        place = recordings_folder() / f"{key}-{versions_key()}"
        file = place / f"{SHAPES if recipe is None else _digest(msgspec.json.encode(recipe))}.json"
        answer = self.failed.get(file) or self._kept(file)
        if answer is None:
            answer = self._asked(key, config, folder, recipe)
            if answer.lasting:
                self._keep(file, answer)
            else:
                self.failed[file] = answer
        if answer.error:
            raise TsplannerError(answer.error)
        return answer

    def _keep(self, file: Path, answer: Answer) -> None:
        with suppress(OSError, TsplannerError):  # what cannot be written costs only time
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, msgspec.json.encode(answer).decode())

    def _kept(self, file: Path) -> Answer | None:
        with suppress(OSError, msgspec.DecodeError, msgspec.ValidationError):
            return msgspec.json.decode(file.read_bytes(), type=Answer)
        return None

    def _asked(
        self, key: str, config: Mapping[str, object], folder: str | None, recipe: Recipe | None
    ) -> Answer:
        trusted = is_granted()
        subject = Subject(
            config=dict(config),
            folder=folder if trusted else None,
            trust_remote_code=trusted,
        )
        return self._ask(Ask(key=key, name="", subject=subject, recipe=recipe))

    def _ask(self, ask: Ask) -> Answer:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(ask) + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            raise TsplannerError(f"The recording process ended early: {self._last_words()}")
        return msgspec.json.decode(line, type=Answer)

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is not None and self.process.poll() is None:
            return self.process
        install.require("Planning a model without a formula", install.TRACING)
        self.tell("No formula for this family: tracing the real model without its weights.")
        # The process writes to it for as long as it runs, and ``close`` closes it.
        self.log = tempfile.TemporaryFile(prefix="tsplanner-recording-")  # noqa: SIM115
        self.process = subprocess.Popen(
            SERVER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, **TEXT_VARIABLES},
        )
        return self.process

    def _last_words(self) -> str:
        if self.log is None:
            return "it said nothing"
        self.log.seek(0)
        text = self.log.read().decode(errors="replace").strip()
        return text[-LAST_WORDS:] or "it said nothing"

    def close(self) -> None:
        """End the process, if there is one."""
        if self.process is None:
            return
        if self.process.stdin is not None:
            with suppress(OSError):
                self.process.stdin.close()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        if self.log is not None:
            self.log.close()
        self.process = self.log = None


def config_key(config: Mapping[str, object], folder: str | None) -> str:
    """Key of a model: the hash of its config, and of its folder where code in it may run."""
    own = folder if is_granted() and "auto_map" in config else None
    text = json.dumps([config, own], sort_keys=True, default=str)
    return _digest(text.encode())


def versions_key() -> str:
    """Hash of the versions of all that decides a recording, this program's own code included."""
    found = [str(FORMAT), *(f"{name} {_version(name)}" for name in PACKAGES), *_own_code()]
    return _digest(" ".join(found).encode())[:8]


def _own_code() -> Iterator[str]:
    """Names, sizes and times of the modules that build and trace a model."""
    root = Path(__file__).resolve().parents[2]
    for package in OWN_CODE:
        for path in sorted((root / package).rglob("*.py")):
            stat = path.stat()
            yield f"{path.relative_to(root)} {stat.st_size} {stat.st_mtime_ns}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGITS]
