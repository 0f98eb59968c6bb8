"""Content credentials: written into every video, read back, and not to be altered unnoticed."""

import datetime
import errno
import io
import json
import os
import socket
import stat

import av
import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from recordings import flash, record, tone, wav
from se4lip import cli
from se4lip.inspect_video import inspect_video
from se4lip.io import credentials
from se4lip.io.certificates import chosen_certificate, data_folder, own_certificate_authority
from se4lip.io.credentials import Origin
from se4lip.io.pictures import labelled
from se4lip.io.video import read_frames, write_video
from se4lip.types import InputError, Speech

SECOND = [t / 25 for t in range(25)]
PARTS = {"avatar": ("somebody", "ab" * 32), "encoder": ("some encoder", "cd" * 32)}
ORIGIN = Origin("synthetic speech video", parts=PARTS)


def make(path, certificate=None, origin=ORIGIN):
    speech = Speech(tone(1, 16_000, 0.5))
    write_video(path, flash(SECOND, 0.5), speech, origin=origin, certificate=certificate)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("made") / "made.mp4")


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


@pytest.fixture(scope="module")
def authority():
    return ec.generate_private_key(ec.SECP256R1())


def files(folder, chain: bytes, key: bytes):
    (folder / "cert.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(key)
    return folder / "cert.pem", folder / "key.pem"


def test_a_video_says_what_it_is_and_by_what_it_was_made(made, capsys):
    code, printed, _ = run(capsys, made, "--json")
    found = json.loads(printed)
    assert code == 0
    assert found["verdict"] == "holds"
    assert (found["synthetic"], found["source_type"]) == (True, "trainedAlgorithmicMedia")
    assert found["made_by"].startswith("se4lip ")
    assert found["parts"] == {
        what: {"name": name, "sha256": sha256} for what, (name, sha256) in PARTS.items()
    }
    assert (found["trusted"], found["changed"], found["failures"]) == (True, False, [])
    assert found["tags"]["comment"].endswith(": synthetic speech video")


def test_it_says_so_in_one_sentence(made, capsys):
    code, printed, _ = run(capsys, made)
    sentence, *tags = printed.splitlines()
    version = inspect_video(made).made_by
    signer = inspect_video(made).signer
    assert code == 0
    assert sentence == (
        f"{made} says that it is synthetic, drawn by a trained model, written by {version} with "
        f"avatar 'somebody' (sha256 abababababab) and encoder 'some encoder' (sha256 cdcdcdcdcdcd)"
        f"; it is signed by this computer's own certificate '{signer}', the signature holds, and "
        "the file was not changed since"
    )
    assert any(tag.startswith("  tag comment: se4lip ") for tag in tags)


def test_a_signed_video_is_still_a_video(made):
    levels = [picture.mean() for picture in read_frames(made)]
    assert len(levels) == 25
    assert levels[0] < 60 < 200 < levels[-1]


def altered(content: bytes, part: str) -> bytes:
    at = {
        "picture": content.index(b"mdat") + 300,
        "header": content.index(b"mvhd") + 20,
        "what it says": content.index(b"somebody"),
    }
    if part == "length":
        return content[:-1]
    changed = bytearray(content)
    changed[at[part]] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("part", ["picture", "header", "what it says", "length"])
def test_whoever_alters_it_is_found_out(part, made, tmp_path, capsys):
    file = tmp_path / "altered.mp4"
    file.write_bytes(altered(made.read_bytes(), part))
    found = inspect_video(file)
    assert (found.verdict, found.changed) == ("broken", True)
    code, printed, _ = run(capsys, file)
    assert code == 1
    assert printed.startswith(f"{file} was changed after it was signed (assertion.")
    assert "none of that can be relied on" in printed


def test_a_credential_cannot_be_moved_to_another_video(made, tmp_path):
    """The box that holds it, cut out of one file and put in place of another's."""

    def box(content: bytes) -> slice:
        start = content.index(b"uuid") - 4
        return slice(start, start + int.from_bytes(content[start : start + 4], "big"))

    other = tmp_path / made.name
    write_video(other, flash(SECOND, 0.2), Speech(tone(1, 16_000)), origin=ORIGIN)
    theirs, ours = other.read_bytes(), made.read_bytes()
    gap = box(theirs)
    assert gap.stop - gap.start == box(ours).stop - box(ours).start
    other.write_bytes(theirs[: gap.start] + ours[box(ours)] + theirs[gap.stop :])
    assert (inspect_video(other).verdict, inspect_video(other).changed) == ("broken", True)


def test_a_video_without_credential_is_told_as_such(tmp_path, capsys):
    plain = record(tmp_path / "plain.mp4", flash(SECOND, 0.5), SECOND)
    code, printed, _ = run(capsys, plain)
    assert code == 3
    assert printed.startswith(
        f"{plain} carries no content credential: how it was made cannot be told\n"
    )
    assert json.loads(run(capsys, plain, "--json")[1])["verdict"] == "none"


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".wav"])
def test_other_kinds_of_files_may_be_asked_too(suffix, tmp_path, capsys):
    file = tmp_path / f"a{suffix}"
    if suffix == ".wav":
        wav(file, tone(0.2, 16_000), 16_000)
    else:
        codec = "libx264" if suffix == ".mkv" else "mpeg4"
        record(file, flash(SECOND, 0.5), SECOND, video_codec=codec, b_frames=0, ticks_hz=25)
    assert run(capsys, file)[0] == 3


