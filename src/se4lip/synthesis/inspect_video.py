"""The verb ``inspect``: what a video says of its making, and whether that holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from se4lip.io.certificates import SELF_MADE
from se4lip.io.credentials import LABEL, PART_PREFIX, SOURCE_TYPES, read_credentials
from se4lip.io.media import read_tags

Verdict = Literal["holds", "broken", "none"]

# IPTC's terms for what trained models made, or had a part in.
_SYNTHETIC = {
    "trainedAlgorithmicMedia": "drawn by a trained model",
    "compositeSynthetic": "composed of synthetic and other parts",
    "compositeWithTrainedAlgorithmicMedia": "edited with a trained model",
}
_TECHNICAL = {"major_brand", "minor_version", "compatible_brands"}
_UNTRUSTED = "signingCredential.untrusted"


@dataclass(frozen=True)
class Inspection:
    """``verdict``: the credential ``holds``, is ``broken``, or there is ``none``.

    Everything but ``tags``, which anybody can write, is what the latest credential says; of a
    broken one it is worth nothing. ``synthetic`` is true where it, or one that it builds upon,
    says so. ``parts`` are what se4lip names: avatar, encoder; ``label`` is the word that it says
    stands in the pictures. ``trusted``: the signer belongs to
    this computer or to an authority given. ``changed``: the file is not what was signed, None where
    that cannot be told. ``failures`` are C2PA's codes, or why a broken credential cannot be read.
    ``elsewhere``: the address of a credential that is not in the file; it is not fetched.
    """

    video: Path
    verdict: Verdict
    synthetic: bool | None = None
    source_type: str | None = None
    made_by: str | None = None
    parts: dict[str, dict[str, str]] = field(default_factory=dict)
    label: str | None = None
    signer: str | None = None
    signed_at: str | None = None
    trusted: bool = False
    changed: bool | None = None
    failures: tuple[str, ...] = ()
    elsewhere: str | None = None
    tags: dict[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"video": str(self.video)}

    def sentence(self) -> str:
        """What the file is, who made it, whether the signature holds, whether it was changed."""
        if self.verdict == "none":
            said = f"{self.video} carries no content credential: how it was made cannot be told"
            if self.elsewhere is not None:
                said = (
                    f"{self.video} carries no content credential, it only names an address where "
                    f"one lies, {self.elsewhere!r}: how it was made cannot be told without fetching"
                )
            comment = self.tags.get("comment")
            return said if comment is None else f"{said} (nothing protects its comment {comment!r})"
        if self.verdict == "broken" and self.changed is None:
            return (
                f"{self.video} carries a content credential that is damaged "
                f"({', '.join(self.failures)}), and nothing of what it says can be relied on"
            )
        if self.verdict == "broken":
            trouble = "was changed after it was signed"
            if not self.changed:
                trouble = "carries a credential that is not valid"
            return (
                f"{self.video} {trouble} ({', '.join(self.failures)}): it once said "
                f"{self._kind()}, {self._maker()}, and none of that can be relied on"
            )
        return (
            f"{self.video} says {self._kind()}, {self._maker()}; it is signed by {self._signer()}, "
            "the signature holds, and pictures and sound were not changed since"
        )

    def _kind(self) -> str:
        shown = "" if self.label is None else f", with the label {self.label!r} in its pictures"
        return f"{self._source()}{shown}"

    def _source(self) -> str:
        if self.source_type in _SYNTHETIC:
            return f"that it is synthetic, {_SYNTHETIC[self.source_type]}"
        if self.synthetic:
            return "that it builds upon something synthetic"
        if self.source_type:
            return f"that it is {self.source_type!r}"
        return "nothing of what it is"

    def _maker(self) -> str:
        # In quotes, like all that a stranger wrote: it must not read as our own words.
        made = repr(self.made_by) if self.made_by else "a program without a name"
        named = [
            f"{what if what.isalnum() else repr(what)} {part['name']!r} "
            f"(sha256 {part['sha256'][:12] if part['sha256'].isalnum() else 'unknown'})"
            for what, part in sorted(self.parts.items())
        ]
        return f"written by {made}" + (f" with {' and '.join(named)}" if named else "")

    def _signer(self) -> str:
        name = repr(self.signer or "nobody named")
        if not self.trusted:
            return f"{name}, for whom no authority known here vouches"
        if name.startswith(f"'{SELF_MADE}"):
            return f"this computer's own certificate {name}"
        return f"{name}, for whom an authority you trust vouches"


def inspect_video(video: Path, trusted: Path | None = None) -> Inspection:
    """Read the content credential of ``video`` and its plain tags.

    ``trusted`` is a PEM file of authorities whose signers are to be believed.

    Raises:
        InputError: a file that cannot be read.
    """
    tags = {name: value for name, value in read_tags(video).items() if name not in _TECHNICAL}
    found = read_credentials(video, trusted)
    if found is None:
        return Inspection(video, "none", tags=tags)
    if "elsewhere" in found:
        return Inspection(video, "none", elsewhere=found["elsewhere"], tags=tags)
    if "unreadable" in found:
        return Inspection(video, "broken", failures=(found["unreadable"],), tags=tags)
    manifests: dict[str, Any] = found.get("manifests", {})
    latest = manifests.get(found.get("active_manifest", ""), {})
    actions = _actions(latest)
    types = [_source_type(action) for action in actions]
    of_all = {_source_type(action) for one in manifests.values() for action in _actions(one)}
    source_type = next((one for one in types if one), None)
    failures = _failures(found)
    signature = latest.get("signature_info", {})
    return Inspection(
        video,
        "broken" if found.get("validation_state") == "Invalid" else "holds",
        synthetic=bool(of_all & set(_SYNTHETIC)),
        source_type=source_type,
        made_by=_generator(latest),
        parts=_parts(actions),
        label=_label(actions),
        signer=signature.get("common_name") or signature.get("issuer"),
        signed_at=signature.get("time"),
        trusted=found.get("validation_state") == "Trusted",
        changed=any(code.endswith("mismatch") for code in failures),
        failures=failures,
        tags=tags,
    )


def _actions(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        action
        for assertion in manifest.get("assertions", [])
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", [])
    ]


def _source_type(action: dict[str, Any]) -> str | None:
    found = action.get("digitalSourceType")
    return None if found is None else str(found).removeprefix(SOURCE_TYPES)


def _generator(manifest: dict[str, Any]) -> str | None:
    for one in manifest.get("claim_generator_info") or []:
        return " ".join(str(one[key]) for key in ("name", "version") if one.get(key)) or None
    return manifest.get("claim_generator")


def _parts(actions: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    return {
        key.removeprefix(PART_PREFIX): {
            "name": str(value.get("name", "")),
            "sha256": str(value.get("sha256", "")),
        }
        for action in actions
        for key, value in (action.get("parameters") or {}).items()
        if key.startswith(PART_PREFIX) and isinstance(value, dict)
    }


def _label(actions: list[dict[str, Any]]) -> str | None:
    found = ((action.get("parameters") or {}).get(LABEL) for action in actions)
    return next((one for one in found if isinstance(one, str)), None)


def _failures(found: dict[str, Any]) -> tuple[str, ...]:
    """C2PA's codes of what is wrong. An unknown signer is not wrong, but unknown."""
    codes = [str(one.get("code")) for one in found.get("validation_status") or []]
    return tuple(code for code in dict.fromkeys(codes) if code != _UNTRUSTED)
