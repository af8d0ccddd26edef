"""The sections of the settings: what can be written in watchkeeper.toml, with its meaning and its default."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from watchkeeper.engines.gateway.route_spec import BREAKER, NO_LIMITS, BreakerSpec, LimitSpec, RouteSpec
from watchkeeper.engines.keeping.settings import Retention, Sampling
from watchkeeper.engines.recorder.rule_spec import RuleSpec


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


EMBEDDED = "embedded"


class Server(_Settings, frozen=True):
    """Where the server listens and keeps its data. Table `[server]`."""

    listen: Annotated[str, Meta(description="Address and port, `host:port`. Beyond loopback a key is needed.")] = (
        "127.0.0.1:8787"
    )
    data: Annotated[str, Meta(description="The data directory.")] = ".watchkeeper"
    require_keys: Annotated[bool, Meta(description="Ask for a key on loopback too.")] = False
    hosts: Annotated[
        tuple[str, ...], Meta(description="Host names, besides loopback's, under which this server may be addressed.")
    ] = ()
    drain_s: Annotated[
        float, Meta(ge=0, le=3600, description="How long a server that is stopped waits for calls under way.")
    ] = 20.0
    reload: Annotated[
        bool, Meta(description="Take upstreams, routes and policies anew when the settings file changes.")
    ] = True
    max_body_mb: Annotated[int, Meta(ge=1, le=1024, description="The largest body taken, in MiB.")] = 64
    cells: Annotated[
        str,
        Meta(
            pattern=r"^(embedded|env:\w+)$",
            description="Where budgets, keys and cursors are kept: `embedded` (a file in the data directory), or "
            "`env:NAME`, the variable that holds a PostgreSQL address, so that several servers share one ledger; on "
            "one machine `sqlite:/path/to/file` will do.",
        ),
    ] = EMBEDDED
    otlp_grpc: Annotated[
        Annotated[str, Meta(pattern=r"^\S+:\d{1,5}$")] | None,
        Meta(
            description="Where to take OTLP over gRPC as well, usually `127.0.0.1:4317`. Needs the extra `grpc`. "
            "Beyond loopback a key is needed.",
        ),
    ] = None
    transport: Annotated[
        Literal["native", "libraries"],
        Meta(
            description="Which HTTP layers carry calls: `native` (Watchkeeper's own, on httptools) or `libraries` "
            "(uvicorn and aiohttp)."
        ),
    ] = "native"
    durable_ingest: Annotated[
        bool, Meta(description="Answer OTLP only when the disk has it (survives a power cut), not only the kernel.")
    ] = False

    @property
    def host(self) -> str:
        """The host part of `listen`."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port part of `listen`."""
        return int(self.listen.rpartition(":")[2])

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class Upstream(_Settings, frozen=True):
    """A model provider behind the gateway. Tables `[[upstreams]]`; the first whose models match serves a call."""

    name: Annotated[str, Meta(min_length=1, max_length=64, description="Its name in records, metrics and headers.")]
    base_url: Annotated[
        str, Meta(description="Its base URL, usually ending in /v1; for `azure` the resource, without a path.")
    ]
    credential: Annotated[
        str,
        Meta(
            description="Which credential is sent on: `env:NAME` (read from the environment), `client` (the caller's "
            "own Authorization) or `none`. There is no default and no fallback: the owner decides."
        ),
    ]
    models: Annotated[
        tuple[str, ...], Meta(description="Model names it serves; `*` and `?` match as in file names.")
    ] = ("*",)
    aliases: Annotated[
        dict[str, str], Meta(description="Names that callers may use, each with the model it stands for.")
    ] = {}
    provider: Annotated[
        str | None, Meta(description="Whose prices apply (`openai`, `anthropic`, ...); the name itself when not given.")
    ] = None
    kind: Annotated[
        Literal["openai", "anthropic", "azure"],
        Meta(
            description="How it is addressed: `openai` takes its key as a bearer token, `anthropic` as `x-api-key`, "
            "`azure` as `api-key` with its deployments in the path."
        ),
    ] = "openai"
    api_version: Annotated[
        str | None, Meta(description="For `azure`: its API version, such as `2024-10-21`, or `v1`.")
    ] = None
    connect_timeout_s: Annotated[float, Meta(gt=0, description="Longest wait for a connection, in seconds.")] = 10.0
    timeout_s: Annotated[float, Meta(gt=0, description="Longest silence of the upstream, in seconds.")] = 600.0
    default: Annotated[bool, Meta(description="Whether it takes requests that name no model.")] = False
    max_output_tokens: Annotated[
        int,
        Meta(ge=1, description="The most it writes when a call states no limit; used to reserve money before a call."),
    ] = 4096
    max_input_tokens: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="The most its models read at once; bounds calls whose input lies with the provider, such as "
            "files and conversations that it keeps. Without it a budget refuses those."
        ),
    ] = None
    recording: Annotated[
        Literal["available", "required"],
        Meta(description="`required`: refuse calls that cannot be recorded; `available`: pass them and count."),
    ] = "available"
    ask_usage: Annotated[
        bool,
        Meta(description="Ask the upstream for usage in streams that did not ask for it, and keep it from the caller."),
    ] = False
    idle_timeout_s: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="Longest silence within a stream, in seconds.")
    ] = 300.0
    limits: Annotated[LimitSpec, Meta(description="How much it is asked at once and in a minute.")] = NO_LIMITS
    breaker: Annotated[BreakerSpec, Meta(description="When it is avoided for a while.")] = BREAKER


