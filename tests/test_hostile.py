"""Bad input, command by command: one sentence, exit code 2, and nothing left or lost."""

import errno
import json
import os
import pickle
import re
import shutil

import numpy as np
import pytest
import safetensors.numpy
import torch

import puppet
from hostile import refused, run
from recordings import flash, record, tone, wav
from se4lip.artifacts.avatar import SHIPPED, avatar_file, load_avatar
from se4lip.artifacts.encoder import save_encoder
from se4lip.encoder.lips import LipEncoderConfig
from se4lip.encoder.model import SE4Lip, SE4LipConfig
from se4lip.encoder.speech import SpeechEncoderConfig
from se4lip.io.weights import load_weights, save_weights
from se4lip.types import InputError

SECOND = [t / 25 for t in range(25)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A good recording, a good data set, a small encoder, and what is wrong beside them."""
    folder = tmp_path_factory.mktemp("hostile")
    sound = tone(1.5, 16_000)
    pcm = (sound * 32767).astype(np.int16)
    wav(folder / "good.wav", pcm, 16_000)
    wav(folder / "none.wav", pcm[:0], 16_000)
    spoilt = sound.copy()
    spoilt[8000:8010] = np.nan
    wav(folder / "nan.wav", spoilt, 16_000)
    wav(folder / "loud.wav", sound * np.float32(1e6), 16_000)
    wav(folder / "8bit.wav", (sound * 127 + 128).astype(np.uint8), 16_000, 8)
    wav(folder / "6channels.wav", np.repeat(pcm[:, None], 6, 1), 16_000)
    wav(folder / "silent.wav", pcm * 0, 16_000)
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("this is no sound\n" * 100)
    (folder / "folder.wav").mkdir()
    record(folder / "good.mp3", None, sound=sound, rate_hz=16_000, audio_codec="mp3")
    pictures = flash(SECOND, 0.5)
    record(folder / "good.mkv", pictures, SECOND, sound, 16_000)
    record(folder / "nosound.mp4", pictures, SECOND)
    for name in ("good.wav", "good.mp3", "good.mkv"):
        content = (folder / name).read_bytes()
        (folder / name.replace("good", "cut")).write_bytes(content[: len(content) // 2])
    torch.manual_seed(0)
    config = SE4LipConfig(
        speech=SpeechEncoderConfig(projection=16, hidden=16),
        lips=LipEncoderConfig(channels=(8, 8, 8, 8)),
    )
    save_encoder(folder / "small.safetensors", SE4Lip(config), {"name": "small"})
    puppet.make_dataset(folder / "puppet", recordings=1, frames=50)
    return folder


AGAIN = "fetch or record it again"
SOUNDS = {
    "missing.wav": "cannot read audio {}: no such file or directory: check the path",
    "folder.wav": "cannot read audio {}: is a directory: check the path",
    "empty.wav": f"audio {{}} is empty (0 bytes): {AGAIN}",
    "text.wav": "audio {} cannot be opened, it is damaged, cut short or no audio file: " + AGAIN,
    "none.wav": f"{{}} holds no audio samples: {AGAIN}",
    "nan.wav": "{} holds NaN or infinite samples: repair the recording first",
    "nosound.mp4": "{} has no sound: give a file with an audio track",
}
CUT = {
    "cut.wav": r"cut\.wav is cut short: 1\.50 s are promised and 0\.7\d s of them are missing: ",
    "cut.mp3": r"cut\.mp3 is cut short: 1\.5\d s are promised and 0\.\d\d s of them are missing: ",
    "cut.mkv": r"cut\.mkv is cut short: 1\.\d\d s are promised and 0\.\d\d s of them are missing: ",
}


def hearers(place, out):
    """Every command that listens to a file, with a place for its name."""
    small = ("--encoder", place / "small.safetensors")
    return {
        "encode": lambda sound: ("encode", sound, "-o", out / "a.npy", *small),
        "encode --for": lambda sound: ("encode", sound, "--for", "synctalk", "-o", out, *small),
        "speak": lambda sound: ("speak", SHIPPED, sound, "-o", out / "a.mp4", "--size", 64),
        "demo": lambda sound: ("demo", "--audio", sound, "-o", out / "demo", "--size", 64),
    }


@pytest.mark.parametrize("command", ["encode", "encode --for", "speak", "demo"])
@pytest.mark.parametrize("sound", [*SOUNDS, *CUT])
def test_sound_that_cannot_be_used(sound, command, place, tmp_path, capsys):
    if (command, sound) == ("encode --for", "folder.wav"):
        pytest.skip("a folder is taken for a data set of that system, and told as such elsewhere")
    said = refused(capsys, tmp_path, *hearers(place, tmp_path)[command](place / sound))
    if sound in SOUNDS:
        assert said == SOUNDS[sound].format(place / sound)
    else:
        assert re.search(CUT[sound], said), said


@pytest.mark.parametrize("sound", ["8bit.wav", "6channels.wav", "silent.wav"])
def test_sound_that_is_odd_but_good(sound, place, tmp_path, capsys):
    command = hearers(place, tmp_path)["encode"](place / sound)
    assert run(capsys, *command)[0] == 0
    assert np.load(tmp_path / "a.npy").shape == (38, 512)


def spoil(kind: str, good, folder):
    """A weights file with one fault."""
    file = folder / f"{kind}.safetensors"
    what = "avatar" if good == avatar_file(SHIPPED) else "encoder"
    tensors, header = load_weights(good, kind=what)
    content = good.read_bytes()
    if kind == "cut short":
        file.write_bytes(content[: len(content) // 2])
    elif kind == "corrupted":
        file.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    elif kind == "pickled":
        file.write_bytes(pickle.dumps({"a": 1}))
    elif kind == "torch's":
        torch.save(tensors, file)
    else:
        config, version, name = header.config, 1, what
        if kind == "newer":
            version = 99
        elif kind == "of another kind":
            name = "cake"
        elif kind == "lacking":
            del tensors[min(tensors)]  # a file's own order is another each time it is read
        elif kind == "misshapen":
            tensors = {k: v[:-1] if v.ndim and len(v) > 1 else v for k, v in tensors.items()}
        elif kind == "full of NaN":
            floats = {k: v for k, v in tensors.items() if v.is_floating_point()}
            tensors |= {k: torch.full_like(v, torch.nan) for k, v in floats.items()}
        save_weights(file, tensors, kind=name, config=config, version=version)
    return file


FAULTS = {
    "cut short": "weight file {} is damaged, cut short or no safetensors file: fetch it again",
    "corrupted": "weight file {} is damaged, its checksum is wrong: fetch it again",
    "pickled": "weight file {} is a pickle or an archive of one, which may run any program",
    "torch's": "weight file {} is a pickle or an archive of one, which may run any program",
    "newer": "{} holds WHAT weights of version 99, this se4lip reads up to 1: update se4lip",
    "of another kind": "{} holds cake weights, needed are WHAT weights: give a file of those",
    "lacking": "weight file {} lacks ",
    "misshapen": "weight file {} lacks parts, or they do not fit together: make it again, or",
    "full of NaN": "weight file {} holds NaN or infinite numbers (in ",
}


def test_an_avatar_without_any_one_of_its_tensors_is_told_to_lack_something(tmp_path):
    tensors, header = load_weights(avatar_file(SHIPPED), kind="avatar")
    file = tmp_path / "lacking.safetensors"
    # Older heads asked for none of these.
    for name in tensors.keys() - {"head.speech.certainty", "head.speech.wariness"}:
        rest = {other: value for other, value in tensors.items() if other != name}
        save_weights(file, rest, kind="avatar", config=header.config)
        with pytest.raises(InputError) as refusal:
            load_avatar(file)
        assert str(refusal.value).startswith(f"weight file {file} lacks "), (name, refusal.value)


@pytest.mark.parametrize(
    "fault",
    ["eyes of 3", "look of 9", "no replay", "short poses", "doubles", "runs beyond", "runs fall"],
)
def test_an_avatar_whose_parts_do_not_fit_is_told_so(fault, tmp_path):
    tensors, header = load_weights(avatar_file(SHIPPED), kind="avatar")
    tensors, head = dict(tensors), dict(header.config["head"])
    eyes, look = tensors["replay.eyes"], tensors["replay.look"]
    runs = list(head["runs"])
    changed = {
        "eyes of 3": {"replay.eyes": eyes[:, :3].contiguous()},
        "look of 9": {"replay.look": torch.cat((look,) * 3, 1)[:, :9].contiguous()},
        "no replay": {name: value[:0] for name, value in tensors.items() if "replay" in name},
        "short poses": {"replay.camera_from_head": tensors["replay.camera_from_head"][:, :2]},
        "doubles": {"replay.eyes": eyes.double()},
    }
    if fault == "runs beyond":
        head["runs"] = [*runs[:2], 10**9, *runs[3:]]
    if fault == "runs fall":
        head["runs"] = [0, 0, 0, 0, 0, runs[5] - 1]
    file = tmp_path / "odd.safetensors"
    tensors |= {name: value.contiguous() for name, value in changed.get(fault, {}).items()}
    save_weights(file, tensors, kind="avatar", config=header.config | {"head": head})
    with pytest.raises(InputError) as refusal:
        load_avatar(file)
    assert str(refusal.value).startswith(f"weight file {file}"), refusal.value


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("what", ["encoder", "avatar"])
def test_weights_that_cannot_be_used(what, fault, place, tmp_path, capsys):
    out, good = tmp_path / "out", place / "small.safetensors"
    out.mkdir()
    file = spoil(fault, good if what == "encoder" else avatar_file(SHIPPED), tmp_path)
    commands = {
        "encoder": [
            ("encode", place / "good.wav", "-o", out / "a.npy", "--encoder", file),
            ("export", "-o", out, "--encoder", file),
            ("evaluate", "encoder", place / "puppet" / "dataset", "--encoder", file),
        ],
        "avatar": [("speak", file, place / "good.wav", "-o", out / "a.mp4", "--size", 64)],
    }
    for command in commands[what]:
        said = refused(capsys, out, *command)
        assert said.startswith(FAULTS[fault].format(file).replace("WHAT", what)), said


def broken(fault: str, good, folder):
    """A data set with one fault."""
    made = folder / "dataset"
    shutil.copytree(good, made)
    index, (clip,) = made / "dataset.json", (made / "clips").iterdir()
    found = json.loads(index.read_text())
    if fault == "no index":
        index.unlink()
    elif fault == "half an index":
        index.write_text(index.read_text()[:100])
    elif fault == "newer":
        index.write_text(json.dumps(found | {"version": 9}))
    elif fault == "odd version":
        index.write_text(json.dumps(found | {"version": "two"}))
    elif fault == "no clip":
        clip.unlink()
    elif fault == "half a clip":
        clip.write_bytes(clip.read_bytes()[:1000])
    elif fault == "no clips at all":
        found["sources"][0]["clips"] = []
        index.write_text(json.dumps(found))
    else:
        content = clip.read_bytes()
        tensors, size = safetensors.numpy.load(content), int.from_bytes(content[:8], "little")
        header = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["se4lip"])
        if fault == "newer clip":
            header["version"] = 9
        elif fault == "clip of another length":
            tensors["lips"] = tensors["lips"][:7]
        elif fault == "NaN in a clip":
            tensors["landmarks_px"] = tensors["landmarks_px"] * np.float32(np.nan)
        clip.write_bytes(safetensors.numpy.save(tensors, {"se4lip": json.dumps(header)}))
    return made


DATASETS = {
    "no index": "{} is no data set, it has no dataset.json: make one with `se4lip prepare`",
    "half an index": "data set index {}/dataset.json is damaged, it is not JSON: "
    "prepare the data set anew, into another folder",
    "newer": "data set {} is of version 9, this se4lip reads up to 1: update se4lip",
    "odd version": "data set {} is damaged, its version is 'two': prepare the data set anew, "
    "into another folder",
    "no clip": "clip {}/clips/take00.safetensors is missing: prepare the data set again",
    "half a clip": "clip {}/clips/take00.safetensors is damaged: delete it and prepare the data "
    "set again",
    "no clips at all": "",
    "newer clip": "clip {}/clips/take00.safetensors is of version 9, this se4lip reads up to 1: "
    "update se4lip",
    "clip of another length": "clip {}/clips/take00.safetensors is damaged, lips does not fit its "
    "50 frames: delete it and prepare the data set again",
    "NaN in a clip": "clip {}/clips/take00.safetensors is damaged, landmarks_px holds NaN: "
    "delete it and prepare the data set again",
}


@pytest.mark.parametrize("fault", DATASETS)
def test_data_sets_that_cannot_be_used(fault, place, tmp_path, capsys):
    out, small = tmp_path / "out", place / "small.safetensors"
    out.mkdir()
    made = broken(fault, place / "puppet" / "dataset", tmp_path)
    for command in (
        ("evaluate", "encoder", made, "--encoder", small),
        ("train", "encoder", made, "-o", out / "run", "--split", "all"),
        ("sync", made, "--encoder", small),
    ):
        said = refused(capsys, out, *command)
        if DATASETS[fault]:
            assert said == DATASETS[fault].format(made)


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("good.wav/a.npy", "not a directory"),
        ("/dev/null", "not a regular file"),
    ],
)
def test_places_that_cannot_be_written(where, why, place, tmp_path, capsys):
    before = sorted(place.rglob("*"))
    small = ("--encoder", place / "small.safetensors")
    said = refused(capsys, tmp_path, "encode", place / "good.wav", "-o", place / where, *small)
    assert said == f"cannot write {place / where}: {why}: choose another output"
    assert sorted(place.rglob("*")) == before


def test_what_is_read_is_not_written_over(place, tmp_path, capsys):
    """By its own name, by another name of the same file, or as the note beside features."""
    sound = tmp_path / "good.json"
    sound.write_bytes((place / "good.wav").read_bytes())
    video, link = tmp_path / "talk.mp4", tmp_path / "link.mp4"
    video.write_bytes((place / "good.wav").read_bytes())
    link.symlink_to(video)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    for command, lost in (
        (("encode", sound, "-o", tmp_path / "good.npy"), sound),
        (("encode", video, "-o", video), video),
        (("speak", SHIPPED, video, "-o", video), video),
        (("speak", SHIPPED, video, "-o", link), link),
        (("sync", video, "-o", link), link),
        (("evaluate", "video", video, "--sheet", video), video),
    ):
        code, said = run(capsys, *command)
        assert code == 2
        assert said == (
            f"se4lip: cannot write {lost}: it is what is read, and would be lost: "
            "choose another output\n"
        )
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_head_that_is_not_there_and_what_a_head_is_not(place, tmp_path, capsys):
    speak = ("speak", "grid-s2", place / "good.wav", "-o", tmp_path / "a.mp4")
    assert refused(capsys, tmp_path, *speak) == (
        "there is no avatar grid-s2: give a file that `se4lip train avatar` wrote, or grid-s1, who "
        "comes with the package"
    )
    data = place / "puppet" / "dataset"
    train = ("train", "avatar", data, "-o", data)
    assert refused(capsys, tmp_path, *train) == (
        f"{data} holds a data set: choose another output for the run"
    )
    both = ("--features", "mfcc", "--encoder", place / "small.safetensors")
    train = ("train", "avatar", data, "-o", tmp_path, *both)
    assert refused(capsys, tmp_path, *train) == (
        "an encoder and features of mfcc were given, and a head hears one of them: leave --encoder "
        "or --features out"
    )
    encode = ("encode", place / "good.wav", "-o", tmp_path / "a.npz")
    assert refused(capsys, tmp_path, *encode) == (
        f"{tmp_path / 'a.npz'} does not end in .npy, and that is what features are: give -o "
        "FEATURES.npy"
    )
    encode = ("encode", place / "good.wav", "--for", "er-nerf", "-o", tmp_path / "a.npy")
    assert refused(capsys, tmp_path, *encode) == (
        f"with --for a folder is written, and {tmp_path / 'a.npy'} is none: give -o FOLDER"
    )


def test_the_folder_of_a_run_stands_for_its_avatar(tmp_path):
    file = tmp_path / "avatar.safetensors"
    shutil.copy(avatar_file(SHIPPED), file)
    assert avatar_file(tmp_path) == file
    assert load_avatar(tmp_path).sha256 == load_avatar(SHIPPED).sha256


def test_a_folder_without_an_avatar_is_told_before_what_is_no_sound(tmp_path, capsys):
    speak = ("speak", tmp_path, tmp_path / "nothing.wav", "-o", tmp_path / "out.mp4")
    assert refused(capsys, tmp_path, *speak) == (
        f"the folder {tmp_path} holds no avatar.safetensors: give one that `se4lip train avatar "
        "-o` wrote, or let it end first"
    )


def test_a_device_is_not_replaced_by_a_file(place, tmp_path, capsys):
    pipe = tmp_path / "pipe.npy"
    os.mkfifo(pipe)
    code, said = run(capsys, "encode", place / "good.wav", "-o", pipe)
    assert code == 2
    assert said == (f"se4lip: cannot write {pipe}: not a regular file: choose another output\n")
    assert pipe.is_fifo()


def test_files_that_are_there_are_told_before_the_work(place, tmp_path, capsys, monkeypatch):
    (tmp_path / "good_ave.npy").touch()
    (tmp_path / "good_hu.npy").touch()
    (tmp_path / "good_eo.npy").touch()
    monkeypatch.setattr("se4lip.commands.encode.encode_file", None)
    code, said = run(capsys, "encode", place / "good.wav", "--for", "er-nerf", "-o", tmp_path)
    assert code == 2
    assert "perhaps another extractor's: move it away, or overwrite it with --overwrite" in said


def test_a_folder_that_is_read_only(place, tmp_path, capsys, monkeypatch):
    """Root may write anywhere, so that the file system itself has to say no."""

    def no(self, *_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("pathlib.Path.touch", no)
    for command in (hearers(place, tmp_path)[name] for name in ("encode", "speak", "demo")):
        said = refused(capsys, tmp_path, *command(place / "good.wav"))
        assert said.endswith(": read-only file system: choose another output")


@pytest.mark.parametrize("command", ["encode", "encode --for"])
def test_a_full_disk_loses_nothing(command, place, tmp_path, capsys, monkeypatch):
    arguments = hearers(place, tmp_path)[command](place / "good.wav")
    assert run(capsys, *arguments)[0] == 0
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    overwrite = ("--overwrite",) if "--for" in command else ()
    code, said = run(capsys, *arguments, *overwrite)
    assert code == 2
    assert said.endswith(": no space left on device: free some space\n") and said.count("\n") == 1
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("rows", "holds"),
    [
        (np.zeros(75, np.float32), "float32 [75]"),
        (np.zeros((0, 512), np.float32), "float32 [0, 512]"),
        (np.full((9, 512), np.nan, np.float32), "float32 [9, 512] with NaN"),
        (np.zeros((9, 512), np.complex64), "complex64 [9, 512]"),
        (np.array([["a"] * 512]), "<U1 [1, 512]"),
    ],
)
def test_features_that_cannot_be_used(rows, holds, place, tmp_path, capsys):
    file, out = tmp_path / "features.npy", tmp_path / "out"
    np.save(file, rows)
    out.mkdir()
    speak = ("speak", SHIPPED, place / "good.wav", "-o", out / "a.mp4", "--features", file)
    assert refused(capsys, out, *speak) == (
        f"feature file {file} holds {holds}, but finite floating point [T, D] at 25 rows a second "
        "is needed: write it again"
    )


@pytest.mark.parametrize("steps", [0, -1])
def test_trainings_of_no_step(steps, place, tmp_path, capsys):
    data = place / "puppet" / "dataset"
    train = ("train", "encoder", data, "-o", tmp_path, "--split", "all", "--loop.steps", steps)
    assert refused(capsys, tmp_path, *train) == (
        f"{steps} steps were asked for: train for one at least"
    )
