"""From the headers of a request to whom it speaks for."""

import asyncio
import ipaddress
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from app.access.limits import Allowance, Allowances
from app.access.principal import LOCAL, KeyLimits, Principal, Scope
from app.access.rules import is_for_user, needed_scope
from app.access.secrets import MARK, digest
from app.errors import KeyNeededProblem, NotFoundProblem, ScopeProblem, StorageLimitProblem
from app.settings import Settings, SettingsError
from app.storage.database import Database, migrate
from app.storage.key_tables import KeyRow
from app.storage.keys import Keys
from app.storage.repository import UserOfOwner
from app.storage.usage import StoredBytes

log = structlog.get_logger()

USE_NOTED_EVERY = timedelta(minutes=1)
STORED_COUNTED_EVERY_S = 30.0


class Authenticator:
    """Looks each key up in the database, so that one that is revoked is refused at once."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._needs_key = needs_key(settings)
        self._allowances = Allowances(database)
        self._noting: set[asyncio.Task[None]] = set()
        self._stored: dict[str, tuple[float, int]] = {}

    async def principal(self, headers: Mapping[bytes, bytes]) -> Principal:
        """Whom a request with these headers speaks for. Raises KeyNeededProblem.

        Where no key is needed, one that is not ours counts as none: clients of other services cannot but
        send one.
        """
        secret = _secret(headers)
        if secret is None or not (self._needs_key or secret.startswith(MARK)):
            if self._needs_key:
                raise KeyNeededProblem("this service needs an API key, as `Authorization: Bearer ...`")
            return LOCAL
        async with self._database.read() as session:
            row = await Keys(session).usable(digest(secret))
        if row is None:
            raise KeyNeededProblem("the API key is unknown, revoked or expired")
        self._note_use(row)
        return _principal(row)

    @staticmethod
    def check_scope(principal: Principal, method: str, path: str) -> Scope | None:
        """What the request needs. Raises ScopeProblem, or NotFoundProblem for a key of another user."""
        needed = needed_scope(method, path)
        if needed is not None and needed not in principal.scopes:
            raise ScopeProblem(f"this key lacks the scope `{needed}`", scope=needed)
        if principal.user_id is not None and not is_for_user(method, path, principal.user_id):
            raise NotFoundProblem("there is nothing at this address")
        return needed

    def allowance(self, principal: Principal) -> Allowance | None:
        """What the key has left; None without a key."""
        return self._allowances.of(principal.key_id, principal) if principal.key_id else None

    async def check_stored(self, principal: Principal, coming_bytes: int) -> None:
        """Raise StorageLimitProblem if the key's share of the database is used up.

        What is stored is counted now and then; until then, what comes in is added to it.
        """
        most, key_id = principal.limits.stored_bytes, principal.key_id
        if most is None or key_id is None:
            return
        now = asyncio.get_running_loop().time()
        counted_at, stored = self._stored.get(key_id, (now, -1))
        if stored < 0 or now - counted_at > STORED_COUNTED_EVERY_S or stored + coming_bytes > most:
            async with self._database.read() as session:
                counted_at, stored = now, await StoredBytes(session, principal.owner).count()
        if stored + coming_bytes > most:
            raise StorageLimitProblem(
                f"this key may store {most} bytes, and {stored} are stored; delete something first",
                limit=most,
                stored_bytes=stored,
            )
        self._stored[key_id] = (counted_at, stored + coming_bytes)

    async def close(self) -> None:
        await self._allowances.close()
        if self._noting:
            await asyncio.wait(self._noting)

    def _note_use(self, row: KeyRow) -> None:
        """Now and then, and beside the request, which must not wait for whoever writes."""
        if row.last_used_at is not None and datetime.now(UTC) - row.last_used_at < USE_NOTED_EVERY:
            return
        if any(task.get_name() == row.id for task in self._noting):
            return
        task = asyncio.create_task(self._write_use(row.id), name=row.id)
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def _write_use(self, key_id: str) -> None:
        try:
            async with self._database.write() as session:
                await Keys(session).note_use(key_id)
        except Exception:
            log.exception("the use of a key could not be noted", key=key_id)


def needs_key(settings: Settings) -> bool:
    """Whether every request needs a key: if that is set, or others than this machine can ask."""
    return settings.require_key or not is_loopback(settings.host)


def check_a_key_exists(settings: Settings) -> None:
    """Raise SettingsError if the service would listen to others, and none of them could be let in. Blocks."""
    migrate(settings.database)
    if not asyncio.run(_is_any_usable(settings)):
        raise SettingsError(
            f"{settings.host} can be reached from other machines, and there is no API key: make one with "
            "`perdure keys create NAME`, or listen on 127.0.0.1 (PERDURE_HOST)"
        )


async def _is_any_usable(settings: Settings) -> bool:
    database = Database(settings.database)
    try:
        async with database.read() as session:
            return await Keys(session).is_any_usable()
    finally:
        await database.close()


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _principal(row: KeyRow) -> Principal:
    limits = KeyLimits(
        requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute,
        stored_bytes=None if row.stored_mb is None else row.stored_mb * 2**20,
        concurrent_generations=row.concurrent_generations,
    )
    everything = Principal(row.owner, frozenset(Scope(each) for each in row.scopes), row.id, limits)
    return (
        everything if row.user_id is None else replace(everything, owner=UserOfOwner(row.owner, row.user_id))
    )


def _secret(headers: Mapping[bytes, bytes]) -> str | None:
    """The key that a request gives, if any: as a bearer token, or in a header of its own."""
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get(b"x-api-key", b"").decode("latin-1").strip() or None
