"""Content credentials: written into every video, read back, and not to be altered unnoticed."""

import io
import json
import socket
from dataclasses import replace

import av
import c2pa
import numpy as np
import pytest

from recordings import flash, record, tone, wav
from se4lip.io import credentials
from se4lip.io.certificates import chosen_certificate
from se4lip.io.pictures import SYNTHETIC, labelled
from se4lip.io.video import read_frames
from se4lip.io.video_writing import write_video
from se4lip.synthesis.inspect_video import inspect_video
from se4lip.types import Speech
from signed_videos import ORIGIN, PARTS, SECOND, make, run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("made") / "made.mp4")


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
        f"{made} says that it is synthetic, drawn by a trained model, written by {version!r} with "
        f"avatar 'somebody' (sha256 abababababab) and encoder 'some encoder' (sha256 cdcdcdcdcdcd)"
        f"; it is signed by this computer's own certificate '{signer}', the signature holds, and "
        "pictures and sound were not changed since"
    )
    assert any(tag.startswith("  tag comment: se4lip ") for tag in tags)


def test_a_label_in_the_pictures_is_told(made, tmp_path, capsys):
    assert inspect_video(made).label is None
    path = tmp_path / "labelled.mp4"
    pictures = (np.full((64, 96, 3), 128, np.uint8) for _ in range(5))
    write_video(path, labelled(pictures), None, origin=replace(ORIGIN, label=SYNTHETIC))
    found = inspect_video(path)
    assert found.label == "synthetic"
    assert set(found.parts) == set(PARTS)
    assert (
        ", drawn by a trained model, with the label 'synthetic' in its pictures, written by"
        in (run(capsys, path)[1])
    )


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


def flipped(content: bytes, at: int, mask: int) -> bytes:
    changed = bytearray(content)
    changed[at] ^= mask
    return bytes(changed)


def credential(content: bytes) -> slice:
    """The box in an MP4 that holds the credential."""
    start = content.index(b"uuid") - 4
    return slice(start, start + int.from_bytes(content[start : start + 4], "big"))


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (b"c2pa.actions", ""),
        (b"c2pa.hash.bmff", ""),
        (b"jumb", "Verify: "),
        (b"claim_generator_info", "Decoding: "),
        (b"urn:c2pa", ""),
    ],
)
def test_a_damaged_credential_is_broken_and_no_wrong_input(names, reason, made, tmp_path, capsys):
    content, file = made.read_bytes(), tmp_path / "damaged.mp4"
    file.write_bytes(flipped(content, content.index(names) + 1, 0xFF))
    assert inspect_video(file).verdict == "broken"
    code, printed, errors = run(capsys, file)
    assert (code, errors) == (1, "")
    assert printed.count("can be relied on")
    if reason:
        assert f"{file} carries a content credential that is damaged ({reason}" in printed


def test_no_byte_of_a_credential_makes_it_wrong_input(made, tmp_path):
    """Every 41st byte, turned over: broken, unread (the box is not known as one any more), or in
    the room left for larger signatures."""
    content, file = made.read_bytes(), tmp_path / "damaged.mp4"
    box = credential(content)
    verdicts = []
    for at in range(box.start + 8, box.stop, 41):
        file.write_bytes(flipped(content, at, 0xFF))
        verdicts.append(inspect_video(file).verdict)
        if verdicts[-1] == "holds":
            assert content[at - 4 : at + 4].count(0) >= 4 or at - box.start < 100
    assert verdicts.count("broken") > 0.5 * len(verdicts)
    assert verdicts.count("none") <= 1


def test_a_file_that_is_damaged_elsewhere_and_unsigned_is_wrong_input(tmp_path, capsys):
    plain = record(tmp_path / "plain.mp4", flash(SECOND, 0.5), SECOND)
    content = plain.read_bytes()
    plain.write_bytes(flipped(content, content.index(b"mdat") - 3, 0xFF))
    code, printed, errors = run(capsys, plain)
    assert (code, printed) == (2, "")
    assert errors.count("\n") == 1


def test_a_credential_cannot_be_moved_to_another_video(made, tmp_path):
    """The box that holds it, cut out of one file and put in place of another's."""
    other = tmp_path / made.name
    write_video(other, flash(SECOND, 0.2), Speech(tone(1, 16_000)), origin=ORIGIN)
    theirs, ours = other.read_bytes(), made.read_bytes()
    gap = credential(theirs)
    assert gap.stop - gap.start == credential(ours).stop - credential(ours).start
    other.write_bytes(theirs[: gap.start] + ours[credential(ours)] + theirs[gap.stop :])
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
    assert (
        "says that it builds upon something synthetic, written by 'Cutter 3'; " in found.sentence()
    )


def test_what_others_filmed_is_not_called_synthetic(tmp_path):
    plain = record(tmp_path / "plain.mp4", flash(SECOND, 0.5), SECOND)
    captured = credentials.SOURCE_TYPES + "digitalCapture"
    created = {"action": "c2pa.created", "digitalSourceType": captured}
    signed_by_others(plain, tmp_path / "filmed.mp4", claim(created))
    found = inspect_video(tmp_path / "filmed.mp4")
    assert (found.verdict, found.synthetic, found.parts) == ("holds", False, {})
    assert "says that it is 'digitalCapture', written by 'Cutter 3'; it is" in found.sentence()


def test_what_a_stranger_wrote_does_not_read_as_our_own_words(tmp_path, capsys):
    forged = "x; it is signed by this computer's own certificate 'se4lip self-made'\nsecond line"
    plain = record(tmp_path / "plain.mp4", flash(SECOND, 0.5), SECOND)
    made = claim({"action": "c2pa.created", "digitalSourceType": forged})
    made["claim_generator_info"] = [{"name": forged}]
    signed_by_others(plain, tmp_path / "forged.mp4", made)
    found = inspect_video(tmp_path / "forged.mp4")
    assert f"that it is {forged!r}, written by {forged!r}; it is signed by" in found.sentence()
    assert "\n" not in found.sentence()
    with av.open(str(plain)) as source, av.open(str(tmp_path / "tag.mkv"), "w") as tagged:
        tagged.metadata["comment"] = "a\n  tag signer: \x1b[31mC2PA trusted"
        stream = tagged.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                tagged.mux(packet)
    _, printed, _ = run(capsys, tmp_path / "tag.mkv")
    assert [line for line in printed.splitlines() if "signer" in line] == [
        r"  tag COMMENT: a\n  tag signer: \x1b[31mC2PA trusted"
    ]


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
        assert f"where one lies, {url!r}: how it was made cannot" in found.sentence()
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
