"""Issuers of identity outside: OpenID Connect."""
