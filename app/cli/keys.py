"""`perdure keys`: who may use the service. Works on the database, beside a running service too."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console

from app.access.principal import LOCAL_OWNER, Scope
from app.cli.database import in_database
from app.settings import Settings
from app.storage.key_tables import KeyRow

keys = typer.Typer(help="API keys: who may use the service.", no_args_is_help=True)

Most = Annotated[int | None, typer.Option(min=0, help="0: no limit. By default as the settings say.")]


@keys.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    tenant: Annotated[str, typer.Option(help="The owner that it speaks for.")] = LOCAL_OWNER,
    user: Annotated[str | None, typer.Option(help="The one user of it that it may reach.")] = None,
    scope: Annotated[
        list[Scope] | None, typer.Option(help="Repeat for several; by default read, write.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=36500, help="How long it is valid; by default until revoked.")
    ] = None,
    requests_per_minute: Most = None,
    tokens_per_minute: Most = None,
    stored_mb: Most = None,
    concurrent_generations: Most = None,
) -> None:
    """Make a key and print it, this once: only its digest is stored."""
    from app.access.secrets import digest, new_secret, shown
    from app.ids import new_id
    from app.storage.keys import Keys

    _check(NAME=name, tenant=tenant, user=user)
    if len(tenant) > 64:
        raise typer.BadParameter("at most 64 characters", param_hint="--tenant")
    settings, secret, now = Settings(), new_secret(), datetime.now(UTC)
    row = KeyRow(
        id=new_id("key"),
        owner=tenant,
        user_id=user,
        name=name,
        prefix=shown(secret),
        digest=digest(secret),
        scopes=sorted({each.value for each in scope or (Scope.READ, Scope.WRITE)}),
        requests_per_minute=_limit(requests_per_minute, settings.requests_per_minute),
        tokens_per_minute=_limit(tokens_per_minute, settings.tokens_per_minute),
        stored_mb=_limit(stored_mb, settings.stored_mb),
        concurrent_generations=_limit(concurrent_generations, settings.concurrent_generations),
        created_at=now,
        expires_at=None if days is None else now + timedelta(days=days),
    )
    in_database(settings, lambda session: Keys(session).add(row))
    typer.echo(secret)
    whose = f"user {user} of {tenant}" if user else tenant
    Console(stderr=True).print(
        f"{row.id}: for {whose}; keep it now, it cannot be shown again", markup=False, highlight=False
    )


@keys.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="Only the keys of this owner.")] = None,
) -> None:
    """List all keys, also those that are refused."""
    from app.storage.keys import Keys

    for row in in_database(Settings(), lambda session: Keys(session).list(tenant)):
        whose = f"user {row.user_id} of {row.owner}" if row.user_id else row.owner
        used = f"used {_day(row.last_used_at)}" if row.last_used_at else "never used"
        scopes = " ".join(row.scopes)
        typer.echo(f"{row.id}  {row.prefix}...  {row.name}, {whose}: {scopes}; {_state(row)}, {used}")


@keys.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, or its beginning as `list` shows it.")],
) -> None:
    """Refuse a key from now on, in a running service too."""
    from app.storage.keys import Keys

    name = key.removesuffix("...")
    row = in_database(Settings(), lambda session: Keys(session).revoke(name))
    if row is None:
        raise typer.BadParameter(
            f"there is no one key {key}; `perdure keys list` shows them", param_hint="KEY"
        )
    typer.echo(f"{row.id} is revoked")


def _check(**texts: str | None) -> None:
    for option, text in texts.items():
        if text is not None and not (text.strip() and text.isprintable() and len(text) <= 256):
            hint = option if option.isupper() else f"--{option}"
            raise typer.BadParameter("must be 1 to 256 printable characters, not blank", param_hint=hint)


def _limit(asked: int | None, default: int | None) -> int | None:
    return default if asked is None else asked or None


def _state(row: KeyRow) -> str:
    if row.revoked_at is not None:
        return f"revoked {_day(row.revoked_at)}"
    if row.expires_at is None:
        return "valid"
    word = "until" if row.expires_at > datetime.now(UTC) else "expired"
    return f"{word} {_day(row.expires_at)}"


def _day(time: datetime) -> str:
    return time.strftime("%Y-%m-%d")