def test_writing_it_anew_strips_the_credential_and_the_comment_is_not_believed(made, tmp_path):
    copy = tmp_path / "copy.mp4"
    with av.open(str(made)) as source, av.open(str(copy), "w") as goal:
        goal.metadata.update(source.metadata)
        stream = goal.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                goal.mux(packet)
    found = inspect_video(copy)
    assert (found.verdict, found.synthetic) == ("none", None)
    assert found.sentence().endswith(f"(nothing protects its comment {found.tags['comment']!r})")


def test_another_computer_is_not_vouched_for_unless_its_authority_is_trusted(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("SE4LIP_DATA", str(tmp_path / "theirs"))
    video = make(tmp_path / "a.mp4")
    root = tmp_path / "root.pem"
    root.write_bytes(own_certificate_authority())
    monkeypatch.setenv("SE4LIP_DATA", str(tmp_path / "ours"))
    assert (inspect_video(video).verdict, inspect_video(video).trusted) == ("holds", False)
    assert ", for whom no authority known here vouches, the sig" in run(capsys, video)[1]
    assert inspect_video(video, root).trusted
    (tmp_path / "no.pem").write_text("hello")
    assert run(capsys, video, "--trust", tmp_path / "no.pem") == (
        2,
        "",
        f"se4lip: there is no certificate in {tmp_path / 'no.pem'}: "
        "give a PEM file of trusted authorities\n",
    )


def test_this_computers_certificate_is_made_once_and_only_for_its_user(tmp_path, monkeypatch):
    monkeypatch.setenv("SE4LIP_DATA", str(tmp_path / "data"))
    first = chosen_certificate()
    (file,) = data_folder().iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert chosen_certificate().chain == first.chain
    assert first.key.decode() not in repr(first)
    subject = x509.load_pem_x509_certificates(first.chain)[0].subject.rfc4514_string()
    assert os.environ.get("USER", "nobody") not in subject
    assert socket.gethostname() not in subject
    file.write_text("spoilt")
    with pytest.raises(InputError, match="no PEM certificate"):
        chosen_certificate()


def test_where_nothing_can_be_kept_it_lasts_for_one_run(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SE4LIP_DATA", str(tmp_path / "file" / "data"))
    assert inspect_video(make(tmp_path / "a.mp4")).verdict == "holds"
    assert own_certificate_authority() is None


@pytest.mark.parametrize(
    "make_key",
    [
        lambda: rsa.generate_private_key(65537, 2048),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate,
    ],
    ids=["RSA", "P-384", "Ed25519"],
)
def test_the_users_own_certificate_signs(make_key, authority, tmp_path, monkeypatch, capsys):
    key = make_key()
    root = pem(issued(authority.public_key(), authority, ca=True))
    given = files(tmp_path, pem(issued(key.public_key(), authority)) + root, key_pem(key))
    video = make(tmp_path / "a.mp4", chosen_certificate(given))
    assert inspect_video(video).signer == "newsroom"
    (tmp_path / "root.pem").write_bytes(root)
    assert run(capsys, video, "--trust", tmp_path / "root.pem")[1].count(
        "signed by 'newsroom', for whom an authority you trust vouches, the signature holds"
    )
    monkeypatch.setenv("SE4LIP_CREDENTIALS", os.pathsep.join(map(str, given)))
    assert inspect_video(make(tmp_path / "b.mp4")).signer == "newsroom"


def unusable(kind: str, authority):
    """Chain, key, and what is said of them."""
    key = ec.generate_private_key(ec.SECP256R1())
    chain = pem(issued(key.public_key(), authority))
    accepted = (
        "give one that is valid today, was issued by another certificate, and has the key usage "
        "digitalSignature and the extended key usage emailProtection"
    )
    other = ec.generate_private_key(ec.SECP256R1())
    odd = ec.generate_private_key(ec.SECP256K1())
    expired = issued(key.public_key(), authority, days=(-30, -10))
    purposeless = issued(key.public_key(), authority, purpose=False)
    return {
        "another key": (chain, key_pem(other), ": the key belongs to another certificate: give"),
        "locked key": (chain, key_pem(key, b"secret"), ": the key is locked by a password, a"),
        "no key": (chain, b"hello", ": the key is no PEM private key, a plain one is needed: give"),
        "no certificate": (b"hello", key_pem(key), ": there is no PEM certificate in the first: g"),
        "odd curve": (
            pem(issued(odd.public_key(), authority)),
            key_pem(odd),
            ": C2PA knows keys of RSA, Ed25519 and the NIST curves only: give",
        ),
        "expired": (
            pem(expired),
            key_pem(key),
            f"(the certificate was not valid at time of signing): {accepted}",
        ),
        "no purpose": (pem(purposeless), key_pem(key), f"(the certificate is invalid): {accepted}"),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        *("another key", "locked key", "no key", "no certificate"),
        *("odd curve", "expired", "no purpose"),
    ],
)
def test_a_certificate_that_cannot_sign_is_told_before_anything_is_drawn(kind, authority, tmp_path):
    chain, key, said = unusable(kind, authority)
    given = files(tmp_path, chain, key)

    def drawn():
        raise AssertionError("something was drawn")
        yield

    with pytest.raises(InputError) as caught:
        write_video(tmp_path / "a.mp4", drawn(), None, certificate=chosen_certificate(given))
    assert f"certificate {given[0]} with key {given[1]}" in str(caught.value)
    assert said in str(caught.value)
    assert not (tmp_path / "a.mp4").exists()


def test_certificates_that_are_not_there_are_told(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"^cannot read certificate .*no such file"):
        chosen_certificate((tmp_path / "a", tmp_path / "b"))
    monkeypatch.setenv("SE4LIP_CREDENTIALS", "one.pem")
    with pytest.raises(InputError, match=r"^SE4LIP_CREDENTIALS names 1 files, two are needed"):
        chosen_certificate()


def test_a_disk_that_is_full_when_it_is_signed_leaves_the_old_video(tmp_path, monkeypatch):
    video = tmp_path / "a.mp4"
    video.write_bytes(b"old")

    def full(self, data):
        self.trouble = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise self.trouble

    monkeypatch.setattr(credentials._Goal, "write", full)
    with pytest.raises(
        InputError, match=r"^cannot write .*/a\.mp4: no space left on device: free some space$"
    ):
        make(video)
    assert video.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [video]


def signed_by_others(video, path, manifest, parent=None, remote=None) -> None:
    """What another program writes: ``video`` with its own credential on top."""
    own = chosen_certificate()
    info = c2pa.C2paSignerInfo(own.algorithm, own.chain, own.key, None)
    with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(manifest)) as builder:
        if parent is not None:
            with parent.open("rb") as stream:
                builder.add_ingredient(
                    {"title": "before", "relationship": "parentOf", "instance_id": "1"},
                    "video/mp4",
                    stream,
                )
        if remote is not None:
            builder.set_no_embed()
            builder.set_remote_url(remote)
        out = io.BytesIO()
        with video.open("rb") as stream:
            builder.sign(signer, "video/mp4", stream, out)
    path.write_bytes(out.getvalue())


