"""The storage of a study: a journal in the run folder, or a database named by its URL.

All processes that see its folder may share a journal; all that reach PostgreSQL may share a study
there. A process that claims or releases a trial holds the study's lock meanwhile, which the system
frees at once when its holder dies: a lock on a file, or PostgreSQL's own. Passwords are never
written.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from memory_models.frozen import frozen
from tsplanner import runs
from tsplanner.errors import TsplannerError, UsageError, without_passwords
from tsplanner.install import Extra, install_command
from tsplanner.own_files import refuse_link
from tsplanner.reading import decoded, read_text
from tsplanner.tune.study.locks import DatabaseLock, FileLock

JOURNAL_FILE = "study.journal"
DATABASE_FILE = "study.json"
"""Names the database of a study that a database keeps."""
LOCK_FILE = "study.lock"
STUDY_NAME = "tsplanner"
KEEPALIVE = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
"""PostgreSQL frees the lock of a machine that vanished after 25 s, not after two hours."""
FORMS = "postgresql://user@host/database or sqlite:///file"


@frozen
class StudyStorage:
    """The storage of a study, open."""

    storage: Any
    """Optuna's storage."""
    lock: AbstractContextManager[Any]
    """A lock that one process at a time holds, of all that share the study."""
    name: str
    """The study's name in the storage."""
    display_name: str
    """The storage for a person: a file, or a URL without its password."""
    is_shared: bool = True
    """Whether several processes may use the storage at once."""
    is_remote: bool = False
    """Whether processes may share the storage without sharing a folder."""


def holds_study(folder: Path) -> bool:
    """Whether a run folder has a study, or names the database that has."""
    return (folder / JOURNAL_FILE).is_file() or (folder / DATABASE_FILE).is_file()


def open_storage(folder: Path, url: str | None = None) -> StudyStorage:
    """Open the journal or database of a run folder, or make it; ``url`` None: as noted there.

    Raises UsageError for a URL of another kind, and TsplannerError, with nothing changed, if the
    storage cannot be used.
    """
    known = _known_database(folder)
    if url is None and known is None:
        return _journal(folder)
    if known is None and (folder / JOURNAL_FILE).is_file():
        raise TsplannerError(f"{folder} keeps its search in {JOURNAL_FILE}: leave out --storage.")
    return _database(folder, url or (known or {})["storage"], known)


def check_storage_url(url: str) -> None:
    """Raise UsageError or TsplannerError for a URL that is of no use; no run folder is made."""
    parsed = _parsed(url)
    plain = _plain(parsed)
    with _one_sentence(plain, Path(), parsed.password):
        _rdb(parsed, parsed.get_backend_name() == "postgresql")


def _journal(folder: Path) -> StudyStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    for name in (JOURNAL_FILE, LOCK_FILE):
        refuse_link(folder / name)
    path, lock = folder / JOURNAL_FILE, FileLock(folder / LOCK_FILE)

    class WholeLines(JournalFileBackend):  # type: ignore[misc]
        """Never appends to a line that a killed process or a full disk has left half written."""

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
            with lock, path.open("r+b") as file:
                end = _whole_end(file)
                file.truncate(end)
                file.seek(end)
                try:
                    file.write(lines.encode())
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    with contextlib.suppress(OSError):
                        os.truncate(path, end)
                    raise

    with _one_sentence(str(path), folder):
        try:
            storage = JournalStorage(WholeLines(str(path), lock_obj=lock))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TsplannerError(
                f"{path} cannot be opened as a search ({type(error).__name__}: {reason(error)}): "
                "it is left as it is; search in a new run folder."
            ) from error
    return StudyStorage(storage=storage, lock=lock, name=STUDY_NAME, display_name=str(path))


def _whole_end(file: Any) -> int:
    """Byte position at which the last whole line of a file ends."""
    # Every append looks for this place, so the file is read from its end.
    size: int = file.seek(0, os.SEEK_END)
    end = size
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + int(found) + 1
        end = start
    return 0