class Capability(_Settings, frozen=True):
    """One use of a policy, monitor or report. Tables `[[policies]]`, `[[monitors]]`, `[[reports]]`.

    Policies run in the order written. Every report is there without a table; one gives it other parameters, and with a
    `name` of its own there are both.
    """

    use: Annotated[str, Meta(description="The capability's id, e.g. `budget`.")]
    name: Annotated[
        str | None, Meta(description="The name of this use, in records and metrics; the id when not given.")
    ] = None
    mode: Annotated[
        Literal["shadow", "enforce"],
        Meta(description="`shadow` only records what it would rule; `enforce` acts (policies)."),
    ] = "enforce"
    owner: Annotated[str | None, Meta(description="Who answers for it.")] = None
    parameters: Annotated[
        dict[str, Any],
        Meta(
            description="The capability's own parameters; its page in the reference lists them. A monitor takes "
            "`every_s` as well: how often it looks, in seconds."
        ),
    ] = msgspec.field(name="with", default_factory=dict)


class Tool(_Settings, frozen=True):
    """What a tool can do to the world. Tables `[[tools]]`; the evidence pack lists those that nobody declared."""

    name: Annotated[str, Meta(min_length=1, max_length=200, description="The tool's name; `*` and `?` match.")]
    consequence: Annotated[
        Literal["irreversible", "money", "message", "data", "read"],
        Meta(
            description="The worst that it does: acts that cannot be taken back, moves money, sends messages to people "
            "outside, changes data, or only reads."
        ),
    ] = msgspec.field(name="class")
    unit_cost_usd: Annotated[
        tuple[float, float] | None,
        Meta(description="What one wrong call costs, from and to, in US dollars: for the calculator of losses."),
    ] = None
    approval: Annotated[str | None, Meta(description="The approval rule in a sentence, where there is one.")] = None


class Price(_Settings, frozen=True):
    """A price of your own. Tables `[[prices]]`; the first whose model matches wins over the built-in table."""

    model: Annotated[str, Meta(description="The model name; `*` and `?` match as in file names.")]
    input_usd_per_million: Annotated[float, Meta(ge=0, description="US dollars per million input tokens.")]
    output_usd_per_million: Annotated[float, Meta(ge=0, description="US dollars per million output tokens.")]
    cached_usd_per_million: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="US dollars per million input tokens read from cache; the input price when not given."),
    ] = None
    source: Annotated[str, Meta(description="Where the price comes from; kept with every cost.")] = "watchkeeper.toml"


