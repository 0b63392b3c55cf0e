"""Sources of a model: a folder, a config.json, a preset of configs/models or a hub id."""

from __future__ import annotations

import json
import os
from pathlib import Path

from memory_models.architecture import Architecture
from memory_models.frozen import frozen
from tsplanner.errors import TsplannerError, UsageError, did_you_mean, named
from tsplanner.install import Extra, install_command
from tsplanner.models import strangers
from tsplanner.models.config import Config, NoReaderError
from tsplanner.models.decoders import READERS, WITH_SERIES
from tsplanner.models.defaults import DEFAULTS, with_defaults
from tsplanner.models.headers import check_weights, untied_by_weights
from tsplanner.models.known.refusals import (
    refusal_of_gguf,
    refuse_other_folder,
    refuse_other_models,
)
from tsplanner.models.quantized import stored_base, with_kept_linears
from tsplanner.models.weights import WeightFiles, find_weights
from tsplanner.models.wrappers import seen_whole, text_section
from tsplanner.reading import decoded, read_text
from tsplanner.settings import configs_folder

_MOST_CONFIG_BYTES = 8 * 1024 * 1024


@frozen
class ModelSource:
    """A model that was found: its architecture, and the folders of its files."""

    architecture: Architecture
    config: dict[str, object]
    folder: Path | None
    """Folder of config.json; None if a bare file was given."""
    weights: WeightFiles
    tokenizer: Path | None
    """Folder with tokenizer.json, if the model has a tokenizer next to its config."""

    @property
    def has_weights(self) -> bool:
        """Whether there are weights that can be loaded."""
        return bool(self.weights.files)


@frozen
class ModelFiles:
    """The folder of a model's files and its decoded config.json, before a reader reads it."""

    name: str
    path: Path
    """Its config.json."""
    folder: Path
    config: dict[str, object]


def preset_names() -> tuple[str, ...]:
    """Names of the presets of configs/models, sorted."""
    folder = configs_folder() / "models"
    return tuple(sorted(path.parent.name for path in folder.glob("*/config.json")))


def preset_folder(name: str) -> Path:
    """The folder of a preset."""
    return (configs_folder() / "models" / name).resolve()


def read_model(name: str, *, cache_hub: bool = True, describes: bool = True) -> ModelSource:
    """Read the model that ``name`` stands for: path first, then preset, then hub id.

    ``describes``: a model without a reader is described by the real one, if somebody here can.

    Raises:
        UsageError: no model has that name.
        NoReaderError: the model type is unknown.
        TsplannerError: its config.json is broken.
    """
    return _source(find_model(name, cache_hub=cache_hub), describes=describes)


def find_model(name: str, *, cache_hub: bool = True) -> ModelFiles:
    """The files of the model that ``name`` stands for: path first, then preset, then hub id.

    Raises:
        UsageError: no model has that name.
        TsplannerError: its config.json is broken.
    """
    try:
        path = Path(name).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    # ``~nobody`` raises RuntimeError, and a name that is too long OSError: both are wrong names.
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"Model {named(name)} cannot be looked up: {error!s:.160}.") from error
    if is_folder:
        return _files_in(path)
    if is_file:
        if path.suffix == ".gguf":
            raise refusal_of_gguf(path)
        return _files(path, folder=path.parent)
    if name in preset_names():
        return _files_in(preset_folder(name))
    if cache_hub and _may_be_hub_id(name):
        return _files_in(_hub_folder(name))
    raise UsageError(
        f"No model {named(name)}: it is neither a folder nor a config.json nor a preset."
        f"{did_you_mean(name, preset_names())} The presets: tsplanner models."
    )


def _may_be_hub_id(name: str) -> bool:
    """Whether a name has the form owner/name and is not a path on this machine."""
    path = Path(name)
    local = name.startswith((".", "/", "~")) or path.suffix == ".json" or path.parent.is_dir()
    return name.count("/") == 1 and not local


def _files_in(folder: Path) -> ModelFiles:
    config = folder / "config.json"
    if not config.is_file():
        refuse_other_folder(folder)
        raise TsplannerError(
            f"{folder} has no config.json; give the folder that save_pretrained wrote."
        )
    return _files(config, folder=folder)


def _files(path: Path, folder: Path) -> ModelFiles:
    name = folder.name if path.name == "config.json" else path.stem
    return ModelFiles(name=name or str(path), path=path, folder=folder, config=read_config(path))


def _source(files: ModelFiles, *, describes: bool) -> ModelSource:
    folder = files.folder
    # Weights beside a config of another name may belong to another model.
    own = files.path.name == "config.json"
    architecture = _architecture(files, describes=describes)
    weights = find_weights(folder.resolve()) if own else WeightFiles()
    architecture = untied_by_weights(architecture, files.config, weights)
    check_weights(architecture, files.config, weights)
    return ModelSource(
        architecture=architecture,
        config=files.config,
        folder=folder.resolve(),
        weights=weights,
        tokenizer=folder.resolve() if (folder / "tokenizer.json").is_file() else None,
    )


