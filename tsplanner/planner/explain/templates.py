"""The templates of the planner's sentences, in English and in Chinese.

A table holds both languages of an enum side by side, so that a new member without words, or with
words in one language alone, is found by a test. Names in braces are filled from the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from tsplanner.planner.explain.multi_lora_templates import OBSTACLES, TRIALS_ALONE, Words
from tsplanner.planner.explain.reasons import (
    AdviceRule,
    AloneReason,
    ChangeKind,
    LinkBasis,
    MemoryKind,
    NoPlan,
    Obstacle,
    Reason,
    RemarkKind,
    RuleName,
    StreamSource,
)
from tsplanner.planner.explain.remark_templates import REMARKS, ROUNDED_PARTS
from tsplanner.throughput.step_parts import Bottleneck

REASONS: dict[Reason, Words] = {
    Reason.CHOSEN: ("chosen", "已选用"),
    Reason.TIGHT: ("tight: the 95 % bound is over {memory}", "偏紧：95 % 上界超过{memory}"),
    Reason.TIGHT_AS_MEASURED: (
        "tight: ran, but hardly within the free memory",
        "偏紧：可以运行，但几乎占满可用内存",
    ),
    Reason.OVER: ("over {memory}", "超过{memory}"),
    Reason.OVER_AS_PROBED: ("over the free memory, by the probes", "按探测结果，超过可用内存"),
    Reason.OUT_OF_MEMORY: ("out of memory when it was probed", "探测时内存不足"),
    Reason.OUT_OF_HOST_MEMORY: ("out of host memory when it was probed", "探测时主机内存不足"),
    Reason.PROBE_FAILED: ("failed when it was probed", "探测时失败"),
    Reason.LARGER_THAN_FAILED: (
        "should take more memory than a plan that ran out of it",
        "所需内存应多于一个已内存不足的方案",
    ),
    Reason.SIMILAR_FAILED: (
        "{count:other plan} of its kind failed",
        "同类方案已有 {count} 个失败",
    ),
    Reason.SLOWER: ("slower: {bottleneck}", "更慢：{bottleneck}"),
    # The planner itself tries no other quantisation than NF4.
    Reason.QUANTIZED: ("rounds the base to 4 bits", "基座舍入为 4 位"),
    Reason.ROUNDED_PRODUCTS: (
        "rounds the base and its products to 8 bits (--allow-rounding)",
        "基座及其矩阵乘法舍入为 8 位（--allow-rounding）",
    ),
    Reason.ROUNDED_STATES: ("rounds the optimizer's states to 8 bits", "优化器状态舍入为 8 位"),
    Reason.MORE_MEMORY: ("as fast, more memory", "速度相同，内存更多"),
    Reason.MORE_COMPLEX: ("as fast, with more moving parts", "速度相同，但环节更多"),
    Reason.SMALLER_BATCHES: (
        "as fast, in more and smaller passes, which a slow host would show",
        "速度相同，但每步分成更多更小的前向，主机较慢时会受影响",
    ),
}
"""Why a candidate is tight, does not fit, or is not the first."""

MEMORIES: dict[MemoryKind, Words] = {
    MemoryKind.GPU: ("the GPU's free memory", "GPU 的可用显存"),
    MemoryKind.HOST: ("the host's memory", "主机内存"),
    MemoryKind.DEVICE: ("the free memory", "可用内存"),
}
BOTTLENECKS: dict[Bottleneck, Words] = {
    Bottleneck.MATRIX: ("matrix products", "矩阵乘法"),
    Bottleneck.MEMORY: ("memory traffic", "访存"),
    Bottleneck.LAUNCH: ("kernel launches of small batches", "小批次的内核启动"),
    Bottleneck.OPTIMIZER: ("optimizer step", "优化器步"),
    Bottleneck.COMMUNICATION: ("traffic between GPUs", "GPU 之间的通信"),
    Bottleneck.OFFLOAD: ("traffic to the host", "与主机之间的传输"),
}

RULES: dict[RuleName, Words] = {
    RuleName.DEVICES: (
        "asked for: {wanted:GPU}; the machine has {have}",
        "要求 {wanted} 块 GPU，本机有 {have} 块",
    ),
    RuleName.BF16: (
        "bf16 needs compute capability 8.0, the GPU has {capability}",
        "bf16 需要计算能力 8.0，该 GPU 为 {capability}",
    ),
    RuleName.FLASH_ATTENTION_CAPABILITY: (
        "flash_attention_2 needs compute capability 8.0, the GPU has {capability}",
        "flash_attention_2 需要计算能力 8.0，该 GPU 为 {capability}",
    ),
    RuleName.FLASH_ATTENTION_PACKAGE: (
        "flash_attention_2 needs the package flash-attn, which is not installed",
        "flash_attention_2 需要 flash-attn 包，该包未安装",
    ),
    RuleName.FLASH_ATTENTION_FAMILY: (
        "flash_attention_2 is refused by this model's class in transformers: take sdpa",
        "transformers 中该模型的类不接受 flash_attention_2：请用 sdpa",
    ),
    RuleName.FLEX_ATTENTION_CAPABILITY: (
        "flex_attention needs compute capability 8.0, the GPU has {capability}: take eager",
        "flex_attention 需要计算能力 8.0，该 GPU 为 {capability}：请用 eager",
    ),
    RuleName.FLEX_ATTENTION_PACKAGE: (
        "flex_attention needs torch 2.6, Triton and a C compiler, and one is missing: take eager",
        "flex_attention 需要 torch 2.6、Triton 与 C 编译器，此处有所缺少：请用 eager",
    ),
    RuleName.FLEX_ATTENTION_FAMILY: (
        "flex_attention is not run for this family here: leave --attention out",
        "此处不为该模型系列运行 flex_attention：请省略 --attention",
    ),
    RuleName.COMPILED_CAPABILITY: (
        "compiled kernels need compute capability 8.0, the GPU has {capability}: take fused",
        "compiled 内核需要计算能力 8.0，该 GPU 为 {capability}：请用 fused",
    ),
    RuleName.COMPILED_PACKAGE: (
        "compiled kernels need Triton and a C compiler, and one of both is missing: take fused",
        "compiled 内核需要 Triton 与 C 编译器，此处缺少其一：请用 fused",
    ),
    RuleName.EAGER_ONLY: (
        "transformers runs no {attention} attention for this family: take eager",
        "transformers 不为该模型系列提供 {attention} 注意力：请用 eager",
    ),
    RuleName.ATTENTION_SOFT_CAP: (
        "sdpa cannot soft-cap attention's scores, which this model needs: take eager or "
        "flex_attention",
        "sdpa 无法对注意力分数做 soft cap，而该模型需要：请用 eager 或 flex_attention",
    ),
    RuleName.BITSANDBYTES: (
        "{setting} needs bitsandbytes: {install}",
        "{setting} 需要 bitsandbytes：{install}",
    ),
    RuleName.DEEPSPEED: (
        "ZeRO-{stage} needs DeepSpeed: {install}",
        "ZeRO-{stage} 需要 DeepSpeed：{install}",
    ),
    RuleName.QUANTIZED_BASE: (
        "a quantised base cannot be trained by {method}",
        "量化的基座不能用 {method} 训练",
    ),
    RuleName.QUANTIZED_SHARDING: (
        "{quantization} weights are not sharded by this worker: take {instead} or plain bf16",
        "本工具不切分 {quantization} 权重：请用 {instead} 或未量化的 bf16",
    ),
    RuleName.PACKED_ZERO_3: (
        "ZeRO-3 does not shard 4-bit weights with {setting}: leave that out, or take --fsdp on",
        "使用 {setting} 时 ZeRO-3 不能切分 4 比特权重：请去掉它，或用 --fsdp on",
    ),
    RuleName.SHARDED_EXPERTS: (
        "adapters on experts need the whole matrices, which ZeRO-3 shards: take ZeRO-2, or leave "
        "the experts out of --lora-target",
        "专家的适配器需要完整矩阵，而 ZeRO-3 会切分：请用 ZeRO-2，或从 --lora-target 去掉专家",
    ),
    RuleName.USELESS_SHARDING: (
        "ZeRO on one GPU shares with nobody",
        "单块 GPU 上的 ZeRO 没有切分对象",
    ),
    RuleName.USELESS_OFFLOAD: (
        "optimizer offload saves almost nothing for an adapter; parameter offload does",
        "对适配器，优化器卸载几乎不省显存；参数卸载才有效",
    ),
    RuleName.ADALORA_SHARDING: (
        "AdaLoRA reallocates ranks, which ZeRO-3's shards do not allow",
        "AdaLoRA 会重新分配秩，ZeRO-3 的切分不允许",
    ),
    RuleName.LAYER_CHECKPOINTS: (
        "a model's own remote code checkpoints all of its layers or none",
        "模型自带的远程代码只能对全部层做检查点，或都不做",
    ),
    RuleName.MIG_SLICES: (
        "a process sees one MIG slice, and NCCL joins none: run a process per slice",
        "一个进程只能看到一个 MIG 切片，NCCL 也无法连接它们：请每个切片运行一个进程",
    ),
    RuleName.PACKED_SHARDING: (
        "packed rows are not run under ZeRO: leave --token-budget out, or take ZeRO-0",
        "打包的样本不能在 ZeRO 下运行：请去掉 --token-budget，或用 ZeRO-0",
    ),
    RuleName.PACKED_ATTENTION: (
        "packed rows need attention that knows where rows end, which {attention} does not here: "
        "sdpa does, and where it does not run flex_attention",
        "打包的样本需要知道样本边界的注意力，而这里的 {attention} 不知道：sdpa 知道，"
        "不能用 sdpa 时 flex_attention 知道",
    ),
    RuleName.PACKED_CAPABILITY: (
        "packed rows need a GPU of compute capability 8.0 for their attention, this one has "
        "{capability}",
        "打包样本的注意力需要计算能力 8.0 的 GPU，此 GPU 为 {capability}",
    ),
    RuleName.EIGHT_BIT_CAPABILITY: (
        "{quantization} needs a GPU of compute capability {least}, this one has {capability}",
        "{quantization} 需要计算能力 {least} 的 GPU，此 GPU 为 {capability}",
    ),
    RuleName.EIGHT_BIT_DTYPE: (
        "{quantization} multiplies rows of {dtype} on no GPU: take --model-dtype {able}",
        "{quantization} 在 GPU 上不能与 {dtype} 的行相乘：请用 --model-dtype {able}",
    ),
    RuleName.EIGHT_BIT_FAMILY: (
        "{model_type} has no formula, by which {quantization} is sized: take nf4-dq or plain bf16",
        "{model_type} 没有公式，无法估算 {quantization}：请用 nf4-dq 或未量化的 bf16",
    ),
    RuleName.STREAMED_METHOD: (
        "streamed layers are frozen: lora, rslora and dora train beside them, {method} does not",
        "流式加载的层是冻结的：只能用 lora、rslora 或 dora 训练，不能用 {method}",
    ),
    RuleName.STREAMED_VOCABULARY: (
        "streamed layers take adapters of one rank on the linears of the layers alone",
        "流式加载的层只接受各层线性模块上同一秩的适配器",
    ),
    RuleName.STREAMED_SETTING: (
        "layers are not streamed with {setting}",
        "使用 {setting} 时不能流式加载层",
    ),
    RuleName.FSDP_SETTING: (
        "GPUs cannot share the base out (--fsdp on) with {setting}",
        "使用 {setting} 时各 GPU 不能分摊基座（--fsdp on）",
    ),
    RuleName.STREAMED_FAMILY: (
        "layers of {model_type} hand on more than their result, so that none can be streamed",
        "{model_type} 的层之间传递的不只是结果，因此不能流式加载",
    ),
    RuleName.STREAMED_NUMBER: (
        "to be streamed: {wanted:layer}; the model has {have}",
        "要求流式加载 {wanted} 层，模型只有 {have} 层",
    ),
    RuleName.STREAMED_PROCESSES: (
        "--streamed-layers {numbers} names {named:GPU}, and the plan would use {used}",
        "--streamed-layers {numbers} 指定了 {named} 张 GPU，而方案会使用 {used} 张",
    ),
    RuleName.PACKED_FAMILY: (
        "rows of {model_type} are not packed: its layers have no formula that shows them apart",
        "{model_type} 的样本不能打包：它的层没有公式能表明样本彼此独立",
    ),
}
"""Why a rule refuses settings."""
CPU_RULES: dict[RuleName, Words] = {
    RuleName.COMPILED_CAPABILITY: ("compiled kernels need a GPU", "compiled 内核需要 GPU"),
    RuleName.FLASH_ATTENTION_CAPABILITY: (
        "flash_attention_2 needs a GPU",
        "flash_attention_2 需要 GPU",
    ),
    RuleName.FLEX_ATTENTION_CAPABILITY: ("flex_attention needs a GPU", "flex_attention 需要 GPU"),
}
"""The same for settings of a CPU, where a rule has something else to say."""

CHANGES: dict[ChangeKind, Words] = {
    ChangeKind.NO_PINS: ("no pinned hardware settings", "不固定硬件设置"),
    ChangeKind.SHORTER_SEQUENCES: (
        "sequences of at most {number:token}",
        "序列不超过 {number} 词元",
    ),
    ChangeKind.LORA: ("method lora", "改用 lora"),
    ChangeKind.LORA_ON_NF4: ("method lora on an nf4 base", "改用 nf4 基座上的 lora"),
    ChangeKind.MORE_GPUS: ("{number:such GPU}", "{number} 块同样的 GPU"),
    ChangeKind.MORE_RAM: ("{number} GiB more RAM", "再加 {number} GiB 内存"),
    ChangeKind.MORE_HOST_RAM: ("{number} GiB more host RAM", "再加 {number} GiB 主机内存"),
    ChangeKind.LARGER_GPU: ("a GPU of {number} GiB", "一块 {number} GiB 的 GPU"),
    ChangeKind.LARGER_GPUS: ("GPUs of {number} GiB", "{number} GiB 的 GPU"),
    ChangeKind.STATE_HOST_RAM: (
        "--host-memory {number}GiB, or a machine file, if that machine has it",
        "若该机器确有足够内存：用 --host-memory {number}GiB 或机器文件说明",
    ),
    ChangeKind.MORE_MACHINES: (
        "{number:machine} of this kind (--nodes {number})",
        "{number} 台同样的机器（--nodes {number}）",
    ),
}
"""What would make a plan fit."""

ADVICE: dict[AdviceRule, Words] = {
    AdviceRule.EPOCHS_BY_ROWS: (
        "samples in all: {samples:,} (rows: {rows:,}, {tokens:.3g} M tokens; epochs: {epochs}); "
        "one task saturated near {saturated:,}",
        "{rows:,} 行（{tokens:.3g} M 词元）x {epochs} 共 {samples:,} 个样本；曾有任务在约 "
        "{saturated:,} 个时饱和",
    ),
    AdviceRule.LARGEST_RANK: (
        "the largest that fits, as it was best for 31 of 35 models; ranks differ by 0.006 nats at "
        "the median",
        "取放得下的最大值：35 个模型中有 31 个以它最好；各秩之差的中位数为 0.006 nats",
    ),
    AdviceRule.RATE_EXTRAPOLATED: (
        "the trend of larger models continued, beyond what was measured",
        "沿用更大模型的趋势，超出实测范围",
    ),
    AdviceRule.RATE_SMALL_MODEL: (
        "models up to 4B did best at 1e-3, at any rank",
        "不超过 4B 的模型在 1e-3 最好，与秩无关",
    ),
    AdviceRule.RATE_LARGE_MODEL: (
        "3e-4 came within 0.0051 nats of the best for nine of ten models, at any rank",
        "十个模型中有九个在 3e-4 时距最好值不超过 0.0051 nats，与秩无关",
    ),
    AdviceRule.RATE_WITHOUT_ADAPTER: (
        "published full fine-tunings take 2e-5 up to 4B, 1e-5 up to 15B and 5e-6 beyond",
        "已发表的全量微调：4B 以内取 2e-5，15B 以内取 1e-5，更大取 5e-6",
    ),
    AdviceRule.RATE_SHORT_RUN: (
        "a short run stands up to 1.5 times that (steps: {steps})",
        "{steps} 步可承受其 1.5 倍",
    ),
}
"""Rules of thumb behind suggested learning settings."""

NO_PLANS: dict[NoPlan, Words] = {
    NoPlan.REFUSED: ("No plan: {why}.", "没有方案：{why}。"),
    NoPlan.CANNOT_RUN: ("No plan: {why}.", "没有方案：{why}。"),
    NoPlan.NEEDS_GPU: (
        "No plan: --world-size, --zero-stage and offload need a GPU, and the CPU is used.",
        "没有方案：--world-size、--zero-stage 与卸载需要 GPU，而现在用的是 CPU。",
    ),
    NoPlan.EFFECTIVE_BATCH: (
        "No plan keeps the effective batch {batch} exactly with what is pinned; change "
        "--effective-batch, --micro-batch-size or --world-size.",
        "在固定的设置下，没有方案能恰好保持有效批次 {batch}；请改 --effective-batch、"
        "--micro-batch-size 或 --world-size。",
    ),
    NoPlan.PIN_LEFT_ALONE: (
        "No plan for this machine has {pins}: leave it out.",
        "这台机器的方案都没有 {pins}：请去掉它。",
    ),
    NoPlan.PINS_EXCLUDE_EACH_OTHER: (
        "No plan: {pins} exclude each other; leave one of them out.",
        "没有方案：{pins} 互相排斥；请去掉其中之一。",
    ),
    NoPlan.NOTHING_FITS: (
        "Nothing fits: the smallest plan ({setting}) needs {needs:.1f} GiB, {free:.1f} GiB are "
        "free",
        "都放不下：最小的方案（{setting}）需要 {needs:.1f} GiB，可用 {free:.1f} GiB",
    ),
    NoPlan.NO_HOST_FITS: (
        "Nothing fits: the smallest plan ({setting}) needs {needs:.1f} GiB of host RAM, {free:.1f} "
        "GiB are free",
        "都放不下：最小的方案（{setting}）需要 {needs:.1f} GiB 主机内存，可用 {free:.1f} GiB",
    ),
    NoPlan.ALL_PROBES_FAILED: (
        "No plan ran: every candidate failed its probe, or is larger than one that ran out of "
        "memory; see what else uses the memory, or plan with a smaller --cutoff-len.",
        "没有方案跑通：每个候选要么探测失败，要么大于已内存不足的候选；请查看还有什么占用内存，"
        "或用更小的 --cutoff-len 重新规划。",
    ),
}
"""Why there is no plan at all."""


class Phrase(StrEnum):
    """Parts of the words for hardware settings and for trials on one base."""

    CPU = "cpu"
    ONE_GPU = "one_gpu"
    DDP = "ddp"
    FSDP = "fsdp"
    FSDP_PER_HOST = "fsdp-per-host"
    ZERO = "zero"
    ON_MACHINES = "on_machines"
    PARAM_OFFLOAD = "param_offload"
    OPTIMIZER_OFFLOAD = "optimizer_offload"
    BOTH_OFFLOADS = "both_offloads"
    STREAMED = "streamed"
    STREAMED_FROM_FILES = "streamed_from_files"
    HOST_CHECKPOINTS = "host_checkpoints"
    SOME_HOST_CHECKPOINTS = "some_host_checkpoints"
    PASSES_TOGETHER = "passes_together"
    CHECKPOINTING_OFF = "checkpointing_off"
    CHECKPOINTING_ON = "checkpointing_on"
    CHECKPOINTED_LAYERS = "checkpointed_layers"
    CHECKPOINTED_LAYERS_OF = "checkpointed_layers_of"
    THIS_TRIAL_ALONE = "this_trial_alone"
    EVERY_TRIAL_ALONE = "every_trial_alone"
    TRIALS_SHARE = "trials_share"
    THE_SAME = "the_same"
    MICRO_BATCH = "micro_batch"
    PACKED = "packed"
    PADDED = "padded"
    FUSED_LOSS = "fused_loss"
    PLAIN_LOSS = "plain_loss"
    PURE_BF16 = "pure_bf16"
    BF16_MASTERS = "bf16_masters"


PHRASES: dict[Phrase, Words] = {
    Phrase.CPU: ("CPU", "CPU"),
    Phrase.PACKED: (
        "rows packed, up to {budget:,} positions a pass",
        "样本首尾相接，每次前向至多 {budget:,} 个位置",
    ),
    Phrase.PADDED: ("rows padded, micro-batch {size}", "样本填充，微批次 {size}"),
    Phrase.ONE_GPU: ("one GPU", "单块 GPU"),
    Phrase.DDP: ("DDP x{world_size}", "DDP x{world_size}"),
    Phrase.FSDP: ("FSDP2 x{world_size}", "FSDP2 x{world_size}"),
    Phrase.FSDP_PER_HOST: (
        "FSDP2 x{slices} on each of {nodes:machine}",
        "{nodes} 台机器，每台 FSDP2 x{slices}",
    ),
    Phrase.ZERO: ("ZeRO-{stage} x{world_size}", "ZeRO-{stage} x{world_size}"),
    Phrase.ON_MACHINES: (" on {nodes:machine}", "（{nodes} 台机器）"),
    Phrase.PARAM_OFFLOAD: (" + param offload", " + 参数卸载"),
    Phrase.OPTIMIZER_OFFLOAD: (" + optimizer offload", " + 优化器卸载"),
    Phrase.BOTH_OFFLOADS: (" + param and optimizer offload", " + 参数与优化器卸载"),
    Phrase.STREAMED: (" + {layers:layer} streamed", " + {layers} 层流式加载"),
    Phrase.STREAMED_FROM_FILES: (
        " + {layers:layer} streamed from files",
        " + {layers} 层从文件流式加载",
    ),
    Phrase.PASSES_TOGETHER: (", {passes:pass} together", "，每次 {passes} 个前向"),
    Phrase.HOST_CHECKPOINTS: ("checkpoints in host memory", "检查点存于主机内存"),
    Phrase.SOME_HOST_CHECKPOINTS: (
        "checkpoints of {layers:layer} on the device, the others in host memory",
        "{layers} 层的检查点留在设备上，其余存于主机内存",
    ),
    Phrase.CHECKPOINTING_OFF: ("checkpointing off", "检查点关闭"),
    Phrase.CHECKPOINTING_ON: ("checkpointing on", "检查点开启"),
    Phrase.CHECKPOINTED_LAYERS: ("checkpointing {layers:layer}", "检查点 {layers} 层"),
    Phrase.CHECKPOINTED_LAYERS_OF: (
        "checkpointing {layers} of {total:layer}",
        "检查点 {layers} 层（共 {total} 层）",
    ),
    Phrase.THIS_TRIAL_ALONE: ("This trial runs alone: {why}.", "该试验单独运行：{why}。"),
    Phrase.EVERY_TRIAL_ALONE: ("Trials run alone: {why}.", "各试验单独运行：{why}。"),
    Phrase.TRIALS_SHARE: (
        "{trials:trial} in one pass make {gain:.1f}x as many steps per second as one.",
        "{trials} 个试验同时前向，每秒步数为单个的 {gain:.1f} 倍。",
    ),
    Phrase.THE_SAME: ("the same", "其余相同"),
    Phrase.MICRO_BATCH: ("micro-batch {size}", "微批次 {size}"),
    Phrase.FUSED_LOSS: ("fused loss", "融合损失"),
    Phrase.PLAIN_LOSS: ("plain loss", "普通损失"),
    Phrase.PURE_BF16: ("pure bf16", "纯 bf16"),
    Phrase.BF16_MASTERS: ("bf16 with fp32 masters", "bf16（保留 fp32 主权重）"),
}
COMMA: Words = (", ", "，")
SEMICOLON: Words = ("; ", "；")

TABLES: dict[type[StrEnum], Mapping[Any, Words]] = {
    Reason: REASONS,
    RuleName: RULES,
    ChangeKind: CHANGES,
    AdviceRule: ADVICE,
    NoPlan: NO_PLANS,
    RemarkKind: REMARKS,
    Obstacle: OBSTACLES,
    AloneReason: TRIALS_ALONE,
    Phrase: PHRASES,
}
"""The table of every enum that has words of its own."""
STREAM_SOURCES: dict[StreamSource, Words] = {
    StreamSource.HOST: ("host memory", "主机内存"),
    StreamSource.FILES: ("the model's files", "模型文件"),
}
"""Where streamed layers wait."""
LINK_BASES: dict[LinkBasis, Words] = {
    LinkBasis.MEASURED: (", measured", "，实测"),
    LinkBasis.STATED: (", not measured", "，未实测"),
    LinkBasis.NOT_KNOWN: (
        ", assumed: the link of this GPU is not known",
        "，假设值：该 GPU 的链路未知",
    ),
}
"""Where the rate of a link to the host comes from."""

VALUES: dict[str, Mapping[Any, Words]] = {
    "memory": MEMORIES,
    "bottleneck": BOTTLENECKS,
    "rounded": ROUNDED_PARTS,
    "link_basis": LINK_BASES,
    "source": STREAM_SOURCES,
}
"""Tables of the values that are words as well, by the name of their placeholder."""
