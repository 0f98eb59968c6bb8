"""Who signs the videos we write: the user's certificate, or one that this computer makes itself.

A self-made certificate is known to nobody. What it signs cannot be altered unnoticed, but who
signed it remains unsaid; for that the user needs a certificate of an authority that verifiers
trust. No private key comes with the package.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from se4lip.io.files import atomic, existing_file
from se4lip.types import InputError

if TYPE_CHECKING:
    from cryptography import x509

CREDENTIALS_VARIABLE = "SE4LIP_CREDENTIALS"
SELF_MADE = "se4lip self-made"
_OWN_FILE = "content-credentials.pem"
_OWN_YEARS = 25
_HOW = f"give --credentials CERT.pem KEY.pem, or {CREDENTIALS_VARIABLE}=CERT.pem{os.pathsep}KEY.pem"


@dataclass(frozen=True)
class Certificate:
    """A chain, the signer first, and the signer's private key, as PEM; C2PA's name of its kind."""

    chain: bytes
    key: bytes = field(repr=False)
    algorithm: str
    origin: str  # for sentences about it


def chosen_certificate(given: tuple[Path, Path] | None = None) -> Certificate:
    """``given`` (chain, key), else those that ``SE4LIP_CREDENTIALS`` names, else our own.

    Raises:
        InputError: files that cannot be read, or that do not belong together.
    """
    if given is None and (named := os.environ.get(CREDENTIALS_VARIABLE)):
        paths = named.split(os.pathsep)
        if len(paths) != 2:
            raise InputError(
                f"{CREDENTIALS_VARIABLE} names {len(paths)} files, two are needed: {_HOW}"
            )
        given = Path(paths[0]), Path(paths[1])
    if given is None:
        return _own()
    chain, key = given
    return _checked(
        existing_file(chain, "certificate").read_bytes(),
        existing_file(key, "private key").read_bytes(),
        f"certificate {chain} with key {key}",
    )


def own_certificate_authority() -> bytes | None:
    """The authority of the certificate that this computer made, as PEM, if it has made one."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        content = (data_folder() / _OWN_FILE).read_bytes()
        return x509.load_pem_x509_certificates(content)[-1].public_bytes(Encoding.PEM)
    except (OSError, RuntimeError, ValueError):
        return None


def data_folder() -> Path:
    """What is kept for good: ``SE4LIP_DATA``, else the platform's folder for it."""
    chosen = os.environ.get("SE4LIP_DATA")
    if chosen:
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "se4lip"
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", Path.home() / "AppData" / "Roaming")) / "se4lip"
    return Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share")) / "se4lip"


def _own() -> Certificate:
    """This computer's certificate, made when it is first needed.

    Where nothing can be kept, it lasts for this run.
    """
    file: Path | None = None
    with contextlib.suppress(RuntimeError):  # no home
        file = data_folder() / _OWN_FILE
    if file is not None and file.exists():
        content = existing_file(file, "certificate").read_bytes()
        return _checked(content, content, f"this computer's own certificate {file}")
    content = _self_made()
    if file is not None:
        with contextlib.suppress(InputError), atomic(file) as part:
            part.chmod(0o600)  # before there is anything to read
            part.write_bytes(content)
    return _checked(content, content, "this computer's own certificate")


def _checked(chain: bytes, key: bytes, origin: str) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
        load_pem_private_key,
    )

    try:
        certificates = x509.load_pem_x509_certificates(chain)
    except ValueError as error:
        raise InputError(f"{origin}: there is no PEM certificate in the first: {_HOW}") from error
    try:
        private: Any = load_pem_private_key(key, password=None)
    except (TypeError, ValueError) as error:
        why = "is locked by a password" if isinstance(error, TypeError) else "is no PEM private key"
        raise InputError(f"{origin}: the key {why}, a plain one is needed: {_HOW}") from error
    raw = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if private.public_key().public_bytes(*raw) != certificates[0].public_key().public_bytes(*raw):
        raise InputError(f"{origin}: the key belongs to another certificate: {_HOW}")
    return Certificate(
        b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates),
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        _algorithm(private, origin),
        origin,
    )


def _algorithm(private: Any, origin: str) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    curves = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in curves:
        return curves[private.curve.name]
    raise InputError(f"{origin}: C2PA knows keys of RSA, Ed25519 and the NIST curves only: {_HOW}")


def _self_made() -> bytes:
    """A certificate, the authority that issued it, and its key. The authority's key is forgotten,
    so that nothing else can ever be issued in its name. Nothing in it tells who or where we are."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    authority, own = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    issuer = _name(f"{SELF_MADE} authority")
    subject = _name(f"{SELF_MADE} {os.urandom(4).hex()}")
    certificates = [
        _certificate(subject, issuer, own.public_key(), authority, is_authority=False),
        _certificate(issuer, issuer, authority.public_key(), authority, is_authority=True),
    ]
    return b"".join(c.public_bytes(Encoding.PEM) for c in certificates) + own.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def _name(common: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"{SELF_MADE}, not verified")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate(
    subject: x509.Name, issuer: x509.Name, public: Any, authority: Any, *, is_authority: bool
) -> x509.Certificate:
    """As C2PA's certificate profile asks (specification 2.2, section 14.5.1)."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import ExtendedKeyUsageOID

    now = datetime.datetime.now(datetime.UTC)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    ) | {"encipher_only": False, "decipher_only": False}
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=365 * _OWN_YEARS))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not is_authority,
                key_cert_sign=is_authority,
                crl_sign=is_authority,
                **usage,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
            critical=False,
        )
    )
    if not is_authority:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        made = made.add_extension(purpose, critical=False)
    return made.sign(authority, SHA256())
