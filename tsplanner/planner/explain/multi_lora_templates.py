"""The templates of why trials do not share a base, in English and in Chinese."""

from __future__ import annotations

from tsplanner.planner.explain.reasons import AloneReason, Obstacle

Words = tuple[str, str]
"""A template in English and in Chinese."""

OBSTACLES: dict[Obstacle, Words] = {
    Obstacle.METHOD: (
        "{detail} changes or reads the base's own weights",
        "{detail} 会改动或读取基座自身的权重",
    ),
    Obstacle.NO_FORMULA: (
        "the memory of several trials on one base has no formula for {detail}",
        "{detail} 没有多个试验共用一个基座的内存公式",
    ),
    Obstacle.EXPERTS: (
        "{detail} mean experts, whose adapters are trained alone",
        "{detail} 指专家，其适配器须单独训练",
    ),
    Obstacle.OWN_SHAPES: (
        "patterns of ranks, and adapters on or copies of embedding and lm_head, are trained alone",
        "秩的模式，以及嵌入层和 lm_head 上的适配器或副本，须单独训练",
    ),
    Obstacle.LORA_DROPOUT: (
        "lora_dropout {detail} draws its masks batch by batch",
        "lora_dropout {detail} 逐批抽取掩码",
    ),
    Obstacle.BASE_DROPOUT: (
        "the base has a dropout of its own ({detail})",
        "基座自带 dropout（{detail}）",
    ),
    Obstacle.LM_HEAD: (
        "multi-LoRA takes the fused loss, which does not know {detail}",
        "multi-LoRA 使用融合损失，它不支持 {detail}",
    ),
    Obstacle.INT8: (
        "{detail} looks for outliers over all rows of a batch",
        "{detail} 在整批的所有行中寻找离群值",
    ),
    Obstacle.NEFTUNE: (
        "neftune_noise_alpha {detail} adds noise to embeddings that all trials read",
        "neftune_noise_alpha {detail} 会给所有试验共用的嵌入加噪声",
    ),
    Obstacle.SCHEDULE: ("the schedule {detail} follows the loss", "学习率计划 {detail} 取决于损失"),
    Obstacle.WORLD_SIZE: ("it runs on {detail:process}", "它在 {detail} 个进程上运行"),
    Obstacle.ZERO: ("ZeRO stage {detail} shards the base", "ZeRO 第 {detail} 阶段会切分基座"),
    Obstacle.STREAMED: ("its base is streamed layer by layer", "它的基座逐层流式传入"),
    Obstacle.BATCH_SIZE: (
        "effective batch {detail} is no multiple of micro-batch {micro_batch}",
        "有效批次 {detail} 不是微批次 {micro_batch} 的倍数",
    ),
}
"""What keeps a trial from sharing its base; ``detail`` is the value of the setting at fault."""
TRIALS_ALONE: dict[AloneReason, Words] = {
    AloneReason.ONE_TRIAL: ("There is one trial alone.", "只有一个试验。"),
    AloneReason.NO_ROOM: (
        "No two trials fit beside each other on one base.",
        "一个基座上放不下两个试验。",
    ),
    AloneReason.GPU_BUSY: (
        "A trial's {tokens:token} per step keep the GPU busy alone ({gain:.2f}x on a shared base).",
        "单个试验每步的 {tokens} 词元已让 GPU 满载（共享基座为 {gain:.2f} 倍）。",
    ),
}
"""Why trials do not share a base though they could."""
