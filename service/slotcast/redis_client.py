"""The one way to Redis: address, user, password and TLS of `[store]`, and what its errors mean."""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry

from slotcast.settings import StoreSettings


def open_redis(settings: StoreSettings) -> redis.Redis:
    """A client, which connects when it is asked for something."""
    options: dict[str, Any] = {
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
        # Once, for a connection that went stale: a command may run twice. Never after a time-out,
        # which would double the wait.
        "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    }
    if settings.username is not None:
        options["username"] = settings.username
    if settings.password is not None:
        options["password"] = settings.password.get_secret_value()
    if settings.has_tls:
        options["ssl_check_hostname"] = True  # not the default of every version
        files = (settings.ca_file, settings.certificate_file, settings.key_file)
        names = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
        options |= {name: str(file) for name, file in zip(names, files, strict=True) if file}
    return redis.Redis.from_url(settings.redis_url.get_secret_value(), **options)


def place_of(client: redis.Redis) -> str:
    """Where it is, without a secret."""
    where = client.connection_pool.connection_kwargs
    return f"redis at {where.get('host', where.get('path'))}:{where.get('port', '')}"


def explained(error: Exception, settings: StoreSettings) -> str:
    """The error, with the way out where the cause is who we are or whom we trust."""
    told = str(error)
    if isinstance(error, AuthenticationError) or "NOAUTH" in told:
        user = settings.username or "default, or as in store.redis_url"
        return f"{told} (user {user}): check store.username and store.password"
    if isinstance(error, NoPermissionError):
        return f"{told}: SECURITY.md has the ACL rule that allows what is needed"
    if "CERTIFICATE_VERIFY_FAILED" in told:
        return (
            f"{told}: store.ca_file has to hold the authority that signed its certificate, and the"
            " name in store.redis_url has to be one of the certificate's"
        )
    if any(word in told for word in ("SSL", "_ssl", "ertificate")):
        return f"{told}: does this port take TLS, and does it want store.certificate_file?"
    return told
