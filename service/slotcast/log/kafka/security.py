"""How all Kafka clients prove who they are and know the broker: TLS and SASL, for either library.

Every client takes its options from here, through `connection` of its library.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

from slotcast.log.port import LogError
from slotcast.settings import KafkaSettings

PROBE_TIMEOUT_S = 2.0
SILENCE_S = 0.5
"""A broker that wants another certificate of ours says so after the handshake, within this time."""


def python_security(settings: KafkaSettings) -> dict[str, Any]:
    """Options for kafka-python. Raises `LogError` when the files are no certificates."""
    options: dict[str, Any] = {"security_protocol": settings.security_protocol}
    if settings.has_tls:
        _trust(settings)  # the library would try again and again, and not say why
        options |= {
            "ssl_cafile": _name(settings.ca_file),
            "ssl_certfile": _name(settings.certificate_file),
            "ssl_keyfile": _name(settings.key_file),
            "ssl_password": _secret(settings.key_password),
        }
    if settings.has_sasl:
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.username,
            "sasl_plain_password": _secret(settings.password),
        }
    return {name: value for name, value in options.items() if value is not None}


def librdkafka_security(settings: KafkaSettings) -> dict[str, Any]:
    """Options for librdkafka, which looks at the files itself."""
    options: dict[str, Any] = {"security.protocol": settings.security_protocol}
    if settings.has_tls:
        options |= {
            "ssl.ca.location": _name(settings.ca_file),
            "ssl.certificate.location": _name(settings.certificate_file),
            "ssl.key.location": _name(settings.key_file or settings.certificate_file),
            "ssl.key.password": _secret(settings.key_password),
        }
    if settings.has_sasl:
        options |= {
            "sasl.mechanism": settings.sasl_mechanism,
            "sasl.username": settings.username,
            "sasl.password": _secret(settings.password),
        }
    return {name: value for name, value in options.items() if value is not None}


def fault(settings: KafkaSettings) -> str:
    """Why brokers that can be reached let nobody in, and the way out; nothing if none is reached.

    kafka-python only says that nobody answered, also to a wrong password: it drops an answer behind
    which the broker hangs up. Takes up to some seconds per broker.
    """
    if not settings.has_tls and not settings.has_sasl:
        return ""
    faults = (_probe(settings, server) for server in settings.bootstrap_servers.split(","))
    return next(filter(None, faults), "")


def _probe(settings: KafkaSettings, server: str) -> str:
    host, _, port = server.strip().rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PROBE_TIMEOUT_S) as plain:
            if settings.has_tls:
                _shake_hands(_trust(settings), plain, host.strip("[]"))
    except ssl.SSLCertVerificationError as error:
        return (
            f"the certificate of {server} is not trusted ({error.verify_message}): kafka.ca_file"
            " has to hold the authority that signed it, and the name in kafka.bootstrap_servers"
            " has to be one of the certificate's"
        )
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError) as error:
        return (
            f"{server} refuses TLS ({getattr(error, 'reason', None) or error}): does the port take"
            " it, and does the broker want kafka.certificate_file of an authority that it trusts?"
        )
    except (OSError, ValueError):
        return ""  # not there
    if not settings.has_sasl:
        return ""
    return (
        f"{server} answers, and lets user {settings.username} not in: check kafka.username,"
        f" kafka.password and kafka.sasl_mechanism, and that its port speaks"
        f" {settings.security_protocol}"
    )


def _shake_hands(trust: ssl.SSLContext, plain: socket.socket, host: str) -> None:
    """Raise `OSError` unless the broker still listens after the handshake."""
    with trust.wrap_socket(plain, server_hostname=host) as wrapped:
        wrapped.settimeout(SILENCE_S)
        try:
            if not wrapped.recv(1):
                raise ConnectionResetError("it hung up after the handshake")
        except TimeoutError:
            pass  # it waits for a request


def _trust(settings: KafkaSettings) -> ssl.SSLContext:
    """Whom we trust, and who we are. Raises `LogError` that names the file."""
    try:
        trust = ssl.create_default_context(cafile=_name(settings.ca_file))
    except (OSError, ValueError) as error:
        raise LogError(f"kafka.ca_file {settings.ca_file} is no PEM file: {error}") from error
    if settings.certificate_file is not None:
        try:
            trust.load_cert_chain(
                settings.certificate_file,
                settings.key_file,
                # Without one, OpenSSL would ask on the terminal.
                _secret(settings.key_password) or "",
            )
        except (OSError, ValueError) as error:
            raise LogError(
                f"kafka.certificate_file {settings.certificate_file} and its key"
                f" {settings.key_file or '(in the same file)'} cannot be used: {error}; is it their"
                " key, in PEM, and is kafka.key_password right?"
            ) from error
    return trust


def _name(path: Any) -> str | None:
    return None if path is None else str(path)


def _secret(secret: Any) -> str | None:
    return None if secret is None else str(secret.get_secret_value())
