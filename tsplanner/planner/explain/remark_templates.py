"""The templates of what a person should know before starting a plan, in English and in Chinese."""

from __future__ import annotations

from tsplanner.planner.explain.multi_lora_templates import Words
from tsplanner.planner.explain.reasons import RemarkKind, RoundedPart

ROUNDED_PARTS: dict[RoundedPart, Words] = {
    RoundedPart.BASE_4_BIT: ("rounds the base to 4 bits", "基座舍入为 4 位"),
    RoundedPart.BASE_8_BIT: ("rounds the base to 8 bits", "基座舍入为 8 位"),
    RoundedPart.PRODUCTS_8_BIT: (
        "rounds the base and its products to 8 bits",
        "基座及其矩阵乘法舍入为 8 位",
    ),
    RoundedPart.STATES: ("8-bit Adam rounds the states", "8 位 Adam 会舍入优化器状态"),
}
REMARKS: dict[RemarkKind, Words] = {
    RemarkKind.HOST_ASSUMED: (
        "{ram:,.0f} GiB of host RAM are assumed, and that decides this answer: say what the "
        "machine has, such as --host-memory {example}GiB",
        "主机内存按 {ram:,.0f} GiB 假定，并决定了此结果：请用 --host-memory 说明实际内存，"
        "如 --host-memory {example}GiB",
    ),
    RemarkKind.STORED_QUANTIZED: (
        "the model's weights are stored in {stored} and are trained on as they are",
        "模型权重以 {stored} 存储，按原样训练适配器",
    ),
    RemarkKind.STORED_DEQUANTIZED: (
        "the model's weights are stored in {stored}, which is not trained on as it is: they are "
        "dequantised while they are loaded and then take {base:.1f} GiB in {dtype}",
        "模型权重以 {stored} 存储，不能按原样训练：加载时反量化为 {dtype}，占 {base:.1f} GiB",
    ),
    RemarkKind.ROUNDED_TO_FIT: (
        "{rounded}: without that, {setting} is over {memory} (95 %: {needs:.1f} GiB, {free:.1f} "
        "are free)",
        "{rounded}：否则 {setting} 超过{memory}（95 %：{needs:.1f} GiB，可用 {free:.1f} GiB）",
    ),
    RemarkKind.ROUNDED_FOR_SPEED: (
        "{rounded}; {flag} costs {cost:.1f}x the time ({setting})",
        "{rounded}；{flag} 耗时为 {cost:.1f} 倍（{setting}）",
    ),
    RemarkKind.ROUNDED_AS_ASKED: ("{rounded}, as asked", "{rounded}（按要求）"),
    RemarkKind.FASTER_ROUNDED: (
        "{gain:.1f}x as fast with --allow-rounding ({setting}): {rounded}",
        "加 --allow-rounding 可快至 {gain:.1f} 倍（{setting}）：{rounded}",
    ),
    RemarkKind.FEWER_GPUS: (
        "uses {used} of {have:GPU}; the best plan with more ({setting}): {why}",
        "使用 {have} 块 GPU 中的 {used} 块；更多时的最佳方案（{setting}）：{why}",
    ),
    RemarkKind.FEWER_GPUS_BY_BATCH: (
        "uses {used} of {have:GPU}: more cannot share the effective batch {batch} equally",
        "使用 {have} 块 GPU 中的 {used} 块：更多时无法均分有效批次 {batch}",
    ),
    RemarkKind.FEWER_GPUS_AS_ASKED: (
        "uses {used} of {have:GPU}, as --world-size asks",
        "使用 {have} 块 GPU 中的 {used} 块（按 --world-size）",
    ),
    RemarkKind.SEVERAL_MACHINES: (
        "{nodes:machine} over {gbit:,.0f} Gbit/s: {share:.0%} of a step are traffic between "
        "GPUs; by formula alone, several machines were never run",
        "{nodes} 台机器，网络 {gbit:,.0f} Gbit/s：每步有 {share:.0%} 的时间用于 GPU 之间的通信；"
        "仅按公式规划，多机从未实际运行",
    ),
    RemarkKind.HIGH_RATE: (
        "a learning rate of {rate:g} is {times:.0f} times the usual {usual:g} of this method and "
        "size: losses may grow instead of falling",
        "学习率 {rate:g} 是此方法与规模常用值 {usual:g} 的 {times:.0f} 倍：损失可能不降反升",
    ),
    RemarkKind.FEW_ROWS: (
        "{rows:row} in all: less than one step of {batch}, and too few to learn from or to hold "
        "any out",
        "总共只有 {rows} 行：不足一步的 {batch} 行，难以学到东西，也难以留出验证",
    ),
    RemarkKind.STREAMED: (
        "{layers} of {total:layer} are streamed from {source}: {moved:.0f} GB per step "
        "({link:.1f} s at {rate:.0f} GB/s{link_basis}) hide behind {work:.1f} s of work",
        "{total} 层中有 {layers} 层从{source}流式加载：每步 {moved:.0f} GB（{rate:.0f} GB/s "
        "下需 {link:.1f} 秒{link_basis}）被 {work:.1f} 秒的计算掩盖",
    ),
    RemarkKind.STREAMED_WAITS: (
        "{layers} of {total:layer} are streamed from {source}: {moved:.0f} GB per step take "
        "{link:.1f} s at {rate:.0f} GB/s{link_basis}, so that {work:.1f} s of work wait "
        "{waits:.1f} s for the link; a larger --effective-batch hides more",
        "{total} 层中有 {layers} 层从{source}流式加载：每步 {moved:.0f} GB，{rate:.0f} GB/s "
        "下需 {link:.1f} 秒{link_basis}，{work:.1f} 秒的计算要等待链路 {waits:.1f} 秒；"
        "更大的 --effective-batch 可掩盖更多",
    ),
    RemarkKind.STREAMED_GPU: (
        "GPU {place} ({name}) streams {layers:layer} and holds {needs:.1f} GiB (95 %: "
        "{upper:.1f}) of {free:.1f} free",
        "GPU {place}（{name}）流式加载 {layers} 层，占用 {needs:.1f} GiB（95 %：{upper:.1f}），"
        "空闲 {free:.1f} GiB",
    ),
    RemarkKind.STREAMED_INPUTS: (
        "the GPU keeps as many layer inputs as {kept} of {total:layer} have, and the others, "
        "{sent:.1f} GB of each process, wait in host memory",
        "GPU 保留相当于 {total} 层中 {kept} 层的层输入，其余（每个进程 {sent:.1f} GB）存于主机内存",
    ),
    RemarkKind.PACKED: (
        "rows are packed: padded, {padding:.0f} % of the positions would be padding, and a step "
        "would take {gain:.1f}x as long (micro-batch {micro})",
        "样本首尾相接：若填充，{padding:.0f} % 的位置为填充，每步耗时为 {gain:.1f} 倍"
        "（微批次 {micro}）",
    ),
    RemarkKind.PACKED_TOGETHER: (
        "rows are packed: passed one by one, a step would take {gain:.1f}x as long",
        "样本首尾相接：若逐行前向，每步耗时为 {gain:.1f} 倍",
    ),
    RemarkKind.PADDED: (
        "{padding:.0f} % of the positions are padding: {why}",
        "{padding:.0f} % 的位置为填充：{why}",
    ),
    RemarkKind.FLASH_ASSUMED: (
        "flash_attention_2 needs the package flash-attn on that machine, and was never run under "
        "tsplanner",
        "flash_attention_2 需要该机器上有 flash-attn 包，且从未在 tsplanner 下运行过",
    ),
    RemarkKind.FP16_OVERFLOWS: (
        "{family} is known to overflow in fp16 (infinite activations, loss nan): take a GPU with "
        "bf16, or watch the loss; see {source}",
        "已知 {family} 在 fp16 下会溢出（激活变为无穷大，损失为 nan）：请用支持 bf16 的 GPU，"
        "或留意损失；见 {source}",
    ),
    RemarkKind.FP16_GRADIENTS: (
        "gradients of {family} are known to overflow in fp16: take a GPU with bf16, or watch the "
        "loss; see {source}",
        "已知 {family} 的梯度在 fp16 下会溢出：请用支持 bf16 的 GPU，或留意损失；见 {source}",
    ),
    RemarkKind.PURE_BF16: (
        "pure bf16 keeps no fp32 copy of the weights: updates below 1/256 of a weight vanish; "
        "--model-dtype fp32 keeps one",
        "纯 bf16 不保留 fp32 权重副本：小于权重 1/256 的更新会丢失；--model-dtype fp32 可保留",
    ),
    RemarkKind.LONG_POSITIONS: (
        "rows of {longest:,} positions are longer than the {published:,} that the model was "
        "published for: it may answer worse beyond",
        "样本长 {longest:,} 个位置，超过模型发布时的 {published:,}：超出部分质量可能下降",
    ),
    RemarkKind.FROZEN_EXPERTS: (
        "adapters on linears only: the experts, {share:.0%} of the parameters, stay frozen; "
        "--lora-target {targets} trains them too ({count:,} parameters in all)",
        "仅在线性层上加适配器：占参数 {share:.0%} 的专家保持冻结；"
        "--lora-target {targets} 也训练专家（共 {count:,} 个参数）",
    ),
    RemarkKind.PEFT_ADAPTS_EXPERTS: (
        "adapters on linears only: the experts, {share:.0%} of the parameters, stay frozen; "
        "--lora-target {targets} trains them too ({count:,} parameters in all), as PEFT's own "
        "all-linear does ({theirs:,}, router included)",
        "仅在线性层上加适配器：占参数 {share:.0%} 的专家保持冻结；"
        "--lora-target {targets} 也训练专家（共 {count:,} 个参数），"
        "PEFT 自带的 all-linear 亦然（{theirs:,}，含路由器）",
    ),
    RemarkKind.EXPERTS_STAY_FROZEN: (
        "the experts, {share:.0%} of the parameters, take no adapter and stay frozen",
        "占参数 {share:.0%} 的专家没有适配器，保持冻结",
    ),
    RemarkKind.EXPERTS_NOT_QUANTIZED: (
        "{quantization} leaves fused experts as they are: {share:.0%} of the parameters stay in "
        "{dtype}",
        "{quantization} 不处理融合的专家：{share:.0%} 的参数保持 {dtype}",
    ),
    RemarkKind.EXPERTS_UPCAST: (
        "bitsandbytes does not quantise fused experts, and PEFT's preparation casts them to fp32: "
        "{share:.0%} of the parameters take four bytes each",
        "bitsandbytes 不量化融合的专家，且 PEFT 的准备步骤将其转为 fp32："
        "{share:.0%} 的参数每个占四字节",
    ),
    RemarkKind.QUANTIZING_SPARES_EXPERTS: (
        "4 or 8 bits hardly make this model smaller: bitsandbytes does not quantise fused experts, "
        "{share:.0%} of the parameters",
        "4 位或 8 位几乎不能缩小此模型：bitsandbytes 不量化融合的专家（占参数 {share:.0%}）",
    ),
}
"""What a person should know of a plan before starting it."""
