"""Restoring a backup: all of it or nothing, whenever the process is killed.

It is unpacked, checked and migrated in a folder of its own inside the home. Renaming that folder is the
moment from which on the backup counts; what is left to move is then moved by whoever claims the home next.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from app import __version__
from app.backup.archive import (
    DATABASE,
    BackupError,
    Manifest,
    check_all_is_at_home,
    open_archive,
    sync,
    unpack,
)
from app.home import PARTIAL, RESTORED, claim_home, finish_restore
from app.settings import Settings
from app.storage.database import MIGRATIONS, migrate
from llm.progress import Progress, silent


def restore(settings: Settings, source: Path, *, force: bool, progress: Progress = silent) -> Manifest:
    """Put what a backup holds into the home folder; with `force`, in the place of what is there. Blocks.

    Raises BackupError, HomeInUseError if a service runs there, and OSError: then the home is as it was.
    """
    check_all_is_at_home(settings)
    archive, manifest = open_archive(source)
    with archive:
        _check_version(manifest)
        with claim_home(settings.home):
            if not force and _is_in_use(settings):
                raise BackupError(
                    f"{settings.home} holds chats or documents; --force puts the backup in their place"
                )
            folder = settings.home / PARTIAL
            folder.mkdir(mode=0o700)
            try:
                progress("unpacking", 0, 3)
                unpack(archive, manifest, folder)
                progress("checking and migrating", 1, 3)
                _bring_up(folder / DATABASE)
                progress("putting in place", 2, 3)
                for path in (*folder.glob("**/*"), folder):
                    sync(path)
                folder.replace(settings.home / RESTORED)
                sync(settings.home)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            finish_restore(settings.home)
            progress("putting in place", 3, 3)
    return manifest


def _check_version(manifest: Manifest) -> None:
    """Raise BackupError if the backup has a schema that this version of Perdure does not know."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        known = ScriptDirectory.from_config(config).get_revision(manifest.revision)
    except CommandError:
        known = None
    if known is None:
        raise BackupError(
            f"the backup was made by Perdure {manifest.perdure}, with the schema {manifest.revision}, which "
            f"this one, {__version__}, does not know: restore it with that version or a newer one"
        )


def _is_in_use(settings: Settings) -> bool:
    folder = settings.documents_folder
    return settings.database_path.exists() or (folder.is_dir() and any(folder.iterdir()))


def _bring_up(database: Path) -> None:
    """Check the database, and migrate it to this version's schema. Raises BackupError."""
    try:
        with closing(sqlite3.connect(database)) as connection:
            [(verdict,)] = connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict != "ok":
        raise BackupError(f"the database in the backup is damaged: {verdict}")
    migrate(database)
    database.chmod(0o600)