def _known_database(folder: Path) -> dict[str, str] | None:
    path = folder / DATABASE_FILE
    if not path.is_file():
        return None
    try:
        value = decoded(read_text(path))
        return {"storage": str(value["storage"]), "study": str(value["study"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TsplannerError(f"{path} names no database and study: {error}.") from error


def _parsed(url: str) -> Any:
    """The URL, with our driver; raises UsageError for one of another kind."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql+psycopg://", url))
    except (ArgumentError, ValueError):
        raise UsageError(f"--storage takes {FORMS}") from None
    if parsed.get_backend_name() not in ("postgresql", "sqlite") or not parsed.database:
        raise UsageError(f'--storage takes {FORMS}, not "{without_passwords(url)}"')
    return parsed


def _plain(parsed: Any) -> str:
    """A URL without its password."""
    from sqlalchemy import URL

    # `hide_password=True` would write *** in the password's place, and a resumed search
    # would take *** for the password.
    plain = URL.create(
        parsed.get_backend_name(),
        username=parsed.username,
        host=parsed.host,
        port=parsed.port,
        database=parsed.database,
        query={key: value for key, value in parsed.query.items() if "password" not in key},
    )
    return str(plain.render_as_string(hide_password=False))


def _database(folder: Path, url: str, known: dict[str, str] | None) -> StudyStorage:
    """A study in a database, under the name that the run folder notes."""
    parsed = _parsed(url)
    plain, postgres = _plain(parsed), parsed.get_backend_name() == "postgresql"
    if known is not None and known["storage"] != plain:
        raise TsplannerError(
            f"{folder} keeps its search in {known['storage']}, not in {plain}: name that one, or "
            "leave out --storage."
        )
    with _one_sentence(plain, folder, parsed.password):
        storage = _rdb(parsed, postgres)
    if known is None:
        # One database keeps the studies of many machines, whose run folders may have equal names.
        name = f"{runs.slug(folder.name)}-{os.urandom(4).hex()}"
        note_database(folder, url, name)
    else:
        name = known["study"]
    lock = DatabaseLock(storage.engine, name) if postgres else FileLock(folder / LOCK_FILE)
    return StudyStorage(
        storage=storage,
        lock=lock,
        name=name,
        display_name=plain,
        is_shared=postgres,
        is_remote=postgres,
    )


def database_study(url: str, name: str) -> Any:
    """Optuna's study of that name, to be read.

    Raises UsageError or TsplannerError as `open_storage` does, and if there is no such study.
    """
    import optuna

    parsed = _parsed(url)
    plain, postgres = _plain(parsed), parsed.get_backend_name() == "postgresql"
    with _one_sentence(plain, Path(), parsed.password):
        try:
            return optuna.load_study(study_name=name, storage=_rdb(parsed, postgres))
        except KeyError:
            raise TsplannerError(f"{plain} has no search named {name}.") from None


def note_database(folder: Path, url: str, name: str) -> None:
    """Note in a run folder which database and study it belongs to."""
    runs.write_json(folder / DATABASE_FILE, {"storage": _plain(_parsed(url)), "study": name})


def _rdb(parsed: Any, postgres: bool) -> Any:
    from optuna.storages import RDBStorage

    # Where a database was restarted, its pooled connections are dead and have to be replaced first.
    options: dict[str, Any] = {"pool_pre_ping": True}
    if postgres:
        options["connect_args"] = {"connect_timeout": 10, "options": KEEPALIVE}
    return RDBStorage(parsed.render_as_string(hide_password=False), engine_kwargs=options)


@contextlib.contextmanager
def _one_sentence(display_name: str, folder: Path, password: Any = None) -> Iterator[None]:
    """Turn whatever a storage that cannot be used raises into one sentence."""
    try:
        yield
    except ImportError as error:
        raise TsplannerError(
            f"{display_name} needs a driver that is not installed: "
            f"{install_command(Extra.POSTGRES)}."
        ) from error
    except TsplannerError:
        raise
    except OSError as error:
        sentence = runs.disk_error_sentence(error, folder)
        raise TsplannerError(sentence or f"{display_name} cannot be used: {error}.") from error
    except Exception as error:  # from the driver, SQLAlchemy or Optuna
        # The cause is not chained below, because its text may hold the password.
        words = reason(error)
        if password:
            words = words.replace(str(password), "***")
        raise TsplannerError(
            f"{display_name} cannot be used ({words}): nothing was changed; see to it, or leave "
            "out --storage to keep the search in its run folder."
        ) from None


def reason(error: BaseException) -> str:
    """The first line of the error behind an error, cut to what a message shows."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(getattr(error, "orig", None) or error).splitlines()]
    return without_passwords(next(filter(None, lines), type(error).__name__))[:200].rstrip(".")
