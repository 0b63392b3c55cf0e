"""Every exporter by its name. To add one: a module with ``files`` and a row in ``EXPORTERS``."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from tsplanner.errors import UsageError, did_you_mean, named
from tsplanner.exporters import axolotl, deepspeed_json, sbatch, skypilot, torchrun, trl
from tsplanner.exporters.accelerate import export as accelerate
from tsplanner.exporters.launch import Exporter, ExportFile, ExportOptions, spread
from tsplanner.exporters.llamafactory import export
from tsplanner.exporters.padding import padded_for
from tsplanner.exporters.rows import dialogues
from tsplanner.exporters.rows.written import write_rows
from tsplanner.planner.plan import Plan

EXPORTERS: dict[str, Exporter] = {
    "torchrun": Exporter(
        summary="run.sh: torchrun on one machine, or on several by hand",
        files=torchrun.files,
        start="bash {folder}/run.sh",
        by_hand="RDZV_ENDPOINT=FIRST_MACHINE:29400 ",
    ),
    "accelerate": Exporter(
        summary="accelerate.yaml and the accelerate launch line",
        files=accelerate.files,
        start="bash {folder}/accelerate.sh",
        by_hand="MACHINE_RANK=0 MAIN_PROCESS_IP=FIRST_MACHINE ",
    ),
    "deepspeed": Exporter(
        summary="ds_config.json for a trainer of your own, and a torchrun line",
        files=deepspeed_json.files,
        start="bash {folder}/run.sh",
        by_hand="RDZV_ENDPOINT=FIRST_MACHINE:29400 ",
    ),
    "sbatch": Exporter(
        summary="train.sbatch for a Slurm queue",
        files=sbatch.files,
        start="sbatch --chdir {folder} {folder}/train.sbatch",
    ),
    "skypilot": Exporter(
        summary="task.yaml for clouds, through SkyPilot",
        files=skypilot.files,
        start="cd {folder} && sky launch task.yaml",
    ),
    "llamafactory": Exporter(
        summary="LLaMA-Factory's YAML, the rows and train.sh; its fork's for ChatTS",
        files=export.files,
        start="bash {folder}/train.sh",
        by_hand="NODE_RANK=0 MASTER_ADDR=FIRST_MACHINE ",
        room=export.room,
        rows=export.rows,
        notes=export.remarks,
    ),
    "axolotl": Exporter(
        summary="axolotl's YAML, the rows, axolotl.sh",
        files=axolotl.files,
        start="bash {folder}/axolotl.sh",
        by_hand="RDZV_ENDPOINT=FIRST_MACHINE:29400 ",
        room=axolotl.room,
        rows=partial(write_rows, shape=dialogues.axolotl),
    ),
    "trl": Exporter(
        summary="the YAML of trl sft, accelerate.yaml, the rows, trl.sh",
        files=trl.files,
        start="bash {folder}/trl.sh",
        by_hand="MACHINE_RANK=0 MAIN_PROCESS_IP=FIRST_MACHINE ",
        room=trl.room,
        rows=partial(write_rows, shape=dialogues.trl),
    ),
}


def exporter(name: str) -> Exporter:
    """The exporter of that name.

    Raises:
        UsageError: no exporter has that name.
    """
    found = EXPORTERS.get(name)
    if found is None:
        raise UsageError(
            f"no exporter {named(name)}.{did_you_mean(name, EXPORTERS)} "
            f"Known: {', '.join(EXPORTERS)}."
        )
    return found


def render(name: str, plan: Plan, options: ExportOptions) -> list[ExportFile]:
    """The files of one exporter for a plan of one machine.

    Raises:
        UsageError: no such exporter.
        TsplannerError: the plan cannot be started that way.
    """
    found = exporter(name)
    run = padded_for(found, spread(plan, options.nodes))
    repacked = plan.hardware.batch.is_packed and not run.hardware.batch.is_packed
    return found.files(run, replace(options, repacked=repacked))
