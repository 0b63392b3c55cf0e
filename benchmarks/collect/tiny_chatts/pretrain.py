"""Pretrain tiny-chatts from random weights on synthetic questions about series.

    python3 benchmarks/collect/tiny_chatts/pretrain.py --steps 20 --output /tmp/tiny          # dry run
    python3 benchmarks/collect/tiny_chatts/pretrain.py --minutes 2.5 --output "$OUT/tiny-chatts"

Runs on CUDA where there is a GPU, else on the CPU. Writes the model (fp16), its tokenizer,
loss.json and loss.png to --output; --record also puts the two loss files beside this script.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import numpy as np
import torch
from rows import Store, batch_indices, made_rows, prompt_and_answer
from synthesis import sample
from transformers import PreTrainedTokenizerFast
from vocabulary import TS_END, TS_START, VOCAB_SIZE, save_tokenizer, trained_tokenizer

from tsplanner.training.chatts import ChatTSConfig, Qwen2TSForCausalLM

HERE = Path(__file__).resolve().parent
HELD_OUT_ROWS = 256
TOKENIZER_ROWS = 3000


def tiny_config(tokenizer: PreTrainedTokenizerFast) -> ChatTSConfig:
    """2.3 million parameters in the proportions of ChatTS-14B."""
    start, end = tokenizer.convert_tokens_to_ids([TS_START, TS_END])
    return ChatTSConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=192,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        max_window_layers=4,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=False,
        use_cache=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        ts_token_start_index=start,
        ts_token_end_index=end,
        ts={
            "patch_size": 8,
            "num_layers": 5,
            "hidden_size": 192,
            "num_features": 2,
            "embedding_dim": 16,
            "max_length": 16384,
            "max_sequence_length": 16384,
            "use_position_embedding": True,
            "use_position_idx": False,
            "use_layer_norm": False,
        },
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--minutes", type=float, default=2.5, help="time for the training steps")
    parser.add_argument("--steps", type=int, help="stop after so many steps (a dry run)")
    parser.add_argument("--rows", type=int, help="rows to make; more on a GPU than on a CPU")
    parser.add_argument("--batch", type=int, help="rows a step; more on a GPU than on a CPU")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--processes", type=int, default=min(16, os.cpu_count() or 1))
    parser.add_argument("--record", action="store_true", help="copy the loss files to this folder")
    return parser.parse_args()


def fill_in_sizes(args: argparse.Namespace, device: torch.device) -> None:
    on_gpu = device.type == "cuda"
    default_rows = 500_000 if on_gpu else 24_000
    if args.steps is not None:
        default_rows = 2048
    args.rows = args.rows or default_rows
    args.batch = args.batch or (512 if on_gpu else 32)


def rate_at(progress: float, peak: float) -> float:
    """Linear warm-up over the first 3 %, cosine to a twentieth of the peak."""
    if progress < 0.03:
        return peak * (progress + 1e-3) / 0.031
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def held_out_loss(model: Qwen2TSForCausalLM, store: Store) -> float:
    """Mean loss over the held-out batches, nats per answer token."""
    model.eval()
    with torch.no_grad():
        losses = [
            float(model(**store.batch(numbers)).loss)
            for numbers in np.array_split(np.argsort(store.lengths), 8)
        ]
    model.train()
    return float(np.mean(losses))


def train(
    model: Qwen2TSForCausalLM, store: Store, held_out: Store, args: argparse.Namespace
) -> dict[str, list[list[float]]]:
    """Train until the time or the steps are used up; [step, loss] pairs come back."""
    device = next(model.parameters()).device
    on_gpu = device.type == "cuda"
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.learning_rate, betas=(0.9, 0.98), weight_decay=0.05
    )
    random = np.random.default_rng(args.seed)
    epochs = (batch_indices(store.lengths, args.batch, random) for _ in itertools.count())
    curve: dict[str, list[list[float]]] = {"train": [], "held_out": []}
    started, pending = time.monotonic(), []
    next_eval = 0.0
    for step, numbers in enumerate(itertools.chain.from_iterable(epochs), start=1):
        elapsed = (time.monotonic() - started) / (60 * args.minutes)
        progress = step / args.steps if args.steps else elapsed
        for group in optimizer.param_groups:
            group["lr"] = rate_at(progress, args.learning_rate)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=on_gpu):
            loss = model(**store.batch(numbers)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        pending.append(loss.detach())
        if len(pending) == 10:
            # One read of the device for ten steps.
            curve["train"].append([step, round(float(torch.stack(pending).mean()), 4)])
            pending = []
        if progress >= next_eval or progress >= 1:
            curve["held_out"].append([step, round(held_out_loss(model, held_out), 4)])
            print(f"step {step}  held-out loss {curve['held_out'][-1][1]:.4f}", flush=True)
            next_eval += 0.1
        if progress >= 1:
            break
    return curve


def save_record(
    curve: dict[str, list[list[float]]], args: argparse.Namespace, seconds: float, device: str
) -> None:
    """loss.json with all that is needed to repeat the run, and loss.png if matplotlib is there."""
    settings = {k: v for k, v in vars(args).items() if k not in ("output", "record")}
    record = {
        "device": device,
        "seconds": round(seconds, 1),
        "torch": torch.__version__,
        "arguments": settings,
        "steps": curve["held_out"][-1][0],
        "held_out_loss": curve["held_out"][-1][1],
        "curve": curve,
    }
    (args.output / "loss.json").write_text(json.dumps(record) + "\n")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, style in (("train", "-"), ("held_out", "o-")):
        points = np.array(curve[name] or [[0, math.nan]])
        axes.plot(points[:, 0], points[:, 1], style, markersize=3, label=name.replace("_", "-"))
    axes.set(xlabel="step", ylabel="loss, nats per answer token", title=f"tiny-chatts on {device}")
    axes.legend()
    figure.savefig(args.output / "loss.png", dpi=110)


def main() -> None:
    args = arguments()
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device_name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    fill_in_sizes(args, device)
    started = time.monotonic()
    random = np.random.default_rng([args.seed, 1])
    samples = [sample(random) for _ in range(TOKENIZER_ROWS)]
    texts = ["".join(prompt_and_answer(made)) for made in samples]
    save_tokenizer(trained_tokenizer(texts), args.output)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.output)
    rows = made_rows(args.output, seed=args.seed, rows=args.rows, processes=args.processes)
    held_out = made_rows(args.output, seed=args.seed + 1, rows=HELD_OUT_ROWS, processes=1)
    store = Store(rows, device)
    print(
        f"{args.rows} rows in {time.monotonic() - started:.1f} s, {len(tokenizer)} tokens, "
        f"mean length {store.lengths.mean():.0f}, longest {store.lengths.max()}",
        flush=True,
    )
    model = Qwen2TSForCausalLM(tiny_config(tokenizer)).to(device)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters on {device_name}", flush=True)
    began = time.monotonic()
    curve = train(model, store, Store(held_out, device), args)
    model.to(torch.float16).save_pretrained(args.output)
    save_record(curve, args, time.monotonic() - began, device_name)
    if args.record:
        for name in ("loss.json", "loss.png"):
            if (args.output / name).is_file():
                shutil.copyfile(args.output / name, HERE / name)


if __name__ == "__main__":
    main()
