"""A few words for every setting that a flag sets, the same in each verb's help."""

from __future__ import annotations

SETTINGS: dict[str, str] = {
    "finetuning_type": "method of training",
    "lora_rank": "rank of the adapters",
    "lora_dropout": "share of the adapters' inputs that is dropped, 0 to 1",
    "lora_target": "module names joined by commas, or all-linear",
    "modules_to_save": "embed_tokens, lm_head or both: whole copies are trained",
    "rank_pattern": "ranks of single targets, such as q_proj=16,v_proj=4",
    "adalora_init_rank": "rank that AdaLoRA starts from",
    "freeze_trainable_layers": "last decoder layers that freeze trains",
    "model_dtype": "precision of the weights",
    "autocast": "precision of the arithmetic",
    "quantization": "how the frozen base is rounded",
    "upcast_unquantized": "embeddings, head and norms of a quantised base in fp32",
    "attention": "attention kernel",
    "loss_kernel": "all logits at once (plain), or in chunks",
    "optimizer": "by its Hugging Face name",
    "decoder_kernels": "kernels of norms, gated products and adapters",
    "expandable_segments": "PyTorch's allocator grows its segments",
    "world_size": "GPUs to use, one process each",
    "zero_stage": "DeepSpeed ZeRO: 0 shares nothing, 3 shares the weights, too",
    "offload_optimizer": "optimizer states in host RAM",
    "offload_param": "weights in host RAM",
    "streamed_layers": "decoder layers in host RAM, which pass through the GPU one by one",
    "host_checkpoints": "inputs of streamed layers wait for backward in host RAM",
    "deepspeed": "your own ds_config.json",
    "micro_batch_size": "samples of one forward pass per GPU",
    "token_budget": "lay rows end to end, up to N positions a pass, instead of padding them",
    "gradient_accumulation_steps": "micro-batches of one optimizer step",
    "gradient_checkpointing": "compute activations again instead of keeping them",
    "checkpointed_layers": "checkpoint only the first N layers",
    "sequence_length": "tokens of a sample",
    "row_length": "mean length of the rows of a packed pass, over its tokens",
    "series_patches": "time-series patches of a sample",
}
"""By the name of the field that a flag sets."""
