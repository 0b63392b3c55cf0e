"""Facts that need an import of the training libraries: one JSON line per library on stdout.

``tsplanner doctor`` runs this module in a separate process, because a library may fail to import,
abort the process or start CUDA. Each line has the library in ``asked`` and either facts or an
``error``. A library that ends the process has no line, and neither have the libraries after it.
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
    """Version of torch, its CUDA build and the architectures of its kernels."""
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
    """Version of bitsandbytes and name of the native library that it loaded."""
    import bitsandbytes
    from bitsandbytes import cextension

    library = getattr(cextension, "lib", None)
    if type(library).__name__.startswith("ErrorHandler"):
        # The import succeeds (bitsandbytes/cextension.py), but every call then raises an error.
        return {"error": "its native library does not load"}
    path = getattr(getattr(library, "_lib", None), "_name", None)
    name = os.path.basename(path) if isinstance(path, str) else None
    return {"version": bitsandbytes.__version__, "library": name}


def flash_attn_report() -> dict[str, Any]:
    """Version of flash-attn, whose native module is imported too."""
    module = importlib.import_module("flash_attn")
    importlib.import_module("flash_attn.flash_attn_interface")
    return {"version": getattr(module, "__version__", None)}


def triton_report() -> dict[str, Any]:
    """Version of Triton, the compiler of fused kernels."""
    module = importlib.import_module("triton")
    return {"version": getattr(module, "__version__", None)}


REPORTS: dict[str, Callable[[], dict[str, Any]]] = {
    "torch": torch_report,
    "bitsandbytes": bitsandbytes_report,
    "flash_attn": flash_attn_report,
    "triton": triton_report,
}


def report(name: str) -> dict[str, Any] | None:
    """The facts or the error of one library; None if the library is not installed."""
    if importlib.util.find_spec(name) is None:
        return None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return REPORTS[name]()
    except (Exception, SystemExit) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        return {"error": text[:300]}


def main(arguments: list[str]) -> int:
    """Report on the named libraries, or on all; output of the imports goes to stderr."""
    for name in arguments or list(REPORTS):
        answer = report(name)
        if answer is not None:
            sys.stdout.write(json.dumps({"asked": name, **answer}) + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
