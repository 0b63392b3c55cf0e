"""The native ChatTS model: names, losses, adapters."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

from tests.support.tiny_chatts import CONFIGS, IDS, LABELS, MASK, SERIES, SHAPE, TS, model  # noqa: E402
from tsplanner.training import chatts  # noqa: E402
from tsplanner.training.batches import longest_batch, series_tensor  # noqa: E402


def test_padding_rows_and_columns_do_not_change_the_loss():
    """A longer pad and a longer neighbour leave a row's loss as it was alone."""
    net = model("chatts")
    alone = net(
        input_ids=IDS[:1, :7], labels=LABELS[:1, :7], timeseries=series_tensor(SERIES[:1])
    ).loss
    padded = net(
        input_ids=IDS[:1],
        attention_mask=MASK[:1],
        labels=LABELS[:1],
        timeseries=series_tensor([SERIES[0], [0.0] * 40])[:1],
    ).loss
    neighbour = LABELS.clone()
    neighbour[1] = -100
    beside = net(
        input_ids=IDS, attention_mask=MASK, labels=neighbour, timeseries=series_tensor(SERIES)
    ).loss

    torch.testing.assert_close(padded, alone)
    torch.testing.assert_close(beside, alone)


@pytest.mark.parametrize("model_type", CONFIGS)
def test_split_forward_gives_the_same_loss(model_type):
    """Hidden states, head and loss apart are the same as together: a fused loss may step in."""
    net = model(model_type)
    batch = {
        "input_ids": IDS,
        "attention_mask": MASK,
        "labels": LABELS,
        "timeseries": series_tensor(SERIES),
    }

    hidden, labels = net.merged_hidden_states(**batch)
    loss = net.loss_function(logits=net.lm_head(hidden), labels=labels, vocab_size=64)

    torch.testing.assert_close(loss, net(**batch).loss)


def test_batch_without_series_is_plain_qwen():
    """Text alone takes the decoder's own way."""
    net = model("chatts")
    ids = torch.tensor([[5, 6, 7, 8]])

    hidden = net.model(input_ids=ids, use_cache=False).last_hidden_state

    torch.testing.assert_close(net(input_ids=ids).logits, net.lm_head(hidden))


ENCODER_NAMES = [
    "ts_encoder.mlp.0.bias",
    "ts_encoder.mlp.0.weight",
    "ts_encoder.mlp.2.bias",
    "ts_encoder.mlp.2.weight",
    "ts_encoder.mlp.4.bias",
    "ts_encoder.mlp.4.weight",
    "ts_encoder.mlp.6.bias",
    "ts_encoder.mlp.6.weight",
    "ts_encoder.mlp.8.bias",
    "ts_encoder.mlp.8.weight",
    "ts_encoder.position_embedding.weight",
]

BLOCK_NAMES = [
    "input_layernorm.weight",
    "mlp.down_proj.weight",
    "mlp.gate_proj.weight",
    "mlp.up_proj.weight",
    "post_attention_layernorm.weight",
    "self_attn.k_norm.weight",
    "self_attn.k_proj.weight",
    "self_attn.o_proj.weight",
    "self_attn.q_norm.weight",
    "self_attn.q_proj.weight",
    "self_attn.v_proj.weight",
]


def test_parameters_carry_the_names_of_the_published_8b_index():
    """The index of a published 8B checkpoint lists exactly these names, 36 blocks of them."""
    config = chatts.Qwen3TSConfig(**SHAPE, head_dim=8, ts=TS | {"num_layers": 5})
    with torch.device("meta"):
        names = set(AutoModelForCausalLM.from_config(config).state_dict())

    blocks = {f"model.layers.{layer}.{name}" for layer in range(2) for name in BLOCK_NAMES}
    outside = {"lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"}
    assert names == blocks | outside | set(ENCODER_NAMES)


def test_qwen3ts_of_8b_shape_has_the_published_number_of_parameters():
    """8,258,946,064 parameters, as the published index says."""
    config = chatts.Qwen3TSConfig(
        hidden_size=4096,
        intermediate_size=12288,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=151936,
        tie_word_embeddings=False,
        ts_token_start_index=151669,
        ts_token_end_index=151670,
        ts={
            "patch_size": 8,
            "num_layers": 5,
            "hidden_size": 4096,
            "embedding_dim": 16,
            "max_sequence_length": 32768,
            "use_position_embedding": True,
        },
    )
    with torch.device("meta"):
        net = AutoModelForCausalLM.from_config(config)

    assert sum(p.numel() for p in net.parameters()) == 8_258_946_064


@pytest.mark.parametrize("model_type", CONFIGS)
def test_saved_model_comes_back_through_the_auto_classes(model_type, tmp_path):
    """Save and load give the same class and the same loss."""
    net = model(model_type)
    batch = longest_batch(net.config, micro_batch_size=2, sequence_length=24)

    net.save_pretrained(tmp_path)
    back = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)

    assert AutoConfig.from_pretrained(tmp_path).ts == net.config.ts
    assert type(back) is type(net)
    torch.testing.assert_close(back(**batch).loss, net(**batch).loss)


@pytest.mark.parametrize("use_dora", [False, True])
def test_lora_reaches_the_encoder_and_trains_through_checkpointing(use_dora):
    """Adapters on all linears, encoder included, get gradients with recomputed blocks."""
    peft = pytest.importorskip("peft")
    net = model("chatts").train()
    net.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    settings = peft.LoraConfig(
        r=2, target_modules="all-linear", task_type="CAUSAL_LM", use_dora=use_dora
    )
    adapted = peft.get_peft_model(net, settings)
    batch = longest_batch(net.config, micro_batch_size=2, sequence_length=24)

    adapted(**batch).loss.backward()

    trained = {n: p for n, p in adapted.named_parameters() if p.requires_grad}
    assert any("ts_encoder.mlp.4.lora_B" in name for name in trained)
    assert all(p.grad is not None for p in trained.values())


def test_answer_is_generated_from_merged_inputs():
    """Generation starts from the merged batch."""
    net = model("chatts")
    merged = net.merged_inputs(IDS[1:], MASK[1:], series_tensor(SERIES[1:]))

    answer = net.generate(
        inputs_embeds=merged.inputs_embeds,
        attention_mask=merged.attention_mask,
        max_new_tokens=3,
        do_sample=False,
    )

    assert answer.shape == (1, 3)
