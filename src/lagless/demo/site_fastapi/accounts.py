"""Passwords, and who is logged in: read from the databases for each page, as Django does."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from lagless.demo.site_fastapi.tables import Login, User

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

COOKIE = "session"
_SALT = 8  # bytes


async def reader_of(database: AsyncSession, key: str | None) -> User | None:
    """Who the browser with this key is; two reads if it is somebody."""
    if key is None:
        return None
    user = await database.scalar(select(Login.user_id).where(Login.key == key))
    return None if user is None else await database.get(User, user)


async def log_in(database: AsyncSession, user: int) -> str:
    """Note that a browser is this user's; the key to give it."""
    key = secrets.token_urlsafe()
    await database.execute(insert(Login).values(key=key, user_id=user))
    return key


async def log_out(database: AsyncSession, key: str) -> None:
    """Forget a browser."""
    await database.execute(delete(Login).where(Login.key == key).execution_options(synchronize_session=False))


def hashed(password: str, salt: str | None = None) -> str:
    """What is kept of a password. Not slow: that would only take the two cores away from what is measured."""
    salt = salt or secrets.token_hex(_SALT)
    return f"{salt}${hashlib.blake2b(password.encode(), digest_size=32, salt=bytes.fromhex(salt)).hexdigest()}"


def matches(password: str, kept: str) -> bool:
    """Whether it is the password that was hashed."""
    salt, hash_, _ = kept.partition("$")
    return bool(hash_) and hmac.compare_digest(kept, hashed(password, salt))