def claim(action: dict) -> dict:
    return {
        "claim_generator_info": [{"name": "Cutter", "version": "3"}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }


def test_what_others_made_of_it_builds_upon_something_synthetic(made, tmp_path):
    edited = tmp_path / "edited.mp4"
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["1"]}}
    signed_by_others(made, edited, claim(opened), parent=made)
    found = inspect_video(edited)
    assert (found.verdict, found.synthetic, found.source_type) == ("holds", True, None)
    assert "says that it builds upon something synthetic, written by Cutter 3; " in found.sentence()


def test_what_others_filmed_is_not_called_synthetic(tmp_path):
    plain = record(tmp_path / "plain.mp4", flash(SECOND, 0.5), SECOND)
    captured = credentials.SOURCE_TYPES + "digitalCapture"
    created = {"action": "c2pa.created", "digitalSourceType": captured}
    signed_by_others(plain, tmp_path / "filmed.mp4", claim(created))
    found = inspect_video(tmp_path / "filmed.mp4")
    assert (found.verdict, found.synthetic, found.parts) == ("holds", False, {})
    assert "says that it is digitalCapture, written by Cutter 3; it is" in found.sentence()


def test_nothing_is_fetched_from_a_network(tmp_path):
    plain = record(tmp_path / "plain.mp4", flash(SECOND, 0.5), SECOND)
    created = {"action": "c2pa.created", "digitalSourceType": credentials.SOURCE_TYPES}
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/manifest.c2pa"
        signed_by_others(plain, tmp_path / "remote.mp4", claim(created), remote=url)
        assert url.encode() in (tmp_path / "remote.mp4").read_bytes()
        found = inspect_video(tmp_path / "remote.mp4")
        assert (found.verdict, found.elsewhere) == ("none", url)
        assert f"where one lies, {url}: how it was made cannot" in found.sentence()
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize("width", [64, 256, 512])
def test_the_visible_label_covers_a_corner_and_nothing_else(width):
    picture = np.full((width, width, 3), 128, np.uint8)
    (marked,) = labelled([picture])
    rows, columns = np.nonzero((marked != picture).any(-1))
    assert (picture == 128).all()
    assert rows.max() == width - 1 and columns.min() == 0
    assert rows.min() > 0.75 * width and columns.max() < 0.75 * width
    patch = marked[rows.min() :, : columns.max() + 1]
    assert patch.max() > 200 and patch.min() < 40  # light letters on dark
    assert len(rows) > 0.95 * patch[..., 0].size
