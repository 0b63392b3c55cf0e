"""The native ChatTS model: names, merging, losses, adapters."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

from tsplanner.training import chatts  # noqa: E402
from tsplanner.training.batches import longest_batch, series_tensor  # noqa: E402

START, END, PAD = 60, 61, 0
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "max_position_embeddings": 256,
    "pad_token_id": PAD,
    "ts_token_start_index": START,
    "ts_token_end_index": END,
    "use_cache": False,
}
TS = {
    "patch_size": 4,
    "num_layers": 3,
    "hidden_size": 32,
    "num_features": 2,
    "embedding_dim": 5,
    "max_sequence_length": 64,
    "use_position_embedding": True,
}
CONFIGS = {
    "chatts": lambda **ts: chatts.ChatTSConfig(**SHAPE, ts=TS | ts),
    "qwen3ts": lambda **ts: chatts.Qwen3TSConfig(**SHAPE, head_dim=8, ts=TS | ts),
}

# Two rows: one series of 6 points (2 patches) in the first, of 9 and 1 (3 + 1) in the second.
IDS = torch.tensor(
    [
        [5, 6, START, END, 7, 8, 9, PAD, PAD],
        [START, END, 10, 11, START, END, 12, 13, 14],
    ]
)
MASK = (IDS != PAD).long()
LABELS = torch.tensor(
    [
        [-100, -100, -100, -100, 7, 8, 9, -100, -100],
        [-100, -100, -100, -100, -100, -100, 12, 13, 14],
    ]
)
SERIES = [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [-1.0, 2.0, 0.5] * 3, [3.0]]


@pytest.fixture(autouse=True)
def seed_and_register():
    """Make weights repeatable and the classes known."""
    torch.manual_seed(0)
    chatts.register()


def model(model_type: str, **ts: object) -> torch.nn.Module:
    """Build a small model of random weights."""
    return AutoModelForCausalLM.from_config(CONFIGS[model_type](**ts)).eval()


def patches_by_hand(encoder: torch.nn.Module, values: list[float]) -> torch.Tensor:
    """Patch by patch in plain Python, for one series."""
    rows = []
    for first in range(0, len(values), 4):
        chunk = values[first : first + 4]
        places = [first + i if i < len(chunk) else 64 for i in range(4)]
        chunk = chunk + [values[-1]] * (4 - len(chunk))
        located = encoder.position_embedding.weight[places].flatten()
        rows.append(encoder.mlp(torch.cat([torch.tensor(chunk), located])))
    return torch.stack(rows)


@pytest.mark.parametrize("model_type", CONFIGS)
def test_merging_puts_the_patches_of_each_series_where_its_marks_stood(model_type):
    """The vectorised merge equals a row-by-row one written from the description."""
    net = model(model_type)
    words = net.get_input_embeddings()

    with torch.no_grad():
        merged = net.merged_inputs(IDS, MASK, series_tensor(SERIES), LABELS)
        first, second, third = (patches_by_hand(net.ts_encoder, values) for values in SERIES)
        row_one = torch.cat([words(IDS[0, :2]), first, words(IDS[0, 4:])])
        row_two = torch.cat([second, words(IDS[1, 2:4]), third, words(IDS[1, 6:])])

    assert merged.inputs_embeds.shape == (2, 9, 32)
    torch.testing.assert_close(merged.inputs_embeds[0], row_one)
    torch.testing.assert_close(merged.inputs_embeds[1], row_two)
    assert merged.attention_mask.tolist() == [[1] * 7 + [0, 0], [1] * 9]
    assert merged.labels.tolist() == [
        [-100] * 4 + [7, 8, 9, -100, -100],
        [-100] * 6 + [12, 13, 14],
    ]


def test_merged_length_is_the_text_and_the_most_patches_of_a_row():
    """T + max over rows of sum(P - 2): 9 tokens, and a row whose series has 16 patches."""
    net = model("chatts")
    series = [[0.5] * 64, [0.5] * 4, [0.5] * 4]

    merged = net.merged_inputs(IDS, MASK, series_tensor(series))

    assert merged.inputs_embeds.shape[1] == 9 + 14


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


def test_series_that_do_not_match_the_marks_are_refused():
    """A series too few would shift every later one."""
    with pytest.raises(ValueError, match="3 <ts> and 3 <ts/> tokens for 2 series"):
        model("chatts")(input_ids=IDS, attention_mask=MASK, timeseries=series_tensor(SERIES[:2]))


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


@pytest.mark.parametrize(
    ("ts", "width"),
    [
        ({"use_position_embedding": False}, 4),
        ({"use_position_embedding": False, "use_position_idx": True}, 8),
        ({"use_layer_norm": True}, 24),
    ],
)
def test_older_and_newer_encoders_are_built_from_their_config(ts, width):
    """No position, a position number, a position embedding: the input is 4, 8 or 24 wide."""
    net = model("chatts", **ts)

    assert net.ts_encoder.mlp[0].in_features == width
    assert net(input_ids=IDS, timeseries=series_tensor(SERIES)).logits.shape == (2, 9, 64)


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


def test_random_encoder_passes_signals_of_the_size_of_words():
    """Freshly built, patches are not drowned: their spread is at least that of word embeddings."""
    net = model("chatts")

    patches, _ = net.ts_encoder(series_tensor(SERIES), torch.float32)

    assert patches.std() > net.get_input_embeddings().weight.std()


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
