"""Environments for trainers' own code, each on top of the packages of this one (torch above all).

Each is made once, under .pytest_cache or in the folder that TSPLANNER_PARSERS names.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import sysconfig
import venv
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = Path(os.environ.get("TSPLANNER_PARSERS", ROOT / ".pytest_cache" / "parsers"))
FORK_VARIABLE = "TSPLANNER_CHATTS_TRAINING"
FORK = os.environ.get(FORK_VARIABLE)
SHARED = ("omegaconf==2.4.0", "antlr4-python3-runtime==4.9.3", "liger-kernel==0.8.5")
DEEPSPEED_NEEDS = ("hjson==3.1.0", "py-cpuinfo==9.0.0", "einops", "msgpack")


class Reader(NamedTuple):
    """A trainer's parser and what it takes to import it."""

    script: str
    alone: tuple[str, ...]
    """Packages without what they depend on."""
    whole: tuple[str, ...] = ()
    """Packages with it."""
    built: tuple[str, ...] = ()
    """Packages that look at the torch there is when they are built."""
    path: str | None = None
    """A folder to import from beside them."""


ENVIRONMENT_OF = {
    "llamafactory": Reader(
        script="read_llamafactory.py",
        alone=(
            "llamafactory==0.9.5",
            "transformers==5.6.0",
            "peft==0.18.1",
            "accelerate==1.11.0",
            "tokenizers==0.22.2",
            "huggingface_hub==1.33.0",
            "trl==0.24.0",
            *SHARED,
            *DEEPSPEED_NEEDS,
        ),
        whole=(
            *("datasets==4.0.0", "httpx", "matplotlib", "wheel", "pillow", "av<=16"),
            *("tyro<0.9", "sentencepiece", "einops", "fire", "numpy==2.4.6"),
        ),
        built=("deepspeed==0.18.9",),
    ),
    "fork": Reader(
        script="read_llamafactory.py",
        alone=(
            "transformers==4.52.4",
            "peft==0.15.2",
            "accelerate==1.7.0",
            "tokenizers==0.21.1",
            "huggingface_hub==0.36.0",
            "trl==0.9.6",
            *SHARED,
            *DEEPSPEED_NEEDS,
        ),
        whole=("datasets==3.6.0", "requests", "matplotlib", "wheel"),
        built=("deepspeed==0.16.9",),
        path=FORK,
    ),
    "axolotl": Reader(
        script="read_axolotl.py",
        alone=(
            "axolotl==0.19.0",
            "transformers==5.16.1",
            "peft==0.20.0",
            "tokenizers==0.23.1",
            "huggingface_hub==1.17.0",
            "typing_extensions",
            "trl==1.9.0",
            "accelerate==1.13.0",
            "axolotl-contribs-lgpl==0.0.7",
            "axolotl-contribs-mit==0.0.6",
            "mistral-common==1.11.5",
        ),
        whole=(
            *("httpx", "pillow", "datasets==4.8.4", "addict", "fire", "art", "requests", "numba"),
            *("einops", "colorama", "python-dotenv", "zstandard", "sentencepiece", "posthog"),
            "numpy==2.4.6",
        ),
    ),
    "trl": Reader(
        script="read_trl.py", alone=("trl==1.16.0", "jinja2"), whole=("datasets==5.2.0",)
    ),
}


class NotInstalledError(Exception):
    """Pip cannot make an environment here; the text says why."""


@cache
def environment(name: str) -> Path | str:
    """The Python of a trainer's environment, or why there is none here; asked once."""
    try:
        return made(name)
    except NotInstalledError as error:
        return str(error)


def made(name: str) -> Path:
    """The Python of a trainer's environment, which is made unless it lies there as it should."""
    reader = ENVIRONMENT_OF[name]
    folder = ENVIRONMENTS / name
    python, stamp = folder / "bin" / "python", folder / "made-of"
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    base = sysconfig.get_paths()["purelib"]
    recipe = repr((reader, base, sys.version_info[:2]))
    with (ENVIRONMENTS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == recipe:
            return python
        venv.create(folder, with_pip=True, clear=True)
        own = Path(_output(python, "import sysconfig; print(sysconfig.get_paths()['purelib'])"))
        (own / "base.pth").write_text("\n".join(filter(None, (base, reader.path))) + "\n")
        _pip(python, "--no-deps", "--ignore-installed", *reader.alone)
        if reader.whole:
            _pip(python, *reader.whole)
        if reader.built:
            _pip(python, "--no-deps", "--no-build-isolation", *reader.built)
        stamp.write_text(recipe, encoding="utf-8")
    return python


def _output(python: Path, program: str) -> str:
    return subprocess.run(
        [python, "-c", program], check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


def _pip(python: Path, *words: str) -> None:
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--retries", "1", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=800,
        env={**os.environ, "DS_BUILD_OPS": "0"},
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NotInstalledError(f"pip cannot install {words[-1]} here: {last[:160]}")
