"""What the report says, in every language, in one table."""

from __future__ import annotations

from enum import StrEnum

from tsplanner.report.page import Original, Text


class Language(StrEnum):
    """Languages of the report, by their codes."""

    EN = "en"
    ZH = "zh-CN"


ORDER = (Language.EN, Language.ZH)
"""Position of a language in each row of ``WORDS`` and ``JOINTS``."""

WORDS: dict[str, tuple[str, str]] = {
    "title_runs": ("Training runs under {saves}", "{saves} 下的训练记录"),
    "title_run": ("Training run {run}", "训练记录 {run}"),
    "other_language": ("中文", "English"),
    "section_about": ("What this is", "关于本报告"),
    "section_results": ("Results", "结果"),
    "section_advice": ("Over-fitting and advice", "过拟合与建议"),
    "section_learning": ("Learning settings", "学习设置"),
    "section_records": ("About the recorded runs", "关于他处的记录"),
    "section_hardware": ("Compared by hardware", "按硬件比较"),
    "section_model": ("Compared by model size", "按模型规模比较"),
    "section_quantization": ("Compared by quantisation", "按量化方式比较"),
    "section_settings": ("Compared by learning settings", "按学习设置比较"),
    "section_curves": ("Loss curves", "损失曲线"),
    "section_memory": ("Memory, predicted and measured", "显存/内存：预测与实测"),
    "section_plans": ("Why these plans", "为何采用这些计划"),
    "about_when": ("Written", "生成时间"),
    "about_version": ("By", "生成工具"),
    "about_folder": ("Runs under", "记录目录"),
    "about_runs": ("Runs", "记录数"),
    "about_counts": (
        "{own} trained here, {recorded} recorded elsewhere",
        "本机训练 {own} 次，他处记录 {recorded} 次",
    ),
    "about_machine": ("Machine", "机器"),
    "about_stack": ("Packages", "软件版本"),
    "no_runs": ("No finished run yet.", "尚无完成的训练。"),
    "left_out": ("Not in this report:", "未列入本报告："),
    "left_out_unfinished": (
        "{run}: no record yet (still running, or killed){detail}",
        "{run}：尚无记录（仍在运行或已被终止）{detail}",
    ),
    "left_out_record": (
        "{run}: its record.json cannot be read ({detail})",
        "{run}：record.json 无法读取（{detail}）",
    ),
    "left_out_plan": (
        "{run}: its plan.json cannot be read ({detail})",
        "{run}：plan.json 无法读取（{detail}）",
    ),
    "column_what": ("What", "项目"),
    "column_value": ("Value", "值"),
    "column_run": ("Run", "记录"),
    "column_model": ("Model", "模型"),
    "column_method": ("Method", "方法"),
    "column_base": ("Base stored as", "基座存储"),
    "column_hardware": ("Hardware", "硬件"),
    "column_batch": ("Effective batch", "有效批量"),
    "column_rank": ("Rank", "秩"),
    "column_learning_rate": ("Learning rate", "学习率"),
    "column_epochs": ("Epochs", "轮数"),
    "column_steps": ("Steps", "步数"),
    "column_speed": ("Samples/s", "样本/秒"),
    "column_loss_mean": ("Loss, mean of run", "损失（全程均值）"),
    "column_loss_last": ("Loss, last step", "损失（最后一步）"),
    "column_loss_held_out": ("Loss, held out (best)", "留出集损失（最佳）"),
    "column_best_epoch": ("Best epoch", "最佳轮次"),
    "column_predicted": ("Peak GiB, predicted", "峰值 GiB（预测）"),
    "column_measured": ("Peak GiB, measured", "峰值 GiB（实测）"),
    "column_time": ("Time", "用时"),
    "column_device_speed": ("Samples/s per device", "每设备样本/秒"),
    "column_ratio": ("Times the slowest", "相对最慢者"),
    "column_difference": (
        "Held out, from the best (± one standard error)",
        "留出集与最佳者之差（± 一个标准误）",
    ),
    "column_remarks": ("Also different (first row, this row)", "另有不同（首行与本行）"),
    "on_cpu": ("{device}", "{device}"),
    "results_losses": (
        "Three losses, never mixed: the mean over the run's training steps, the last training "
        "step, and the best evaluation on the held-out rows; nats a token. Peaks are bytes of the "
        "process, a rank. Rows of this table may be compared only where a section below does.",
        "三种损失互不混用：全程训练步的均值、最后一个训练步、留出集上的最佳评估；单位为 nat/token。"
        "峰值为每个进程占用的字节数。表中各行只有在下文相应小节中列出时才可比较。",
    ),
    "run_ended": (
        "{run} did not run to its end: {status}. {message}",
        "{run} 未正常结束：{status}。{message}",
    ),
    "compare_one": (
        "All runs are the same in this: there is nothing to compare.",
        "所有记录在此项上相同，无可比较。",
    ),
    "compare_apart": (
        "No two runs of one model differ in this: there is nothing to compare.",
        "没有同一模型的两次记录在此项上不同，无可比较。",
    ),
    "run_and_value": ("{run} ({value})", "{run}（{value}）"),
    "refused_heading": (
        "Not compared, because more than this differs:",
        "以下不予比较，因为不同之处不止此项：",
    ),
    "refused": ("{one} and {other}. {reasons}", "{one} 与 {other}。{reasons}"),
    "refused_speed": ("Speed: {reasons}.", "速度：{reasons}。"),
    "refused_loss": ("Loss: {reasons}.", "损失：{reasons}。"),
    "refused_more": (
        "{count} further pairs differ in as much or more; tsplanner report --json lists them all.",
        "另有 {count} 对记录差异相同或更多；tsplanner report --json 可列出全部。",
    ),
    "difference": ("{fact} {one} and {other}", "{fact} {one} 与 {other}"),
    "difference_unknown": ("{fact} not known of either", "{fact}均未知"),
    "list": ("{items}", "{items}"),
    "names": ("{items}", "{items}"),
    "sentences": ("{items}", "{items}"),
    "not_known": ("not known", "未知"),
    "no_loss": ("none on record", "无记录"),
    "rows_and_tokens": ("{rows} rows of {tokens} tokens", "{rows} 行共 {tokens} 个 token"),
    "loss_mean": ("mean of the run", "全程均值"),
    "loss_last": ("last step", "最后一步"),
    "loss_held_out": ("held-out rows", "留出集"),
    "fact_model": ("model", "模型"),
    "fact_quantization": ("base stored as", "基座存储"),
    "fact_device": ("device", "设备"),
    "fact_gpus": ("devices", "设备数"),
    "fact_sharding": ("sharding and offload", "分片与卸载"),
    "fact_method": ("method", "方法"),
    "fact_rank": ("rank", "秩"),
    "fact_dataset": ("dataset", "数据集"),
    "fact_rows": ("rows", "行数"),
    "fact_lengths": ("mean length", "平均长度"),
    "fact_held_out": ("held-out rows", "留出行"),
    "fact_batch": ("effective batch", "有效批量"),
    "fact_micro_batch": ("micro-batch", "微批量"),
    "fact_steps": ("steps", "步数"),
    "fact_epochs": ("epochs", "轮数"),
    "fact_learning_rate": ("learning rate", "学习率"),
    "fact_schedule": ("schedule", "学习率调度"),
    "fact_seed": ("seed", "随机种子"),
    "fact_loss": ("definition of the loss", "损失定义"),
    "fact_ended": ("end", "结束状态"),
    "fact_speed": ("samples/s", "样本/秒"),
    "curves_how": (
        "Each run has a chart of its own. Thin line: training loss of each step (of long runs the "
        "mean of neighbouring steps). Thick line with dots: held-out loss; the ring marks the best "
        "one. Dashed: ends of epochs.",
        "每次训练单独成图。细线：每步训练损失（较长的训练取相邻各步的均值）；带点粗线：留出集损失，"
        "圆环为最佳；虚线：各轮结束处。",
    ),
    "line_training": ("training", "训练"),
    "line_held_out": ("held out", "留出集"),
    "axis_steps": ("optimizer step", "优化步"),
    "axis_loss": ("loss, nats a token", "损失（nat/token）"),
    "axis_loss_log": ("loss, nats a token, log scale", "损失（nat/token，对数刻度）"),
    "mark_epoch": ("epoch {epoch}", "第 {epoch} 轮"),
    "mark_best": ("best {loss}", "最佳 {loss}"),
    "memory_how": (
        "Bytes of one process at its peak. Above what was predicted, part by part, with the 95 % "
        "bound as a bracket; below what was measured.",
        "单个进程在峰值时的字节数。上：按组成部分的预测，括线为 95 % 上界；下：实测。",
    ),
    "axis_gib": ("GiB", "GiB"),
    "bar_predicted": ("predicted", "预测"),
    "bar_measured": ("measured", "实测"),
    "bar_bound": ("95 %: {size}", "95 %：{size}"),
    "bar_free": ("{size} were free", "可用 {size}"),
    "part_base_weights": ("base weights", "基座权重"),
    "part_adapters": ("adapters", "适配器"),
    "part_optimizer_states": ("optimizer states", "优化器状态"),
    "part_gradients": ("gradients", "梯度"),
    "part_gathered": ("gathered parameters", "汇集的参数"),
    "part_kept_activations": ("kept activations", "保留的激活"),
    "part_block": ("block in work", "计算中的层"),
    "part_head_and_loss": ("head and loss", "输出层与损失"),
    "part_optimizer_step": ("optimizer step", "优化器步骤"),
    "part_communication": ("communication buffers", "通信缓冲"),
    "part_workspace": ("cuBLAS workspace", "cuBLAS 工作区"),
    "part_fragmentation": ("fragmentation", "碎片"),
    "part_context": ("context and libraries", "上下文与库"),
    "part_libraries": ("libraries", "库"),
    "part_other": ("other", "其他"),
    "part_allocated": ("allocated", "已分配"),
    "part_cached": ("reserved besides", "另行保留"),
    "part_outside": ("process besides", "进程其余部分"),
    "part_process": ("process", "进程"),
    "plans_how": (
        "The alternatives a plan was chosen from are not kept with it: tsplanner plan lists them "
        "with the reason each lost.",
        "计划文件不保存落选方案；tsplanner plan 会列出它们及各自落选的原因。",
    ),
    "verdict_fits": (
        "Fits: {expected} expected, {upper} at most (95 %), of {free} that were free. {settings}",
        "放得下：预期 {expected}，至多 {upper}（95 %），当时可用 {free}。{settings}",
    ),
    "verdict_tight": (
        "Tight: {expected} expected, but up to {upper} (95 %) of {free} that were free. {settings}",
        "紧张：预期 {expected}，但可能达到 {upper}（95 %），当时可用 {free}。{settings}",
    ),
    "verdict_does_not_fit": (
        "Does not fit: {expected} expected, {upper} at most (95 %), {free} were free. {settings}",
        "放不下：预期 {expected}，至多 {upper}（95 %），当时可用 {free}。{settings}",
    ),
    "plan_settings": (
        "{family} · micro-batch {micro} x accumulation {accumulation}, effective {effective} · "
        "{checkpoints} · {loss} · {attention}.",
        "{family} · 微批量 {micro} x 累积 {accumulation}，有效批量 {effective} · "
        "{checkpoints} · {loss} · {attention}。",
    ),
    "checkpoints_off": ("no checkpointing", "不使用激活检查点"),
    "checkpoints_all": ("all layers checkpointed", "所有层使用激活检查点"),
    "checkpoints_some": ("{layers} layers checkpointed", "{layers} 层使用激活检查点"),
    "loss_fused": ("fused loss", "融合损失"),
    "loss_plain": ("plain loss", "普通损失"),
    "plan_step": (
        "A step was expected to take {predicted} s ± {error} ({basis}); the median step took "
        "{measured} s.",
        "预计每步 {predicted} 秒 ± {error}（{basis}）；实测各步中位数为 {measured} 秒。",
    ),
    "plan_step_alone": (
        "A step was expected to take {predicted} s ± {error} ({basis}).",
        "预计每步 {predicted} 秒 ± {error}（{basis}）。",
    ),
    "plan_corrected": (
        "Earlier probes on the machine corrected the prediction: bytes x {memory}, work x {work}, "
        "launches x {launch}.",
        "此前在该机器上的试跑修正了预测：字节 x {memory}，计算 x {work}，启动 x {launch}。",
    ),
    "plan_assumptions": ("Assumed:", "假设（计划原文）："),
    "curve_none": (
        "Nothing was evaluated, so over-fitting cannot be seen.",
        "没有评估，无法判断是否过拟合。",
    ),
    "curve_too_few": (
        "The held-out loss was lowest, {loss}, after epoch {epoch}; too few evaluations for a "
        "trend.",
        "留出集损失在第 {epoch} 轮后最低，为 {loss}；评估次数太少，看不出趋势。",
    ),
    "curve_falling": (
        "The held-out loss was lowest, {loss}, after epoch {epoch}, the last, and still falling: "
        "more epochs may help.",
        "留出集损失在最后的第 {epoch} 轮后最低，为 {loss}，且仍在下降：增加轮数或有帮助。",
    ),
    "curve_level": (
        "The held-out loss was lowest, {loss}, after epoch {epoch}, and changed by no more than "
        "noise around it.",
        "留出集损失在第 {epoch} 轮后最低，为 {loss}，前后变化不超过噪声。",
    ),
    "curve_overfitting": (
        "Over-fitting: the held-out loss was lowest, {loss}, after epoch {epoch}, and rose by "
        "{rise} to the end. Stop at epoch {epoch}.",
        "过拟合：留出集损失在第 {epoch} 轮后最低，为 {loss}，到结束时上升了 {rise}。"
        "请在第 {epoch} 轮停止。",
    ),
    "curve_oscillating": (
        "The held-out loss goes up and down by up to {swing}; it was lowest, {loss}, after epoch "
        "{epoch}: lower the learning rate, or take the weights of epoch {epoch}.",
        "留出集损失上下波动，幅度至 {swing}；在第 {epoch} 轮后最低，为 {loss}："
        "请降低学习率，或采用第 {epoch} 轮的权重。",
    ),
}
"""Key: English, Chinese."""

JOINTS: dict[str, tuple[str, str]] = {
    "list": ("; ", "；"),
    "names": (", ", "、"),
    "sentences": (" ", ""),
}
"""What stands between the things of a list, by the phrase that holds it."""


def say(text: Text, language: Language) -> str:
    """A text in a language. Raises KeyError for a phrase that is not in the table."""
    if isinstance(text, str):
        return text
    if isinstance(text, Original):
        return text.text
    position = ORDER.index(language)
    places = {}
    for name, value in text.values.items():
        if isinstance(value, tuple):
            places[name] = JOINTS[text.key][position].join(say(item, language) for item in value)
        else:
            places[name] = say(value, language)
    return WORDS[text.key][position].format(**places)
