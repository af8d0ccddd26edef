"""Where an upstream is, and how requests to it are addressed."""

from __future__ import annotations

import ssl

import pytest

from watchkeeper.engines.gateway.transport.origin import origin_of, target_of, verified


@pytest.mark.parametrize(
    ("url", "secure", "host", "port", "shown", "prefix"),
    [
        ("https://api.example.com/v1", True, "api.example.com", 443, "api.example.com", "/v1"),
        ("https://api.example.com/v1/", True, "api.example.com", 443, "api.example.com", "/v1"),
        ("http://localhost:11434/v1", False, "localhost", 11434, "localhost:11434", "/v1"),
        ("http://host/\u4e2d a", False, "host", 80, "host", "/%E4%B8%AD%20a"),
        ("http://host:80", False, "host", 80, "host", ""),
        ("http://[::1]:8080/a/b", False, "::1", 8080, "[::1]:8080", "/a/b"),
        ("https://b\u00fccher.example/v1", True, "xn--bcher-kva.example", 443, "xn--bcher-kva.example", "/v1"),
    ],
)
def test_a_base_url_names_a_server(url: str, secure: bool, host: str, port: int, shown: str, prefix: str) -> None:
    origin = origin_of(url)
    assert (origin.secure, origin.host, origin.port, origin.host_header, origin.prefix) == (
        secure, host, port, shown, prefix,
    )  # fmt: skip
    assert origin.login is None


def test_a_login_in_the_url_becomes_a_header() -> None:
    assert origin_of("http://me:p%40ss@host/v1").login == "Basic bWU6cEBzcw=="


@pytest.mark.parametrize("url", ["ftp://host", "http://", "host/v1"])
def test_what_names_no_server_is_an_error(url: str) -> None:
    with pytest.raises(ValueError, match="no http"):
        origin_of(url)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/chat", "/v1/chat"),
        ("/chat?a=b", "/v1/chat?a=b"),
        ("/a b", "/v1/a%20b"),
        ("/x\r\ny: z", "/v1/x%0D%0Ay:%20z"),
        ("/\xe4", "/v1/%E4"),
    ],
)
def test_a_target_never_leaves_its_line(path: str, target: str) -> None:
    assert target_of("/v1", path) == target


def test_servers_are_verified_by_name_and_authority() -> None:
    context = verified()
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
