"""Certificates for HTTPS on loopback: a test authority, and a server certificate that it issued."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certified:
    """A server's TLS context, and the file of the authority that clients must trust (`SSL_CERT_FILE`)."""

    context: ssl.SSLContext
    authority: Path


def certify(folder: Path, host: str = "127.0.0.1", *, valid_from: timedelta = -_DAY) -> Certified:
    """Make an authority and a certificate for an IPv4 address or a name, valid for 2 days from now + `valid_from`."""
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    authority = (
        _certificate(issuer, issuer, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    literal = host.replace(".", "").isdigit()
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host)) if literal else x509.DNSName(host)])
    server = _certificate(subject, issuer, server_key, valid_from).add_extension(names, critical=False)
    chain, authority_file = folder / "server.pem", folder / "authority.pem"
    chain.write_bytes(
        server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + server.sign(authority_key, SHA256()).public_bytes(Encoding.PEM)
    )
    authority_file.write_bytes(authority.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return Certified(context, authority_file)


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, valid_from: timedelta = -_DAY
) -> x509.CertificateBuilder:
    begin = datetime.now(UTC) + valid_from
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + 2 * _DAY)
    )