class Notifier(_Settings, frozen=True):
    """Who is told of incidents, and how. Tables `[[notifiers]]`; each is told when one opens or becomes worse.

    A notice that cannot be delivered is tried again and then counted in the drop ledger, with its host and never its
    URL. Every value that may hold a secret can be written `env:NAME`, and is then read from the environment.
    """

    use: Annotated[
        Literal["webhook", "log"],
        Meta(description="`webhook` posts JSON to `url`; `log` writes a line to the server's own log."),
    ]
    name: Annotated[str | None, Meta(description="Its name in messages; what it uses when not given.")] = None
    url: Annotated[
        str | None,
        Meta(description="Where a webhook posts to: an http or https URL, or `env:NAME` of a variable that holds it."),
    ] = None
    headers: Annotated[
        dict[str, str],
        Meta(description="Headers that a webhook sends, for example `Authorization = 'env:HOOK_TOKEN'`."),
    ] = {}
    timeout_s: Annotated[float, Meta(gt=0, le=120, description="Longest wait for a webhook's answer, in seconds.")] = (
        10.0
    )

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that it reads."""
        values = (self.url or "", *self.headers.values())
        return tuple(value.removeprefix("env:") for value in values if value.startswith("env:"))


class Recording(_Settings, frozen=True):
    """How the journal is kept: encryption at rest and checkpoints. Table `[recording]`."""

    encryption: Annotated[
        Literal["none", "subject"],
        Meta(
            description="`subject`: every payload and record is sealed with AES-256-GCM under a key of its tenant's "
            "user, which is wrapped by the master key. Needs `pip install 'watchkeeper[crypt]'`."
        ),
    ] = "none"
    master_key: Annotated[
        str | None,
        Meta(
            description="Where the master key is: `env:NAME`, or a file outside the data directory; 64 hex digits "
            "(`openssl rand -hex 32`)."
        ),
    ] = None
    index_content: Annotated[
        bool,
        Meta(
            description="Whether the index, which is not encrypted, holds previews, messages and attributes. Without "
            "them lists show no text and attributes cannot be searched."
        ),
    ] = True
    redact_credentials: Annotated[
        bool,
        Meta(description="Mask keys, tokens and private keys, and the credentials that this server holds."),
    ] = True
    on_redaction_error: Annotated[
        Literal["closed", "open"],
        Meta(
            description="What cannot be searched is not kept (`closed`) or kept as it is (`open`); counted both ways."
        ),
    ] = "closed"
    checkpoint_minutes: Annotated[
        float, Meta(gt=0, le=1440, description="How often the ends of all chains are written down, in minutes.")
    ] = 10.0
    checkpoint_frames: Annotated[int, Meta(ge=100, description="After how many frames that is done even before.")] = (
        100_000
    )


class Anchor(_Settings, frozen=True):
    """Where checkpoints are kept outside. Tables `[[anchors]]`; one that fails is counted and tried again."""

    use: Annotated[
        Literal["file", "git", "webhook"],
        Meta(
            description="`file` appends a line to `path`; `git` commits a line to a file of the repository at `path`; "
            "`webhook` posts it to `url`."
        ),
    ]
    name: Annotated[str | None, Meta(description="Its name in messages; what it uses when not given.")] = None
    path: Annotated[
        str | None,
        Meta(description="The file, or the folder of the git repository; best on another machine or disk."),
    ] = None
    push: Annotated[
        bool, Meta(description="Whether a git anchor pushes to the branch's upstream after each commit.")
    ] = False
    url: Annotated[str | None, Meta(description="Where a webhook posts to: an http or https URL, or `env:NAME`.")] = (
        None
    )
    secret: Annotated[
        str | None,
        Meta(description="`env:NAME` of a secret with which a webhook's body is signed (HMAC-SHA256)."),
    ] = None
    every_minutes: Annotated[
        float, Meta(gt=0, le=1440, description="How often the newest checkpoint is anchored, in minutes.")
    ] = 60.0
    timeout_s: Annotated[float, Meta(gt=0, le=120, description="Longest wait for the other side, in seconds.")] = 20.0


class SignIn(_Settings, frozen=True):
    """How people sign in to the pages, besides with names and passwords. Table `[sign_in]`."""

    url: Annotated[
        Annotated[str, Meta(pattern=r"^https?://[^/\s]+$")] | None,
        Meta(
            description="The address that browsers use, such as `https://watch.example.org`. With https, cookies are "
            "sent over TLS alone.",
        ),
    ] = None
    hours: Annotated[float, Meta(gt=0, le=720, description="How long a sign-in lasts, in hours.")] = 12.0
    issuer: Annotated[
        str | None,
        Meta(description="The address of an OpenID Connect issuer. Needs `url` and `pip install 'watchkeeper[oidc]'`."),
    ] = None
    client_id: Annotated[str | None, Meta(description="How the issuer knows this server.")] = None
    client_secret: Annotated[
        Annotated[str, Meta(pattern=r"^env:\w+$")] | None,
        Meta(description="`env:NAME` of the secret that the issuer gave, where it gave one; PKCE is used either way."),
    ] = None
    scopes: Annotated[tuple[str, ...], Meta(description="What is asked of the issuer besides `openid`.")] = (
        "profile",
        "email",
    )
    role_claim: Annotated[
        str, Meta(description="The claim that holds groups or roles; dots lead deeper: `realm_access.roles`.")
    ] = "roles"
    roles: Annotated[
        dict[str, Literal["viewer", "operator", "admin"]],
        Meta(description="Which value of the claim gives which role; nobody without one gets in."),
    ] = {}
    tenant_claim: Annotated[
        str | None, Meta(description="The claim that names the one tenant that viewers and operators are bound to.")
    ] = None


class Probe(_Settings, frozen=True):
    """A fixed question that is asked on a schedule, for the `canary` monitor to compare. Tables `[[probes]]`."""

    name: Annotated[str, Meta(min_length=1, max_length=64, description="Its name in scores and findings.")]
    model: Annotated[str, Meta(min_length=1, description="The model to ask, by the name that your callers use.")]
    prompt: Annotated[str | None, Meta(description="One question to ask; or use `messages`.")] = None
    messages: Annotated[
        str | None, Meta(description="A JSON file with a list of messages; relative to the settings file.")
    ] = None
    parameters: Annotated[
        dict[str, Any], Meta(description="Other fields of the request, such as `temperature`, `max_tokens` or `tools`.")
    ] = {}
    samples: Annotated[int, Meta(ge=1, le=100, description="How many times it is asked in a round.")] = 3
    every_s: Annotated[float, Meta(ge=1, description="Seconds between two rounds.")] = 3600.0
    upstream: Annotated[
        str | None, Meta(description="Ask this upstream and no other, whatever the model's route says.")
    ] = None
    steer: Annotated[
        bool,
        Meta(
            description="A change that the `canary` monitor finds in it opens the breaker of its upstream, until it is "
            "accepted or gone."
        ),
    ] = False


class Idempotency(_Settings, frozen=True):
    """Calls that show an `Idempotency-Key`: made once, and answered again from the record. Table `[idempotency]`."""

    keep_hours: Annotated[float, Meta(gt=0, le=24 * 90, description="How long a key is remembered, in hours.")] = 24.0
    wait_s: Annotated[
        float,
        Meta(ge=0, le=3600, description="How long a repeat waits for the first request, in seconds, before a 409."),
    ] = 60.0
    on_unknown: Annotated[
        Literal["refuse", "retry"],
        Meta(
            description="What follows when it is not known what became of the first request: `refuse` (409), or "
            "`retry`, which may be charged twice. A request can say so itself: `X-Watchkeeper-On-Unknown`."
        ),
    ] = "refuse"


class Jobs(_Settings, frozen=True):
    """Work that takes minutes, and the ledger of effects. Table `[jobs]`."""

    at_once: Annotated[int, Meta(ge=1, le=1000, description="How many calls of jobs are under way at once.")] = 8
    most_open: Annotated[
        int, Meta(ge=1, le=100_000, description="How many jobs may be open; further ones get a 429.")
    ] = 1000
    webhook_hosts: Annotated[
        tuple[str, ...], Meta(description="Hosts that jobs may tell of their end. None: no webhooks.")
    ] = ()
    webhook_secret: Annotated[
        Annotated[str, Meta(pattern=r"^env:\w+$")] | None,
        Meta(description="`env:NAME` of the secret that webhooks are signed with (HMAC-SHA256, Standard Webhooks)."),
    ] = None
    keep_effects_days: Annotated[
        float,
        Meta(gt=0, description="How long a settled effect is remembered in the ledger, in days; its record stays."),
    ] = 90.0


class Config(_Settings, frozen=True):
    """All settings."""

    server: Server = Server()
    upstreams: tuple[Upstream, ...] = ()
    routes: tuple[RouteSpec, ...] = ()
    policies: tuple[Capability, ...] = ()
    monitors: tuple[Capability, ...] = ()
    reports: tuple[Capability, ...] = ()
    notifiers: tuple[Notifier, ...] = ()
    probes: tuple[Probe, ...] = ()
    prices: tuple[Price, ...] = ()
    tools: tuple[Tool, ...] = ()
    recording: Recording = Recording()
    sampling: Sampling = Sampling()
    retention: Retention = Retention()
    anchors: tuple[Anchor, ...] = ()
    redactions: tuple[RuleSpec, ...] = ()
    sign_in: SignIn = SignIn()
    idempotency: Idempotency = Idempotency()
    jobs: Jobs = Jobs()
    file: str | None = None

    @property
    def data(self) -> Path:
        """The data directory."""
        return Path(self.server.data)


SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    "redactions": RuleSpec,
    "recording": Recording,
    "sampling": Sampling,
    "retention": Retention,
    "anchors": Anchor,
    "server": Server,
    "sign_in": SignIn,
    "upstreams": Upstream,
    "routes": RouteSpec,
    "policies": Capability,
    "monitors": Capability,
    "reports": Capability,
    "notifiers": Notifier,
    "probes": Probe,
    "prices": Price,
    "tools": Tool,
    "idempotency": Idempotency,
    "jobs": Jobs,
}
ENVIRONMENT: Mapping[str, str] = {
    "WATCHKEEPER_DATA": "server.data",
    "WATCHKEEPER_LISTEN": "server.listen",
    "WATCHKEEPER_CONFIG": "the file itself",
}
