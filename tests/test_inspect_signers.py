"""Who signs: this computer's own certificate, the user's, and those that cannot sign."""

import errno
import os
import socket
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from se4lip.io import credentials
from se4lip.io.certificates import chosen_certificate, data_folder, own_certificate_authority
from se4lip.io.video_writing import write_video
from se4lip.synthesis.inspect_video import inspect_video
from se4lip.types import InputError
from signed_videos import files, issued, key_pem, make, pem, run


@pytest.fixture(scope="module")
def authority():
    return ec.generate_private_key(ec.SECP256R1())


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
