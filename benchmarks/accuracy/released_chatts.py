"""Does the released ChatTS code compute what ours does, from the same files?

    python benchmarks/accuracy/released_chatts.py save FOLDER chatts
    OTHER_PYTHON benchmarks/accuracy/released_chatts.py compare FOLDER --code RELEASED_FOLDER

``save`` writes a small random checkpoint of our own model, an adapter with values in every matrix,
a batch of two rows and three series, and our logits and loss, with the adapter and without.
``compare`` runs under the released code's own versions (transformers 4.52, peft 0.15): it copies
the released Python files beside the checkpoint, loads both with no missing and no unexpected key,
and prints the largest differences. It runs that code, so it is never called by the tests; the
files are published with the checkpoints and are not part of this repository.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

KEYS = ("missing_keys", "unexpected_keys", "mismatched_keys")
TOLERANCE = 2e-4
SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 90,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "ts_token_start_index": 80,
    "ts_token_end_index": 81,
    "tie_word_embeddings": False,
    "use_cache": False,
    "ignore_index": -100,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
}
TS = {
    "patch_size": 8,
    "num_layers": 5,
    "hidden_size": 64,
    "num_features": 2,
    "embedding_dim": 16,
    "max_length": 1024,
    "max_sequence_length": 1024,
    "use_position_embedding": True,
    "use_position_idx": False,
    "use_layer_norm": False,
}
RELEASED = {
    "chatts": ("configuration_qwen2.Qwen2TSConfig", "modeling_qwen2.Qwen2TSForCausalLM"),
    "qwen3ts": ("configuration_qwen3_ts.Qwen3TSConfig", "modeling_qwen3_ts.Qwen3TSForCausalLM"),
}


def batch() -> dict[str, torch.Tensor]:
    """Two rows of unlike length, padded on the right; series of 20, 3 and 64 points."""
    from tsplanner.training.batches import series_tensor

    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(5, 79, (2, 24), generator=generator)
    ids[0, 3:5] = ids[1, 0:2] = ids[1, 10:12] = torch.tensor([80, 81])
    mask = torch.ones_like(ids)
    ids[0, 18:], mask[0, 18:] = 0, 0
    labels = ids.masked_fill((mask == 0) | (ids >= 80), -100)
    series = [torch.randn(n, generator=generator).clamp(-3, 3).tolist() for n in (20, 3, 64)]
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "timeseries": series_tensor(series),
    }


def outputs(model: Any, rows: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Logits [B, S, V] where text or patches stand, and the loss."""
    model.eval()
    with torch.no_grad():
        found = model(**rows)
    widths = (rows["attention_mask"].sum(1) + torch.tensor([3 - 2, 1 + 8 - 4])).tolist()
    kept = [found.logits[row, :width].float() for row, width in enumerate(widths)]
    return {"logits": torch.cat(kept), "loss": found.loss.float().reshape(1)}


def save(folder: Path, kind: str) -> None:
    """Our side."""
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import save_file

    from tsplanner.training import chatts

    torch.manual_seed(0)
    config, model_class = {
        "chatts": (chatts.ChatTSConfig(**SHAPE, ts=TS), chatts.Qwen2TSForCausalLM),
        "qwen3ts": (chatts.Qwen3TSConfig(**SHAPE, head_dim=16, ts=TS), chatts.Qwen3TSForCausalLM),
    }[kind]
    model: Any = model_class(config)
    model.save_pretrained(folder / "model")
    released = {**SHAPE, "ts": TS, "architectures": [model_class.__name__], "model_type": kind}
    released |= {"head_dim": 16} if kind == "qwen3ts" else {}
    names = dict(zip(("AutoConfig", "AutoModelForCausalLM"), RELEASED[kind], strict=True))
    (folder / "model" / "config.json").write_text(json.dumps({**released, "auto_map": names}))
    rows = batch()
    found = {f"plain.{key}": value for key, value in outputs(model, rows).items()}
    targets = ["q_proj", "k_proj", "v_proj", *(f"ts_encoder.mlp.{2 * i}" for i in range(5))]
    adapted: Any = get_peft_model(model, LoraConfig(r=4, target_modules=targets))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    found |= {f"adapted.{key}": value for key, value in outputs(adapted, rows).items()}
    adapted.save_pretrained(folder / "adapter")
    save_file(
        {key: value.contiguous() for key, value in rows.items()}, folder / "batch.safetensors"
    )
    save_file(found, folder / "ours.safetensors")
    print(f"wrote {folder}: {sum(p.numel() for p in model.parameters())} parameters")


def compare(folder: Path, code: Path) -> int:
    """The released side."""
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    for file in code.glob("*.py"):
        shutil.copy(file, folder / "model" / file.name)
    model, info = AutoModelForCausalLM.from_pretrained(
        folder / "model", trust_remote_code=True, output_loading_info=True, torch_dtype="float32"
    )
    print(type(model).__module__, {key: info[key] for key in KEYS})
    rows, ours = load_file(folder / "batch.safetensors"), load_file(folder / "ours.safetensors")
    theirs = {f"plain.{key}": value for key, value in outputs(model, rows).items()}
    adapted = PeftModel.from_pretrained(model, folder / "adapter")
    theirs |= {f"adapted.{key}": value for key, value in outputs(adapted, rows).items()}
    worst = 0.0
    for key, value in ours.items():
        difference = float((theirs[key] - value).abs().max())
        worst = max(worst, difference)
        print(f"{key:16s} {tuple(value.shape)!s:12s} largest difference {difference:.1e}")
    strict = not any(info[key] for key in KEYS)
    print("same" if strict and worst < TOLERANCE else "DIFFERS")
    return 0 if strict and worst < TOLERANCE else 1


def main() -> int:
    """Save or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("save")
    one.add_argument("folder", type=Path)
    one.add_argument("kind", choices=sorted(RELEASED))
    other = verbs.add_parser("compare")
    other.add_argument("folder", type=Path)
    other.add_argument("--code", type=Path, required=True, help="runs the Python files in there")
    options = parser.parse_args()
    if options.verb == "save":
        options.folder.mkdir(parents=True, exist_ok=True)
        save(options.folder, options.kind)
        return 0
    return compare(options.folder, options.code)


if __name__ == "__main__":
    sys.exit(main())
