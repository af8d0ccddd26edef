"""Builds what takes sensitive values out of the record, from the settings and the secrets of a data directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import lru_cache

from watchkeeper.config import Config, ConfigError
from watchkeeper.engines.recorder.capture import Capture, ExportRedactor, Private
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.ledger import DropLedger
from watchkeeper.engines.recorder.private_records import PrivateRecords
from watchkeeper.engines.recorder.redaction import Redactor
from watchkeeper.engines.recorder.rule_spec import RuleSpec
from watchkeeper.engines.recorder.rules import Rule, WrongRule
from watchkeeper.records.identity import Identity

CREDENTIALS = RuleSpec(detect="secret_keys", action="mask")
SECRET = "redaction"


def rules_of(config: Config, environ: Mapping[str, str] | None = None) -> tuple[Rule, ...]:
    """The rules in force; raises `ConfigError` that names the one that is wrong.

    Unless the owner turns it off, the first one masks credentials: nobody wants a provider's key in a record, it is
    worth stealing the record for, and its forms are so particular that little else is taken with it. What is personal
    is the owner's to say: masking e-mail addresses in a help desk's traffic would take out what it is about.
    """
    rules = []
    if config.recording.redact_credentials:
        rules.append(Rule(CREDENTIALS, held(config, environ)))
    for number, each in enumerate(config.redactions):
        rules.append(_rule(each, f"{config.file or 'settings'}: `redactions[{number}]`"))
    return tuple(rules)


def _rule(spec: RuleSpec, place: str) -> Rule:
    try:
        return Rule(spec)
    except WrongRule as error:
        raise ConfigError(f"{place}: {error}.") from error


def held(config: Config, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The credentials that this process holds: those that the settings read from the environment."""
    variables = os.environ if environ is None else environ
    names = [each.credential.removeprefix("env:") for each in config.upstreams if each.credential.startswith("env:")]
    names += [name for each in config.notifiers for name in each.variables]
    names += [config.sign_in.client_secret.removeprefix("env:")] if config.sign_in.client_secret else []
    return tuple(value for name in names if (value := variables.get(name)) and not value.startswith("http"))


def redactor_of(config: Config, home: Home, environ: Mapping[str, str] | None = None) -> Redactor:
    """The redactor of a data directory, whose tokens are the same in all its processes."""
    return Redactor(rules_of(config, environ), home.secret(SECRET))


def private_of(config: Config, home: Home) -> Private:
    """What every writer of a data directory does to what it writes."""
    return Private(redactor_of(config, home), exports(), config.recording.on_redaction_error)


def captured(config: Config, home: Home, journal: Journal, door: str, ledger: DropLedger | None = None) -> Capture:
    """A journal behind redaction and the drop ledger."""
    return Capture(journal, private_of(config, home), ledger or DropLedger(), door)


def tokens_of(config: Config, home: Home) -> Callable[[str, str], frozenset[str]]:
    """What the rules in force put in place of a tenant's user's name."""
    records = PrivateRecords(redactor_of(config, home))

    def tokens(tenant: str, user: str) -> frozenset[str]:
        said = records.identity(Identity(tenant=tenant, user=user)).user
        return frozenset({said} if said else ()) - {user}

    return tokens


@lru_cache(maxsize=1)
def exports() -> dict[FrameKind, ExportRedactor]:
    """How the frames of foreign payloads are searched."""
    from watchkeeper.adapters.formats.otlp_private import EXPORTS

    kinds = {"traces": FrameKind.OTLP, "logs": FrameKind.OTLP_LOGS}
    return {kind: EXPORTS[name] for name, kind in kinds.items()}


def privacy_metrics(process: str, ledger: DropLedger, redacted: Mapping[str, int]) -> bytes:
    """Losses by kind and values taken out by rule, in the Prometheus text format."""
    lines = [
        "# HELP watchkeeper_drops_total What could not be kept, by what, reason and door; also in the drop ledger.",
        "# TYPE watchkeeper_drops_total counter",
    ]
    for (what, reason, door), count in sorted(ledger.totals().items()):
        labels = f'process="{process}",what="{what}",reason="{reason}",door="{door}"'
        lines.append(f"watchkeeper_drops_total{{{labels}}} {count}")
    lines += [
        "# HELP watchkeeper_drops_unwritten Losses that are counted and not yet in the journal.",
        "# TYPE watchkeeper_drops_unwritten gauge",
        f'watchkeeper_drops_unwritten{{process="{process}"}} {ledger.waiting}',
        "# HELP watchkeeper_redactions_total Values that were taken out before they were recorded, by rule.",
        "# TYPE watchkeeper_redactions_total counter",
    ]
    lines += [
        f'watchkeeper_redactions_total{{process="{process}",rule="{rule}"}} {count}'
        for rule, count in sorted(redacted.items())
    ]
    return ("\n".join(lines) + "\n").encode()
