"""What only the training libraries can say about themselves: one JSON line a library on stdout.

``tsplanner doctor`` runs this in a process of its own, so that a library that cannot be imported,
aborts or starts CUDA harms nobody. Each line says what was ``asked`` and either what it found or
``error``; a library that takes the process with it has no line, nor have those after it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from typing import Any


def torch_report() -> dict[str, Any]:
    """Version, CUDA build and what it was built for."""
    import torch

    cuda = torch.version.cuda
    return {
        "version": torch.__version__,
        "cuda": cuda,
        "architectures": torch.cuda.get_arch_list() if cuda else [],
        "cuda_available": torch.cuda.is_available(),
        "claims_bf16": torch.cuda.is_bf16_supported() if torch.cuda.is_available() else None,
    }


def bitsandbytes_report() -> dict[str, Any]:
    """Version and the native library it loaded."""
    import bitsandbytes
    from bitsandbytes import cextension

    library = getattr(cextension, "lib", None)
    if type(library).__name__.startswith("ErrorHandler"):
        # The package imports, and every call into it raises.
        return {"error": "its native library does not load"}
    path = getattr(getattr(library, "_lib", None), "_name", None)
    name = os.path.basename(path) if isinstance(path, str) else None
    return {"version": bitsandbytes.__version__, "library": name}


def flash_attn_report() -> dict[str, Any]:
    """Version, where the package can be imported."""
    module = importlib.import_module("flash_attn")
    importlib.import_module("flash_attn.flash_attn_interface")
    return {"version": getattr(module, "__version__", None)}


def triton_report() -> dict[str, Any]:
    """Version of the compiler that fused kernels need."""
    module = importlib.import_module("triton")
    return {"version": getattr(module, "__version__", None)}


REPORTS: dict[str, Callable[[], dict[str, Any]]] = {
    "torch": torch_report,
    "bitsandbytes": bitsandbytes_report,
    "flash_attn": flash_attn_report,
    "triton": triton_report,
}


def report(name: str) -> dict[str, Any] | None:
    """Answer of one library; None for one that is not installed."""
    if importlib.util.find_spec(name) is None:
        return None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return REPORTS[name]()
    except (Exception, SystemExit) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        return {"error": text[:300]}


def main(arguments: list[str]) -> int:
    """Report on the libraries named, or on all. What the imports print goes to stderr."""
    for name in arguments or list(REPORTS):
        answer = report(name)
        if answer is not None:
            sys.stdout.write(json.dumps({"asked": name, **answer}) + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
