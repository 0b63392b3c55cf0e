"""Random training configurations for measuring, spread over every key of ``tsplanner estimate``.

    python benchmarks/collect/random_cases.py --seed 1 --count 170 --shapes 12 --output NAME

Writes benchmarks/data/cases/NAME.jsonl and the invented model shapes it uses, as config.json files in
benchmarks/data/cases/shapes/. Half of the cases take a preset of configs/models, half a shape that no
published model has, of the same families: constants fitted on the one kind are judged on the other.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from memory_models.estimate import estimate_memory
from memory_models.states.weights import total_parameters
from memory_models.units import GIB
from tsplanner.models.source import preset_names
from tsplanner.planner.gather.cases import read_case

FOLDER = Path(__file__).parents[1] / "data" / "cases"
TOO_LARGE = ("llama-3.1-70b", "qwen2.5-72b", "mixtral-8x7b", "tiny-chatts")
MOST_BYTES = 120 * GIB
USUAL_BYTES = 40 * GIB
MOST_WORK = 1.6e14
"""Parameters times tokens of an optimizer step: some seconds on one H200."""
PLAIN = {
    "llama": {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
    "mistral": {"model_type": "mistral", "architectures": ["MistralForCausalLM"]},
    "qwen2": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]},
    "qwen3": {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]},
    "gemma2": {"model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"]},
    "gemma3_text": {"model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"]},
    "phi3": {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"]},
    "opt": {"model_type": "opt", "architectures": ["OPTForCausalLM"]},
    "gpt_neox": {"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"]},
    "mixtral": {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]},
    "qwen3_moe": {"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"]},
}


def shape(dice: random.Random, family: str) -> dict[str, Any]:
    """A config.json of a model that nobody published, 0.05B to 8B parameters."""
    size = dice.choice((64, 128)) if family not in ("opt", "gpt_neox") else dice.choice((64, 80))
    groups = dice.choice((1, 2, 4, 8))
    heads = groups * dice.choice((2, 3, 4, 6)) if groups < 8 else groups * dice.choice((2, 3, 4))
    hidden = heads * size
    if family in ("qwen3", "gemma3_text", "gemma2"):
        hidden = 128 * dice.randint(6, 28)
    middle = 128 * round(hidden * dice.choice((2.0, 2.67, 3.5, 4.0, 5.3)) / 128)
    layers = max(4, min(44, round(dice.uniform(3e8, 3e9) / (12 * hidden**2))))
    config: dict[str, Any] = {
        **PLAIN[family],
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "vocab_size": 64 * dice.randint(400, 4000) + dice.choice((0, 0, 8, 24)),
        "max_position_embeddings": 16384,
        "tie_word_embeddings": dice.random() < 0.5,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    if family == "opt":
        return {
            **config,
            "ffn_dim": middle,
            "word_embed_proj_dim": hidden,
            "max_position_embeddings": 4096,
            "do_layer_norm_before": True,
            "dropout": dice.choice((0.0, 0.1)),
            "activation_function": "relu",
        }
    config["intermediate_size"] = middle
    if family == "gpt_neox":
        return {**config, "hidden_act": "gelu", "rotary_pct": 0.25, "use_parallel_residual": True}
    config |= {"num_key_value_heads": groups, "head_dim": size, "rms_norm_eps": 1e-6}
    config["hidden_act"] = "silu"
    if family in ("gemma2", "gemma3_text"):
        config |= {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": size}
        config |= {"sliding_window": 4096, "tie_word_embeddings": True}
        if family == "gemma2":
            config |= {"final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0}
    if family in ("mixtral", "qwen3_moe"):
        experts = dice.choice((4, 8, 16))
        config |= {"num_experts_per_tok": 2, "num_hidden_layers": max(4, layers // 4)}
        if family == "mixtral":
            config |= {"num_local_experts": experts, "intermediate_size": middle // 2}
        else:
            config |= {"num_experts": experts, "moe_intermediate_size": 128 * (middle // 512)}
            config |= {"norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []}
    return config


def draw(dice: random.Random, model: str) -> dict[str, Any]:
    """One configuration of a model; may be impossible or too large."""
    case: dict[str, Any] = {"model": model}
    method = dice.choices(
        ("lora", "full", "dora", "adalora", "rslora", "freeze"), (52, 22, 7, 7, 5, 7)
    )[0]
    case["finetuning_type"] = method
    case["sequence_length"] = dice.choice(
        (256, 384, 512, 700, 1024, 1024, 1500, 2048, 2048, 3000, 4096, 4096, 6000, 8192, 16384)
    )
    case["micro_batch_size"] = dice.choice((1, 1, 1, 2, 2, 3, 4, 4, 6, 8))
    case["gradient_accumulation_steps"] = dice.choice((1, 1, 1, 2, 4))
    case["gradient_checkpointing"] = dice.random() < 0.6
    case["loss_kernel"] = dice.choice(("plain", "plain", "fused"))
    precision = dice.choices(
        (("bf16", "bf16"), ("fp16", "fp16"), ("bf16", None), ("fp32", "bf16"), ("fp32", None)),
        (68, 6, 8, 10, 8),
    )[0]
    case["model_dtype"], case["autocast"] = precision
    if method == "full" and precision[0] == "fp16":
        case["model_dtype"] = "fp32"
    if dice.random() < 0.08:
        case["attention"] = "eager"
    if method in ("full", "freeze"):
        case["optimizer"] = dice.choices(
            (
                "adamw_torch_fused",
                "adamw_torch",
                "adafactor",
                "sgd",
                "adamw_bnb_8bit",
                "paged_adamw_8bit",
                "paged_adamw_32bit",
            ),
            (38, 16, 14, 10, 8, 7, 7),
        )[0]
        if method == "freeze":
            case["freeze_trainable_layers"] = dice.choice((1, 2, 4))
    else:
        case["lora_rank"] = dice.choice((4, 8, 8, 16, 32, 64, 128, 256))
        targets = (["q_proj", "k_proj", "v_proj"], ["q_proj", "v_proj"])
        case["lora_target"] = dice.choice(("all-linear", "all-linear", "all-linear", *targets))
        if dice.random() < 0.15:
            case["lora_dropout"] = 0.05
        if method != "adalora" and precision[0] != "fp32" and dice.random() < 0.22:
            case["quantization"] = dice.choice(("nf4-dq", "nf4-dq", "nf4", "int8"))
        case["optimizer"] = dice.choice(("adamw_torch_fused", "adamw_torch_fused", "adamw_torch"))
    return case


def fits(dice: random.Random, case: dict[str, Any]) -> bool:
    """Possible, small enough to measure, and mostly small enough to measure several at once."""
    try:
        found = read_case(case, {})
        most = estimate_memory(found.architecture, found.settings).process_bytes.upper
    except Exception:
        return False
    tokens = case["micro_batch_size"] * case["sequence_length"]
    work = total_parameters(found.architecture) * tokens * case["gradient_accumulation_steps"]
    return work < MOST_WORK and most < (MOST_BYTES if dice.random() < 0.1 else USUAL_BYTES)


def adapted(case: dict[str, Any]) -> dict[str, Any]:
    """Targets by the names that the family's linears have."""
    found = read_case({"model": case["model"]}, {}).architecture
    names = {linear.name for linear in found.layer.linears}
    targets = case.get("lora_target")
    if isinstance(targets, list) and not set(targets) <= names:
        case["lora_target"] = [next(iter(sorted(n for n in names if "qkv" in n or "query" in n)))]
    if found.mlp.num_experts_per_tok and targets == "all-linear":
        case["lora_target"] = ["q_proj", "k_proj", "v_proj", "o_proj"]
    return case


def main() -> None:
    """Write the cases and the shapes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=170)
    parser.add_argument("--shapes", type=int, default=12)
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    (FOLDER / "shapes").mkdir(exist_ok=True)
    families, invented = list(PLAIN), []
    for index in range(options.shapes):
        family = families[index % len(families)]
        path = FOLDER / "shapes" / f"{options.output}-{index}-{family}.json"
        path.write_text(json.dumps(shape(dice, family), indent=1) + "\n")
        invented.append(str(path.relative_to(Path.cwd())))
    presets = [name for name in preset_names() if name not in TOO_LARGE]
    cases: list[dict[str, Any]] = []
    while len(cases) < options.count:
        pool = presets if len(cases) % 2 else invented
        case = adapted(draw(dice, dice.choice(pool)))
        if fits(dice, case):
            cases.append(case)
    path = FOLDER / f"{options.output}.jsonl"
    path.write_text("".join(json.dumps(case) + "\n" for case in cases))
    print(f"{len(cases)} cases, {len({case['model'] for case in cases})} models: {path}")


if __name__ == "__main__":
    main()
