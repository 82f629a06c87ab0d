"""What went wrong in TLS, in OpenSSL's words.

Every HTTP library wraps OpenSSL's errors in its own, and some take OpenSSL's code for an errno: code 1 becomes
"Operation not permitted". This module unwraps the original error.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from p2pqwen.errors import UsageError

_MAX_CHAIN = 20
_WRAPPED = ("os_error", "certificate_error", "reason", "__cause__", "__context__")  # aiohttp's, urllib3's, Python's
_CA_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
# x509_vfy.h
_TIME = frozenset({9, 10})
_UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})


def tls_words(error: BaseException) -> str | None:
    """Return OpenSSL's reason for a failed connection, with advice; None if TLS did not fail."""
    found = next((one for one in _chain(error) if isinstance(one, ssl.SSLError) and _is_openssls(one)), None)
    if found is None:
        return None
    if isinstance(found, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {found.verify_message}; {_advice(found.verify_code)}"
    reason = (found.reason or str(found)).replace("_", " ").lower()
    return f"TLS fails there: {reason}"


def check_authorities() -> None:
    """Raise `UsageError` if a variable names certificates that do not exist.

    httpx2 then fails with the system's bare "No such file"; OpenSSL ignores it and trusts nobody.
    """
    if missing := _missing():
        raise UsageError(
            f"{missing[0]} names a file that does not exist", expected="certificates to trust", got=missing[1]
        )


def _is_openssls(error: ssl.SSLError) -> bool:
    """Tell OpenSSL's own errors from aiohttp's, which inherit from the same classes but lack its reason."""
    return type(error).__module__ == ssl.SSLError.__module__


def _advice(code: int) -> str:
    if code in _TIME:
        return "is this machine's clock right?"
    if missing := _missing():
        return f"{missing[0]} names {missing[1]}, which is not there"
    if code in _UNKNOWN_ISSUER:
        return "if a proxy intercepts TLS, name its authority's certificate in SSL_CERT_FILE"
    return "something else may answer in its place"


def _missing() -> tuple[str, str] | None:
    """Return the variable, with its value, that names certificates which do not exist."""
    named = ((name, os.environ.get(name)) for name in _CA_VARIABLES)
    return next(((name, value) for name, value in named if value and not _is_there(value)), None)


def _is_there(paths: str) -> bool:
    """Tell whether any of the paths exists: SSL_CERT_DIR may name several folders."""
    return any(Path(one).exists() for one in paths.split(os.pathsep))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those it wraps, breadth first."""
    waiting, seen = [error], 0
    while waiting and seen < _MAX_CHAIN:
        one = waiting.pop(0)
        seen += 1
        yield one
        wrapped = (*(getattr(one, name, None) for name in _WRAPPED), *one.args)
        waiting += [inner for inner in wrapped if isinstance(inner, BaseException)]
