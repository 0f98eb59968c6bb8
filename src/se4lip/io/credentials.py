"""Content credentials (C2PA): a signed statement inside a media file of how the file was made.

https://spec.c2pa.org. Nothing here uses the network: no time stamp is asked for when signing, and
nothing that a file refers to is fetched when it is read.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from se4lip.io.certificates import Certificate, own_certificate_authority
from se4lip.io.files import existing_file
from se4lip.types import InputError

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MEDIA_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime"}
PART_PREFIX = "se4lip."
LABEL = f"{PART_PREFIX}label"
_ELSEWHERE = "must fetch remote manifests from url "  # what C2PA says instead of fetching
_NO_MEDIA = "asset could not be parsed"  # of a file that is damaged outside its credential
_OFFLINE: dict[str, dict[str, Any]] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {
        "allowed_network_hosts": [],
        "decode_identity_assertions": False,
        "backing_store_memory_threshold_in_mb": 16,  # larger files go through one on disk
    },
    "builder": {"thumbnail": {"enabled": False}},
}


@dataclass(frozen=True)
class Origin:
    """What a video says of its making.

    ``source_type`` is an IPTC digital source type: ``trainedAlgorithmicMedia`` where every picture
    is drawn by a trained model, ``compositeSynthetic`` where others stand beside such pictures.
    ``parts`` are what it was made with: "avatar", "encoder" and so on, each with name and SHA-256.
    ``label`` is the word that stands in the pictures, if one does.
    """

    comment: str = "synthetic video"
    source_type: Literal["trainedAlgorithmicMedia", "compositeSynthetic"] = (
        "trainedAlgorithmicMedia"
    )
    parts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    label: str | None = None

    def manifest(self, title: str) -> dict[str, Any]:
        """C2PA's description of the file: created by this software, from what, with what."""
        agent = {"name": "se4lip", "version": version("se4lip")}
        created = {
            "action": "c2pa.created",
            "digitalSourceType": SOURCE_TYPES + self.source_type,
            "softwareAgent": agent,
            "description": self.comment,
            "parameters": {
                f"{PART_PREFIX}{what}": {"name": name, "sha256": sha256}
                for what, (name, sha256) in self.parts.items()
            }
            | ({} if self.label is None else {LABEL: self.label}),
        }
        return {
            "claim_generator_info": [agent],
            "title": title,
            "assertions": [{"label": "c2pa.actions", "data": {"actions": [created]}}],
        }


class Seal:
    """A certificate ready to sign.

    Raises:
        InputError: C2PA does not accept it. This is tried at once, before hours of drawing.
    """

    def __init__(self, certificate: Certificate) -> None:
        import c2pa

        self._certificate = certificate
        trial = io.BytesIO(_SMALLEST_PNG)
        try:
            self._sign(Origin().manifest("trial"), "image/png", trial, io.BytesIO())
        except c2pa.C2paError as error:
            reason = str(error).removeprefix("Signature: ").removeprefix("Other: ")
            raise InputError(
                f"{certificate.origin} cannot sign content credentials ({reason}): give one that "
                "is valid today, was issued by another certificate, and has the key usage "
                "digitalSignature and the extended key usage emailProtection"
            ) from error

    def sign(self, path: Path, origin: Origin, title: str) -> None:
        """Put a credential into the finished file ``path``, or leave it as it is.

        Raises:
            OSError: the disk is full, or the file cannot be read.
        """
        import c2pa

        media_type = MEDIA_TYPES[path.suffix.lower()]
        part = path.with_name(f"{path.stem}.signed{path.suffix}")
        try:
            with path.open("rb") as plain, _Goal(part) as signed:
                try:
                    self._sign(origin.manifest(title), media_type, plain, signed)
                except c2pa.C2paError:
                    if signed.trouble is not None:
                        raise signed.trouble from None
                    raise
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _sign(self, manifest: dict[str, Any], media_type: str, plain: Any, signed: Any) -> None:
        import c2pa

        of = self._certificate
        info = c2pa.C2paSignerInfo(of.algorithm, of.chain, of.key, None)
        with (
            c2pa.Signer.from_info(info) as signer,
            c2pa.Context.from_dict(_OFFLINE) as context,
            c2pa.Builder(json.dumps(manifest), context) as builder,
        ):
            builder.sign(signer, media_type, plain, signed)


def read_credentials(path: Path | str, trusted: Path | None = None) -> dict[str, Any] | None:
    """All credentials of a media file with C2PA's judgement of them, as its JSON; None without any.

    A file may only name an address where its credential lies: ``{"elsewhere": ADDRESS}``, not
    fetched. A credential that is there and too damaged to be read: ``{"unreadable": REASON}``.
    ``trusted`` is a PEM file of authorities to believe, beside the one of this computer.

    Raises:
        InputError: the file, or that of the authorities, cannot be read.
    """
    import c2pa

    anchors = own_certificate_authority() or b""
    if trusted is not None:
        anchors += _authorities(trusted)
    settings = _OFFLINE | ({"trust": {"user_anchors": anchors.decode()}} if anchors else {})
    existing_file(path, "video")
    with c2pa.Context.from_dict(settings) as context, Path(path).open("rb") as file:
        try:
            with c2pa.Reader(None, file, context=context) as reader:
                return json.loads(reader.json())
        except (c2pa.C2paError.ManifestNotFound, c2pa.C2paError.NotSupported):
            return None  # none in it, or none possible in such a file
        except c2pa.C2paError as error:
            _, elsewhere, address = str(error).partition(_ELSEWHERE)
            if elsewhere:
                return {"elsewhere": address}
            if not isinstance(error, c2pa.C2paError.Io) and _NO_MEDIA not in str(error):
                return {"unreadable": str(error)}
            raise InputError(
                f"{path} cannot be searched for content credentials ({error}): fetch it again"
            ) from error


def _authorities(path: Path) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    content = existing_file(path, "file of trusted authorities").read_bytes()
    try:
        found = x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise InputError(
            f"there is no certificate in {path}: give a PEM file of trusted authorities"
        ) from error
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in found)


class _Goal(io.BufferedRandom):
    """A file that remembers why it could not be written; C2PA only tells that it could not."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w+"))
        self.trouble: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.trouble = error
            raise

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self.trouble = error
            raise


_SMALLEST_PNG = bytes.fromhex(  # one grey pixel
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636000000002000148afa4710000000049454e44ae426082"
)
