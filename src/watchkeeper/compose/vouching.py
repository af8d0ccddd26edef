"""Builds the client of the issuer that `[sign_in]` names, if it names one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from watchkeeper.config import Config, ConfigError

if TYPE_CHECKING:
    from watchkeeper.adapters.identity.oidc import Issuer

CALLBACK = "/ui/signin/callback"


def issuer_of(config: Config, environ: Mapping[str, str] | None = None) -> Issuer | None:
    """The issuer's client, None where the settings name none; raises `ConfigError` with what to do."""
    settings = config.sign_in
    if settings.issuer is None:
        return None
    from watchkeeper.adapters.identity.oidc import Issuer, IssuerError, IssuerSettings

    secret = None
    if settings.client_secret is not None:
        name = settings.client_secret.removeprefix("env:")
        secret = (os.environ if environ is None else environ).get(name)
        if not secret:
            raise ConfigError(f"{config.file or 'settings'}: `sign_in.client_secret` reads {name}, which is not set.")
    try:
        return Issuer(
            IssuerSettings(
                issuer=settings.issuer,
                client_id=settings.client_id or "",
                client_secret=secret,
                redirect_uri=f"{(settings.url or '').rstrip('/')}{CALLBACK}",
                scopes=settings.scopes,
                role_claim=settings.role_claim,
                roles={value: str(role) for value, role in settings.roles.items()},
                tenant_claim=settings.tenant_claim,
            )
        )
    except IssuerError as error:
        raise ConfigError(f"{config.file or 'settings'}: {error}") from error
