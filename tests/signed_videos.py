"""Videos with a credential, certificates of authorities outside se4lip, and `se4lip inspect`."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from recordings import flash, tone
from se4lip import cli
from se4lip.io.credentials import Origin
from se4lip.io.video_writing import write_video
from se4lip.types import Speech

SECOND = [t / 25 for t in range(25)]
PARTS = {"avatar": ("somebody", "ab" * 32), "encoder": ("some encoder", "cd" * 32)}
ORIGIN = Origin("synthetic speech video", parts=PARTS)


def make(path, certificate=None, origin=ORIGIN):
    speech = Speech(tone(1, 16_000, 0.5))
    write_video(path, flash(SECOND, 0.5), speech, origin=origin, certificate=certificate)
    return path


def run(capsys, *arguments):
    code = cli.main(["inspect", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def pem(certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def key_pem(key, password: bytes | None = None) -> bytes:
    how = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example Press"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def issued(public, authority, days=(-1, 30), purpose=True, ca=False):
    """A certificate as an authority outside se4lip would issue it."""
    now = datetime.datetime.now(datetime.UTC)
    flags = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    ) | {"encipher_only": False, "decipher_only": False, "crl_sign": ca}
    made = (
        x509.CertificateBuilder()
        .subject_name(name("authority" if ca else "newsroom"))
        .issuer_name(name("authority"))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, **flags), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
            critical=False,
        )
    )
    if purpose and not ca:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        made = made.add_extension(usage, critical=False)
    return made.sign(authority, SHA256())


def files(folder, chain: bytes, key: bytes):
    (folder / "cert.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(key)
    return folder / "cert.pem", folder / "key.pem"
