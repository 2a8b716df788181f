"""Settings of a worker: a TOML file, overridden by environment variables.

`SLOTCAST_KAFKA__BOOTSTRAP_SERVERS=broker:9092` overrides `bootstrap_servers` in `[kafka]`. Nothing
here changes a forecast, except `[schema]` and `[bundle]`, which together are the bundle's identity:
changing them under running memory is refused (see docs/recovery.md).
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from slotcast.config_faults import ConfigError, told
from slotcast.section import ReadableFile, Secret, Section
from slotcast_models.schema import TickSchema


class KafkaSettings(Section):
    """`[kafka]`: brokers, topics and the consumer group."""

    bootstrap_servers: str = Field("127.0.0.1:9092", description="Brokers, comma-separated.")
    client: Literal["kafka-python", "librdkafka"] = Field(
        "kafka-python", description="Client library; librdkafka is an extra, and faster."
    )
    group: str = Field(
        "slotcast", min_length=1, description="Consumer group; also names the memory."
    )
    ticks: str = Field("ticks", description="Input topic, keyed by instrument.")
    forecasts: str = Field("forecasts", description="Output topic, same number of partitions.")
    dead_letters: str = Field("dead-letters", description="Topic for records that are no ticks.")
    create_topics: bool = Field(True, description="Create missing topics at start.")
    partitions: int = Field(4, ge=1, description="Partitions of topics that slotcast creates.")
    replication: int = Field(1, ge=1, description="Replication of topics that slotcast creates.")
    instance_id: str | None = Field(None, description="Static member name, unique per worker.")
    leave_on_stop: bool = Field(
        False, description="A static member that stops gives its partitions away at once."
    )
    delivery: Literal["exactly-once", "at-least-once"] = Field(
        "exactly-once", description="One transaction per commit, or none and a little less latency."
    )
    transaction_timeout_ms: int = Field(
        10_000, ge=1_000, description="Longest a dead worker's transaction holds readers up."
    )
    session_timeout_ms: int = Field(
        6_000, ge=1_000, description="Silence after which a worker is dead."
    )
    max_poll_interval_ms: int = Field(10_000, ge=1_000, description="Longest time between polls.")
    delivery_timeout_ms: int = Field(10_000, ge=1_000, description="Longest time a send may take.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="SSL is TLS; with SASL, clients have a name and a password."
    )
    ca_file: ReadableFile | None = Field(
        None, description="PEM of the authority of the brokers' certificates; none = the system's."
    )
    certificate_file: ReadableFile | None = Field(
        None, description="PEM of our certificate, for brokers that want one."
    )
    key_file: ReadableFile | None = Field(
        None, description="PEM of its private key; none = in `certificate_file`."
    )
    key_password: Secret | None = Field(None, description="Password of the key.")
    key_password_file: Path | None = Field(None, description="File with `key_password`.")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How the password is proven."
    )
    username: str | None = Field(None, min_length=1, description="SASL user.")
    password: Secret | None = Field(None, description="SASL password.")
    password_file: Path | None = Field(None, description="File with `password`.")

    @field_validator("bootstrap_servers")
    @classmethod
    def _servers_have_ports(cls, servers: str) -> str:
        """kafka-python looks for a nameless broker, and trips over a port that is no number."""
        if not all(re.fullmatch(r"\s*[^\s,]+:\d+\s*", server) for server in servers.split(",")):
            raise ValueError("give HOST:PORT, with commas between several")
        return servers

    @property
    def has_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def has_sasl(self) -> bool:
        """Whether clients have a name and a password."""
        return self.security_protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    @model_validator(mode="after")
    def _security_is_whole(self) -> KafkaSettings:
        """A password that is not used, or sent to nobody, is a mistake that nothing else shows."""
        if self.has_sasl and (self.username is None or self.password is None):
            raise ValueError(f"{self.security_protocol} needs username and password_file")
        if not self.has_sasl and (self.username or self.password):
            raise ValueError("username and password need security_protocol = SASL_SSL")
        if not self.has_tls and (self.ca_file or self.certificate_file or self.key_file):
            raise ValueError("ca_file, certificate_file and key_file need SSL or SASL_SSL")
        if self.key_file and not self.certificate_file:
            raise ValueError("key_file needs certificate_file")
        return self


class StoreSettings(Section):
    """`[store]`: where snapshots go and how often."""

    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        min_length=1,
        description="Redis with maxmemory-policy noeviction; rediss:// is with TLS.",
    )
    redis_url_file: Path | None = Field(None, description="File with `redis_url`.")
    username: str | None = Field(None, min_length=1, description="ACL user; none = `default`.")
    password: Secret | None = Field(None, description="Its password.")
    password_file: Path | None = Field(None, description="File with `password`.")
    ca_file: ReadableFile | None = Field(
        None, description="PEM of the authority of Redis' certificate; none = the system's."
    )
    certificate_file: ReadableFile | None = Field(
        None, description="PEM of our certificate, for a Redis that wants one."
    )
    key_file: ReadableFile | None = Field(
        None, description="PEM of its private key; none = in `certificate_file`."
    )
    prefix: str = Field("slotcast", description="First part of every key.")
    snapshot_interval_s: float = Field(5.0, gt=0, description="Time between watermarks.")
    timeout_s: float = Field(2.0, gt=0, description="Longest wait for one answer of the store.")
    patience_s: float = Field(10.0, ge=0, description="Wait for a lost store before going without.")

    @field_validator("redis_url")
    @classmethod
    def _url_is_of_redis(cls, url: SecretStr) -> SecretStr:
        """What is no address is found now, and told without the secret that it may hold."""
        try:
            parts = urlsplit(url.get_secret_value())
            known = parts.scheme in ("redis", "rediss", "unix") and parts.port != 0
        except ValueError:
            known = False
        if not known:
            raise ValueError("give redis://HOST:PORT/NUMBER, rediss:// for TLS, or unix://PATH")
        return url

    @property
    def has_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.redis_url.get_secret_value().startswith("rediss://")

    @model_validator(mode="after")
    def _security_is_whole(self) -> StoreSettings:
        if not self.has_tls and (self.ca_file or self.certificate_file or self.key_file):
            raise ValueError("ca_file, certificate_file and key_file need a rediss:// redis_url")
        if self.key_file and not self.certificate_file:
            raise ValueError("key_file needs certificate_file")
        return self


class WorkerSettings(Section):
    """`[worker]`: slots and the size of a poll."""

    slots: int = Field(1_024, ge=1, description="Instruments kept in memory between commits.")
    max_poll_ticks: int = Field(10_000, ge=1, description="Most ticks in one commit.")
    most_rows_mb: int = Field(
        1_024, ge=1, description="Most memory of rows that cannot leave while the store is away."
    )
    poll_timeout_ms: int = Field(200, ge=100, description="Longest wait of a poll without records.")
    commit_interval_ms: int = Field(0, ge=0, description="Least spacing of commits.")
    lag_ready_ticks: int = Field(100_000, ge=0, description="Not ready while further behind.")
    on_damage: Literal["fail", "cold", "warm-up"] = Field(
        "fail", description="When the log no longer holds what exact recovery needs."
    )


class HttpSettings(Section):
    """`[http]`: REST, metrics and the live page."""

    host: str = Field("127.0.0.1", description="Address to bind.")
    port: int = Field(8080, ge=0, le=65535, description="Port; 0 takes a free one.")
    advertise: str | None = Field(
        None,
        pattern=r"^https?://[^/\s]+[^\s]*$",
        description="URL of this worker for the others; none = host and port.",
    )
    token: Secret | None = Field(None, description="Bearer token for resets; none = open.")
    token_file: Path | None = Field(None, description="File with `token`.")
    anyone_may_reset: bool = Field(
        False, description="Serve an address beyond loopback although there is no token."
    )
    reset_timeout_s: float = Field(10.0, gt=0, description="Wait for a reset's commit, then 202.")

    @model_validator(mode="after")
    def _open_doors_are_meant(self) -> HttpSettings:
        if self.token is None and not self.anyone_may_reset and not _is_loopback(self.host):
            raise ValueError(
                f"without a token, everyone who reaches {self.host} may reset: set token_file, or"
                " host = 127.0.0.1, or anyone_may_reset = true if that is meant"
            )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class MetricsSettings(Section):
    """`[metrics]`: series of single instruments, for those who want them."""

    instruments: int = Field(
        0, ge=0, le=1_000, description="Most instruments with series of their own; 0 = none."
    )
    search: str = Field("", description="Part of their names; the first in name order are shown.")


class BundleSettings(Section):
    """`[bundle]`: the network and everything else the fold depends on."""

    path: Path | None = Field(None, description="Bundle directory; none = the default bundle.")
    sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="Of its manifest, which pins every file; none = any bundle that is whole.",
    )


class Settings(BaseSettings):
    """All settings. `Settings.load(path)` reads the file and the environment."""

    model_config = SettingsConfigDict(
        env_prefix="SLOTCAST_",
        env_prefix_target="all",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    store: StoreSettings = StoreSettings()
    worker: WorkerSettings = WorkerSettings()
    http: HttpSettings = HttpSettings()
    metrics: MetricsSettings = MetricsSettings()
    bundle: BundleSettings = BundleSettings()
    tick_schema: TickSchema | None = Field(
        None, alias="schema", description="What a tick looks like; none = the bundle's, or a price."
    )

    @field_validator("tick_schema", mode="before")
    @classmethod
    def _avro_schema_is_read(cls, value: Any) -> Any:
        """What is in the file takes the place of its name: memory depends on that."""
        given = value.get("avro_schema") if isinstance(value, dict) else None
        if not isinstance(given, str) or given.lstrip().startswith("{"):
            return value
        try:
            return value | {"avro_schema": Path(given).read_text("utf-8")}
        except OSError as error:
            raise ValueError(f"avro_schema: cannot read {given}: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path | None = None) -> Settings:
        """Settings from `path` (TOML), environment first. Raises `ConfigError`."""
        if path is not None and not path.is_file():
            raise ConfigError(f"config file {path} does not exist: give --config FILE")

        class FromFile(Settings):
            model_config = SettingsConfigDict(toml_file=path)

            @classmethod
            def settings_customise_sources(
                cls,
                settings_cls: type[BaseSettings],
                init_settings: PydanticBaseSettingsSource,
                env_settings: PydanticBaseSettingsSource,
                dotenv_settings: PydanticBaseSettingsSource,
                file_secret_settings: PydanticBaseSettingsSource,
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))

        try:
            return FromFile()
        except ValidationError as error:
            raise told(error, cls, path) from None
        except (OSError, ValueError) as error:
            cause = error.__cause__ or error
            raise ConfigError(f"cannot read {path or 'the environment'}: {cause}") from error
