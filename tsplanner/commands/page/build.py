"""The page as one file: served, or with the interpreter inside, which needs no server at all.

    python -m tsplanner.commands.page.build --output will-it-fit.html

The interpreter is Pyodide (CPython as WebAssembly), fetched once by npm and checked by its hash.
Node starts it, imports this package and answers a few questions; the page starts from the memory
that this leaves, so that a reader waits neither for imports nor for compilation.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tsplanner import __version__
from tsplanner.commands.page.answer import facts
from tsplanner.errors import TsplannerError
from tsplanner.runs import write_text
from tsplanner.settings import configs_folder

ASSETS = Path(__file__).parent / "assets"
PACKAGE = Path(__file__).resolve().parents[2]
PYODIDE = "0.29.5"
"""The last version line that starts in a classic worker: file:// pages may start no other."""
PYODIDE_SHA512 = (
    "TkYrUv9m8QmfImADKRmpwZulL48E0uUaBSO+dvRQKyAJc0qh9gu7jn8btyHPh3NZm1r2IH2YrJhIr7Q2B9urAw=="
)
"""Of the archive that npm fetches, in base64."""
RUNTIME = {"abi_version": "2025_0", "arch": "wasm32", "platform": "emscripten_4_0_9"}
OPTIONS = {
    "indexURL": "https://inside.invalid/",
    "env": {"HOME": "/home/pyodide", "PYTHONHASHSEED": "0"},
    "lockFileContents": {
        "info": {**RUNTIME, "version": PYODIDE, "python": "3.13.2"},
        "packages": {},
    },
}
"""What the loader is told: no request leaves the page, and the environment is the snapshot's."""
ALWAYS = ("encodings/", "_pyodide/", "pyodide/", "collections/", "importlib/", "_pyrepl/")
"""Parts of the standard library that the start of the interpreter may look for by name."""
WAIT_SECONDS = 600


def page(engine: str, found: Mapping[str, object], embedded: Mapping[str, str]) -> str:
    """The page with an engine of ``assets`` and the facts that it draws its controls from."""
    from tsplanner.report.render.templates import template  # jinja2, which no answer needs

    return template("will_it_fit.html.jinja").render(
        style=asset("page.css"),
        script=asset("page.js"),
        engine=asset(engine),
        facts=_inside(found),
        messages=_inside(json.loads(asset("messages.json"))),
        embedded=embedded,
        version=__version__,
    )


def served_page(own: list[dict[str, object]]) -> str:
    """The page of ``tsplanner serve``; ``own``: the cards of this machine."""
    return page("served.js", {**facts(), "own": own}, {})


def static_page(pyodide: Path) -> str:
    """The page that needs no server, from the unpacked npm package of Pyodide.

    Raises TsplannerError: node cannot start the interpreter.
    """
    with tempfile.TemporaryDirectory(prefix="tsplanner-page-") as name:
        work = Path(name)
        answers = work / "answers.zip"
        answers.write_bytes(own_files())
        library = work / "library.zip"
        _snapshot(pyodide, answers, work)
        imported = json.loads((work / "imported.json").read_text(encoding="utf-8"))
        library.write_bytes(pruned(pyodide / "python_stdlib.zip", imported))
        # The memory knows where in the archive each module lies, so it is taken with the small one.
        _snapshot(pyodide, answers, work, library)
        memory = (work / "memory.bin").read_bytes()
        small = library.read_bytes()
    embedded = {
        "runtime": _packed((pyodide / "pyodide.asm.js").read_bytes()),
        "loader": _packed((pyodide / "pyodide.js").read_bytes()),
        "wasm": _packed((pyodide / "pyodide.asm.wasm").read_bytes()),
        "library": _packed(small),
        "memory": _packed(memory),
        "options": _inside(OPTIONS),
    }
    return page("embedded.js", facts(), embedded)


def own_files() -> bytes:
    """A zip of what answers: both packages and the presets."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path, name in sorted(_own()):
            # No times: the same sources make the same archive.
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
    return made.getvalue()


def _own() -> Iterator[tuple[Path, str]]:
    for package in (PACKAGE, PACKAGE.parent / "memory_models"):
        for pattern in ("*.py", "*.json"):
            for path in package.rglob(pattern):
                yield path, str(path.relative_to(package.parent))
    presets = configs_folder() / "models"
    for path in presets.glob("*/config.json"):
        yield path, str(Path("configs", "models", path.relative_to(presets)))


def pruned(library: Path, imported: list[str]) -> bytes:
    """The standard library with what was imported and what the interpreter's start looks for."""
    needed = {place.partition(".zip/")[2] for place in imported}
    made = io.BytesIO()
    with (
        zipfile.ZipFile(library) as whole,
        zipfile.ZipFile(made, "w") as archive,
    ):
        for item in whole.infolist():
            if item.filename in needed or item.filename.startswith(ALWAYS):
                archive.writestr(zipfile.ZipInfo(item.filename), whole.read(item))
    return made.getvalue()


def _snapshot(pyodide: Path, answers: Path, output: Path, library: Path | None = None) -> None:
    line = [
        "node",
        str(ASSETS / "snapshot.mjs"),
        f"{pyodide.resolve()}/",
        str(answers),
        str(output),
    ]
    _run(line if library is None else [*line, str(library)], output)


def fetched(folder: Path) -> Path:
    """Pyodide as npm has it, unpacked in ``folder``.

    Raises TsplannerError: npm cannot fetch it, or the archive is another one.
    """
    _run(["npm", "pack", "--silent", f"pyodide@{PYODIDE}"], folder)
    archive = folder / f"pyodide-{PYODIDE}.tgz"
    digest = hashlib.sha512(archive.read_bytes()).digest()
    if base64.b64encode(digest).decode() != PYODIDE_SHA512:
        raise TsplannerError(f"{archive.name} has another hash than {__name__} expects.")
    import tarfile

    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder / "package"


def _run(line: list[str], folder: Path) -> None:
    """Raise TsplannerError if a program is missing or fails, with its last line."""
    try:
        done = subprocess.run(
            line, cwd=folder, check=False, capture_output=True, text=True, timeout=WAIT_SECONDS
        )
    except FileNotFoundError as error:
        raise TsplannerError(f"{line[0]} is needed to build the page: install Node.js.") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise TsplannerError(f"{line[0]} ended with status {done.returncode}: {last:.300}")


def asset(name: str) -> str:
    """The text of a file of ``assets``."""
    return (ASSETS / name).read_text(encoding="utf-8")


def _inside(value: object) -> str:
    """JSON inside a script element, which a "</" would end."""
    return json.dumps(value, ensure_ascii=False).replace("</", "<\\/")


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


def main(arguments: list[str] | None = None) -> int:
    """Build the page that needs no server."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("will-it-fit.html"))
    parser.add_argument("--pyodide", type=Path, help="unpacked npm package [fetched by npm]")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="tsplanner-pyodide-") as folder:
            text = static_page(options.pyodide or fetched(Path(folder)))
        write_text(options.output, text)
    except TsplannerError as error:
        print(f"tsplanner: {error}", file=sys.stderr)
        return error.exit_status
    print(
        f"wrote  {options.output}  {len(text) / 2**20:.1f} MiB, {compressed_mib(text):.1f} gzipped"
    )
    return 0


def compressed_mib(text: str) -> float:
    """MiB of a page as a web server sends it."""
    return len(gzip.compress(text.encode(), 6)) / 2**20


if __name__ == "__main__":
    sys.exit(main())