def _architecture(files: ModelFiles, *, describes: bool) -> Architecture:
    """The architecture by the family's reader or, without one, of the real model."""
    try:
        return read_architecture(files.config, name=files.name, source=str(files.path))
    except NoReaderError:
        if not describes:
            raise
        folder = str(files.folder.resolve())
        found = strangers.architecture(files.config, name=files.name, folder=folder)
        if found is None:
            raise
        return found


def read_config(path: Path) -> dict[str, object]:
    """Decode a config.json.

    Raises:
        TsplannerError: not readable, not JSON, or not an object.
    """
    try:
        if path.stat().st_size > _MOST_CONFIG_BYTES:
            raise TsplannerError(f"{path} is over 8 MiB, which is too large for a config.json.")
        values = decoded(read_text(path), finite=False)
    except OSError as error:
        raise TsplannerError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise TsplannerError(
            f"{path} is not valid JSON ({error}); fetch it again or fix it there."
        ) from error
    if not isinstance(values, dict):
        raise TsplannerError(f"{path} must hold a JSON object, not {type(values).__name__}.")
    return with_own_type(values)


def with_own_type(values: dict[str, object]) -> dict[str, object]:
    """The config under the model type of its class that reads series.

    Some ChatTS releases have their decoder's type and differ from it only by a ``ts`` section.
    """
    found = WITH_SERIES.get(str(values.get("model_type")))
    if found is None or not isinstance(values.get("ts"), dict):
        return values
    return {**values, "model_type": found}


def read_architecture(values: dict[str, object], *, name: str, source: str) -> Architecture:
    """The architecture that a decoded config describes.

    Raises:
        WrongModelError: it describes no causal language model.
        NoReaderError: the ``model_type`` is unknown.
        TsplannerError: the shapes are impossible, or the weights are stored in a form that our
            worker does not train on.
    """
    stored = stored_base(values, source)
    whole = Config(values, source)
    whole.text("model_type", "")
    refuse_other_models(values, source, own=READERS)
    text = text_section(whole)
    config = whole if text is None else text
    model_type = config.text("model_type", "")
    reader = READERS.get(model_type)
    if reader is None:
        raise _no_reader(whole)
    _refuse_infinite(whole)
    config = Config(with_defaults(DEFAULTS.get(model_type, {}), config.values), config.source)
    try:
        found = with_kept_linears(reader(name, config), stored)
        seen = found if text is None else seen_whole(found, whole)
    except (ValueError, OverflowError) as error:
        raise TsplannerError(f"{source}: {error}") from error
    if seen is None:
        raise _no_reader(whole)
    return seen


def _no_reader(config: Config) -> NoReaderError:
    model_type = config.text("model_type", "")
    return NoReaderError(
        f"{config.source}: model_type {named(model_type)} has no reader."
        f"{did_you_mean(model_type, READERS)} Known: {', '.join(sorted(READERS))}."
    )


def _refuse_infinite(config: Config) -> None:
    """Refuse NaN and Infinity, which a plan could not be written with."""
    try:
        json.dumps(config.values, allow_nan=False)
    except ValueError as error:
        raise TsplannerError(
            f"{config.source} holds NaN or Infinity, which JSON has not: write null or a number."
        ) from error


def hub_reason(error: Exception) -> str:
    """Why the hub gave no file, by the name of the library's error: its texts are paragraphs."""
    known = {
        "RepositoryNotFoundError": "there is no such model, or it is private",
        "GatedRepoError": "its terms must be accepted on its page, and a token given (HF_TOKEN)",
        "EntryNotFoundError": "it has no config.json",
        "RemoteEntryNotFoundError": "it has no config.json",
        "LocalEntryNotFoundError": "the hub cannot be reached, and the file is not in its cache",
        "OfflineModeIsEnabled": "HF_HUB_OFFLINE forbids it",
    }
    return known.get(type(error).__name__, f"{type(error).__name__}, the hub gave no answer")


def _hub_folder(name: str) -> Path:
    # A progress bar of one small file would be drawn over our own lines.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise UsageError(
            f"{named(name)} looks like a hub id, which needs huggingface-hub: "
            f"{install_command(Extra.HUB)}, or give a local folder.{_preset_hint(name)}"
        ) from error
    import logging

    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # its retries say nothing new
    try:
        return Path(hf_hub_download(name, "config.json")).parent
    except Exception as error:  # the library raises a wide family of network errors
        raise TsplannerError(
            f"{named(name)} cannot be read from the hub: {hub_reason(error)}; "
            f"give a local folder or a preset.{_preset_hint(name)}"
        ) from error


def _preset_hint(name: str) -> str:
    return did_you_mean(name.rpartition("/")[2].lower(), preset_names())
