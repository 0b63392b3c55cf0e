"""What strangers send: folders and names that would do something, if they could.

What they would do is harmless: an empty file appears.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

from tests.support import tiny

CODE = """
from pathlib import Path
Path({marker!r}).touch()
from transformers import Qwen2Config as StrangeConfig, Qwen2ForCausalLM as StrangeModel
from transformers import PreTrainedTokenizerFast as StrangeTokenizer
"""
AUTO_MAP = {
    "AutoConfig": "strange.StrangeConfig",
    "AutoModelForCausalLM": "strange.StrangeModel",
}


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def strange_model(folder: Path, marker: Path) -> Path:
    """The tiny model with weights, with code beside them and pickles of every usual name."""
    from transformers import AutoConfig, AutoModelForCausalLM

    tiny.write_model(folder)
    config = AutoConfig.for_model(**tiny.CONFIG)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    _change(folder / "config.json", auto_map=AUTO_MAP)
    names = {"AutoTokenizer": [None, "strange.StrangeTokenizer"]}
    _change(folder / "tokenizer_config.json", auto_map=names)
    (folder / "strange.py").write_text(CODE.format(marker=str(marker)))
    write_pickles(folder, marker)
    return folder


def write_pickles(folder: Path, marker: Path) -> None:
    """Pickles under the names that training libraries know."""
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt"):
        write_pickle(folder / name, marker)


def write_pickle(path: Path, marker: Path) -> None:
    """A pickle that makes a file when it is read as one."""
    path.write_bytes(pickle.dumps(Touch(marker)))


def _change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def shell_words(marker: Path) -> list[str]:
    """Names that a shell, a template or a page might take for more than a name."""
    return [
        f"$(touch {marker})",
        f"`touch {marker}`",
        f"a; touch {marker} #",
        f"a\ntouch {marker}\n",
        f"a\n#SBATCH --wrap=touch {marker}",
        "a\x1b]0;title\x07\x1b[2J\x9b",
        "\u202egnp.exe",
        "<script>alert(1)</script><img src=x onerror=alert(1)>",
        "[click](javascript:alert(1))",
        "{{ 7*7 }} {% raw %} ${HOME} %(x)s {name}",
        "a: b\n- c: &a [*a]",
        "' \" \\ | > & * ? ~ !",
        "训练 é ✔",
    ]


def alias_bomb(levels: int) -> str:
    """YAML of a line a level whose last value would take ten to the power of ``levels`` words."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    for level in range(1, levels):
        parts = ",".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{parts}]")
    return "\n".join([*lines, f"gpus: *a{levels - 1}", ""])
