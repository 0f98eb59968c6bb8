"""Training end to end on faces and voices that the test makes up."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from puppet import make_dataset
from se4lip import cli
from se4lip.artifacts.encoder import encoder_identity, load_encoder, save_encoder
from se4lip.audio.augment import (
    SpeechAugmentConfig,
    augment_speech,
    change_voice,
    draw_speech,
    reverberate,
)
from se4lip.audio.timebase import Window
from se4lip.encoder.lips import LipEncoderConfig, grey
from se4lip.encoder.model import SE4Lip, SE4LipConfig
from se4lip.encoder.speech import SpeechEncoderConfig
from se4lip.face.augment import LipAugmentConfig, augment_contour, augment_pictures, draw_lips
from se4lip.face.contour import mirrored_columns
from se4lip.io.dataset import open_dataset, set_av_offset
from se4lip.io.weights import read_header
from se4lip.train import devices
from se4lip.train.corpus import (
    Corpus,
    Stretches,
    columns_at,
    cut_lips,
    cut_speech,
    draw_stretches,
)
from se4lip.train.devices import arithmetic, chosen_device
from se4lip.train.encoder import (
    EncoderRecipe,
    EncoderTask,
    set_spectrum_statistics,
    take_up,
    train_encoder,
)
from se4lip.train.loop import LoopConfig, train
from se4lip.train.split import digest
from se4lip.types import InputError
from strict import strict_json

SMALL = SE4LipConfig(
    speech=SpeechEncoderConfig(projection=32, hidden=32, embedding=16),
    lips=LipEncoderConfig(channels=(8, 8, 16, 16), contour_hidden=32, embedding=16),
)


def talking_corpus(clips=6, frames=50):
    """A mouth that opens with the loudness of a noise: sync that can be learned."""
    random = np.random.default_rng(0)
    opening = random.random((clips * frames, 1)).astype(np.float32)
    noise = random.standard_normal((clips * frames, 640)).astype(np.float32)
    samples = (noise * (0.01 + 0.2 * opening) * 32767).clip(-32767, 32767).astype(np.int16)
    lips = np.full((clips * frames, 96, 96, 3), 200, np.uint8)
    rows = np.abs(np.arange(96) - 48)[None, :] < 30 * opening
    lips[rows] = 30
    contour = np.zeros((clips * frames, 147), np.float32)
    contour[:, 1:120:3] = opening - opening.mean()
    return Corpus(
        lips=torch.from_numpy(lips),
        shown=torch.arange(clips * frames),
        contour=torch.from_numpy(contour),
        samples=torch.from_numpy(samples.ravel()),
        silent=torch.zeros(clips * frames, dtype=torch.bool),
        first=torch.arange(clips) * frames,
        frames=torch.full((clips,), frames),
    )


def recipe(steps=30, **changes):
    plain = SpeechAugmentConfig(noise=0.5, reverberation=0.5)
    loop = LoopConfig(steps=steps, warmup_steps=5, log_every=10, learning_rate=3e-3)
    return replace(
        EncoderRecipe(
            SMALL,
            plain,
            loop=loop,
            clips_per_step=4,
            windows_per_clip=12,
            context_s=0.2,
            precision="float32",
        ),
        **changes,
    )


def task_of(recipe):
    torch.manual_seed(0)
    corpus = talking_corpus()
    module = SE4Lip(recipe.model)
    set_spectrum_statistics(module, corpus)
    return EncoderTask(module, recipe, corpus, {})


def test_sync_that_is_there_is_learned(tmp_path):
    the_recipe = recipe(steps=80)
    task = task_of(the_recipe)
    lines = []
    train(task, the_recipe.loop, tmp_path, {}, report=lines.append)
    losses = [float(line.split("contrast ")[1].split()[0]) for line in lines if "contrast" in line]
    assert losses[-1] < 0.75 * losses[0]


# --- cutting ---


def test_sound_and_pictures_of_a_stretch_are_of_the_same_moment():
    """Frame 20 flashes and clicks: wherever a stretch begins, however fast it runs, both meet."""
    corpus = talking_corpus(clips=1, frames=60)
    lips, samples = torch.zeros_like(corpus.lips), torch.zeros_like(corpus.samples)
    lips[20] = 255
    samples[20 * 640 : 21 * 640] = 20_000
    corpus = replace(corpus, lips=lips, samples=samples)
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        at = draw_stretches(corpus.frames, 1, 45, (0.8, 1.25), generator)
        pictures = cut_lips(corpus, at, 45)[0].mean(dim=(0, 2, 3, 4))
        sound, where = cut_speech(corpus, at, 0, 180, 1.25)
        loud = sound.unfold(1, 160, 160).square().mean(-1)[..., None]
        power = columns_at(loud, where)[0, :, 0]
        weights = pictures / pictures.sum()
        flash = (weights * torch.arange(45)).sum() + 0.5  # middle of the frame
        weights = power / power.sum()
        click = ((weights * torch.arange(180)).sum() + 0.5) / 4
        assert abs(flash - click) < 0.3  # frames


@pytest.mark.parametrize("speeds", [(0.6, 0.8), (0.85, 1.18), (1.1, 1.2)])
def test_sound_reaches_as_far_as_any_speed_asks(speeds):
    """Half of the stretches keep their speed of 1, whatever was asked for."""
    task = task_of(recipe(speeds=speeds))
    for speed in (1.0, *speeds):
        at = Stretches(torch.zeros(1).long(), torch.zeros(1), torch.tensor([speed]))
        last = task._powers(at)[0, -20:, 3:60]  # of noise no two columns are equal
        assert (last[1:] != last[:-1]).any(-1).all()


def test_speeds_the_wrong_way_round_are_refused():
    with pytest.raises(InputError, match=r"speeds are 1.18 to 0.85: give the slower one first"):
        recipe(speeds=(1.18, 0.85))


def test_sound_too_quiet_to_learn_from_is_told_as_such():
    corpus = talking_corpus()
    silent = replace(corpus, samples=torch.zeros_like(corpus.samples))
    with pytest.raises(InputError, match="all sound to train on lies below -70 dB of full scale"):
        set_spectrum_statistics(SE4Lip(SMALL), silent)


@given(st.integers(0, 100))
def test_every_stretch_lies_inside_its_clip(seed):
    frames = torch.tensor([30, 75, 50])
    generator = torch.Generator().manual_seed(seed)
    at = draw_stretches(frames, 64, 30, (0.9, 1.1), generator)
    last = at.start + (30 - 1) * at.speed
    fits = frames[at.clip] - 1 >= (30 - 1) * at.speed
    assert ((last <= frames[at.clip] - 1 + 1e-4) | ~fits).all()
    assert (at.start >= 0).all()


def test_moments_are_those_of_the_middles_of_windows():
    """So that stretches at different speeds are compared where their windows look."""
    at = Stretches(torch.tensor([0, 0]), torch.tensor([10.0, 11.0]), torch.tensor([1.18, 0.85]))
    moments = at.moments(3, 2, 2)
    torch.testing.assert_close(moments[0], 10 + 1.18 * torch.tensor([2.0, 4.0, 6.0]))
    assert abs(moments[0, 0] - moments[1, 0]) < 0.4


# --- other voices and faces ---


def speechlike(batch=3, columns=40):
    """Harmonics every 8 bins under one formant at bin 60: ripple and envelope add in the log."""
    generator = torch.Generator().manual_seed(0)
    bins = torch.arange(257)
    envelope = 4 * torch.exp(-((bins - 60) ** 2) / 3000)
    power = torch.exp(envelope + 1.5 * torch.cos(2 * torch.pi * bins / 8) - 10)
    return power * (0.5 + torch.rand(batch, columns, 1, generator=generator))


def envelope_top(power):
    """Where the spectrum, averaged over a harmonic, is highest."""
    return power.log().unfold(-1, 24, 1).mean(-1).argmax().item() + 11.5


def test_a_voice_that_is_not_changed_stays_the_same():
    power = speechlike()
    torch.testing.assert_close(
        change_voice(power, torch.ones(3), torch.ones(3)), power, rtol=1e-3, atol=1e-9
    )


def test_pitch_moves_the_harmonics_and_formants_the_envelope():
    power = speechlike()
    assert abs(envelope_top(power[0, 0]) - 60) < 2
    higher = change_voice(power, torch.ones(3), torch.full((3,), 1.5))[0, 0]
    assert abs(envelope_top(higher) - 60) < 2
    assert higher[60] > 3 * higher[66]  # a harmonic every 12 bins: one at 60, none at 66
    shorter = change_voice(power, torch.full((3,), 1.3), torch.ones(3))[0, 0]
    assert abs(envelope_top(shorter) - 78) < 3
    assert shorter[80] > 3 * shorter[84]  # the harmonics stay where they were


def test_reverberation_never_precedes_the_sound():
    power = torch.zeros(1, 30, 4)
    power[:, 10] = 1
    wet = reverberate(power, torch.tensor([0.4]), torch.tensor([0.5]))
    assert (wet[:, :10] == 0).all()
    assert (wet[0, 11:, 0].diff() < 0).all()
    torch.testing.assert_close(reverberate(power, torch.zeros(1), torch.tensor([0.5])), power)


def test_noise_comes_at_the_level_that_was_drawn():
    power = speechlike(batch=4, columns=100)
    quiet = dict.fromkeys(("voice", "band_limit", "reverberation", "babble"), 0.0)
    config = SpeechAugmentConfig(
        **quiet, equalizer_db=0, tilt_db=0, noise=1.0, noise_snr_db=(10.0, 10.0), gain_db=(0.0, 0.0)
    )
    draws = draw_speech(4, 257, config, torch.Generator().manual_seed(3))
    louder = augment_speech(power, power, draws)
    # Unchanged by the voice step's own rounding: the level alone is compared.
    ratio = louder.mean(dim=(1, 2)) / power.mean(dim=(1, 2))
    torch.testing.assert_close(ratio, torch.full((4,), 1.1), rtol=2e-2, atol=0)


def test_augmentation_draws_depend_on_the_seed_alone_and_slice_like_the_batch():
    config = SpeechAugmentConfig()
    first = draw_speech(6, 257, config, torch.Generator().manual_seed(5))
    again = draw_speech(6, 257, config, torch.Generator().manual_seed(5))
    power = speechlike(batch=6)
    whole = augment_speech(power, power.flip(0), first)
    part = augment_speech(power[2:4], power.flip(0)[2:4], again[2:4])
    torch.testing.assert_close(whole[2:4], part)
    assert torch.isfinite(whole).all()


def test_mirroring_a_contour_twice_changes_nothing_and_once_swaps_the_corners():
    order, sign = mirrored_columns()
    contour = torch.randn(5, 147)
    order, sign = torch.from_numpy(order), torch.from_numpy(sign)
    once = contour[:, order] * sign
    torch.testing.assert_close(once[:, order] * sign, contour)
    torch.testing.assert_close(once[:, 1], contour[:, 3 * 10 + 1])  # height of the two corners
    torch.testing.assert_close(once[:, 0], -contour[:, 3 * 10])


def test_lip_augmentation_off_is_a_resized_grey_picture():
    zeros = dict.fromkeys(LipAugmentConfig.__dataclass_fields__, 0.0)
    generator = torch.Generator().manual_seed(0)
    draws = draw_lips(2, 3, 147, LipAugmentConfig(**zeros), generator)
    draws = replace(draws, affine=torch.eye(2, 3).expand(2, 2, 3), mirror=torch.zeros(2).bool())
    lips = torch.full((2, 3, 96, 96, 3), 100.0)
    torch.testing.assert_close(
        augment_pictures(lips, 48, draws), torch.full((2, 3, 48, 48), 100 / 255), rtol=0, atol=2e-3
    )
    contour = torch.randn(2, 3, 147)
    torch.testing.assert_close(augment_contour(contour, draws), contour)


def test_untouched_lips_are_as_they_were_filmed_or_mirrored():
    config = LipAugmentConfig(untouched=1.0, noise=0.5, patch=1.0, blur=1.0, filter=1.0)
    draws = draw_lips(8, 3, 147, config, torch.Generator().manual_seed(0))
    assert 0 < draws.mirror.sum() < 8
    lips, contour = 255 * torch.rand(8, 3, 48, 48, 3), torch.randn(8, 3, 147)
    pictures, moved = augment_pictures(lips, 48, draws), augment_contour(contour, draws)
    filmed = grey(lips)
    filmed[draws.mirror] = filmed[draws.mirror].flip(-1)
    torch.testing.assert_close(pictures, filmed.clamp_min(1e-3), rtol=0, atol=1e-4)
    straight = ~draws.mirror
    torch.testing.assert_close(moved[straight], contour[straight])
    torch.testing.assert_close(augment_contour(moved, draws), contour)


def test_a_share_of_clips_is_untouched_and_the_others_are_drawn_as_ever():
    plain, half = LipAugmentConfig(), LipAugmentConfig(untouched=0.5)
    changed = draw_lips(40, 2, 147, plain, torch.Generator().manual_seed(2))
    mixed = draw_lips(40, 2, 147, half, torch.Generator().manual_seed(2))
    kept = (mixed.contour_gain == 1).nonzero()[:, 0]
    rest = (mixed.contour_gain != 1).nonzero()[:, 0]
    assert 8 < len(kept) < 32
    assert torch.equal(mixed.affine[rest], changed.affine[rest])
    assert torch.equal(mixed.tone[rest], changed.tone[rest])


def test_no_clip_is_drawn_twice_into_a_batch_unless_there_are_too_few():
    for clips, distinct in ((16, 16), (40, 16), (3, 3)):
        drawn = draw_stretches(
            torch.full((clips,), 75), 16, 40, (1, 1), torch.Generator().manual_seed(1)
        )
        assert len(drawn.clip.unique()) == distinct


def test_untouched_speech_changes_in_level_alone():
    power = speechlike(batch=3)
    config = SpeechAugmentConfig(untouched=1.0)
    draws = draw_speech(3, 257, config, torch.Generator().manual_seed(4))
    heard = augment_speech(power, power.flip(0), draws)
    gain = 10 ** (draws.gain_db / 10)
    torch.testing.assert_close(heard, power * gain[:, None, None], rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("name", ["meta", "mps", "hpu", "nowhere"])
def test_devices_without_numbers_are_refused(name):
    with pytest.raises(InputError) as error:
        chosen_device(name)
    assert str(error.value) == f"there is no device {name!r}: give auto, cpu or cuda"


@pytest.mark.parametrize(
    ("variables", "processes"),
    [
        ({}, 1),
        ({"WORLD_SIZE": ""}, 1),
        ({"WORLD_SIZE": "2"}, 1),  # some queues set it, and start no processes
        ({"WORLD_SIZE": "2", "RANK": "1"}, 2),
    ],
)
def test_processes_are_those_of_torchrun(variables, processes, monkeypatch):
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert devices._world() == processes


def test_precision_is_chosen_by_the_processor_unless_it_is_given():
    cpu = torch.device("cpu")
    assert arithmetic("float32", cpu) is None
    assert arithmetic("bfloat16", cpu) is torch.bfloat16
    tiles = torch.cpu._is_amx_tile_supported()
    assert arithmetic("auto", cpu) is (torch.bfloat16 if tiles else None)


def test_every_clip_keeps_one_branch():
    config = LipAugmentConfig(drop_picture=0.9, drop_contour=0.9)
    draws = draw_lips(200, 2, 147, config, torch.Generator().manual_seed(0))
    assert (draws.keep_picture | draws.keep_contour).all()
    assert not draws.keep_contour.all()


def test_of_a_clip_without_pictures_one_is_kept(tmp_path):
    dataset = open_dataset(make_dataset(tmp_path))
    random = np.random.default_rng(0)
    clips = [dataset.clip(name) for name in dataset.names]
    filmed = [replace(c, lips=random.integers(0, 256, c.lips.shape, np.uint8)) for c in clips]
    blank = replace(filmed[1], lips=np.full_like(filmed[1].lips, 7))
    whole, lean = Corpus.of(filmed, 2), Corpus.of([filmed[0], blank, *filmed[2:]], 2)
    assert len(whole.lips) - len(lean.lips) == len(blank) - 1
    every = Stretches(torch.arange(len(filmed)), torch.zeros(len(filmed)), torch.ones(len(filmed)))
    seen, of_all = cut_lips(lean, every, len(blank))[0], cut_lips(whole, every, len(blank))[0]
    assert (seen[1] == 7).all() and of_all[1].std() > 1
    rest = [i for i in range(len(filmed)) if i != 1]
    torch.testing.assert_close(seen[rest], of_all[rest], rtol=0, atol=0)


def test_of_blank_pictures_nothing_is_learned_and_of_their_contours_it_is():
    corpus = talking_corpus()
    task = task_of(recipe())
    for lips, learned in ((corpus.lips, True), (torch.zeros_like(corpus.lips), False)):
        task.corpus = replace(corpus, lips=lips)
        task.module.zero_grad(set_to_none=True)
        task.loss(0)[0].backward()
        by_picture = [one.grad for one in task.module.lips.from_picture.parameters()]
        assert any(grad is not None and bool(grad.any()) for grad in by_picture) is learned
        assert task.module.lips.from_contour[0].weight.grad.any()


def test_of_pictures_alone_no_contour_is_learned_and_none_is_asked_of_speech(tmp_path):
    dataset = open_dataset(make_dataset(tmp_path / "me", recordings=3, frames=60))
    clips = [dataset.clip(name) for name in dataset.names]
    corpus = Corpus.of(clips[:1], 2, untracked=iter(clips[1:]))
    assert corpus.contour[:60].any() and not corpus.contour[60:].any()
    assert corpus.frames.tolist() == [60] * 3
    talking = talking_corpus()
    task = task_of(recipe())
    for contour, learned in ((talking.contour, True), (0 * talking.contour, False)):
        task.corpus = replace(talking, contour=contour)
        task.module.zero_grad(set_to_none=True)
        task.loss(0)[0].backward()
        assert bool(task.module.lips.from_contour[0].weight.grad.any()) is learned
        assert bool(task.module.read_contour.weight.grad.any()) is learned
        assert task.module.lips.from_picture[1].weight.grad.any()


def test_clips_of_pictures_alone_are_part_of_what_a_run_is(tmp_path):
    data = make_dataset(tmp_path / "me", recordings=2, frames=60)
    drawn = make_dataset(tmp_path / "drawn", recordings=2, frames=60)
    both = {"device": "cpu", "pictures_alone": [drawn]}
    file = train_encoder([data], tmp_path / "run", recipe(steps=1), **both)
    assert read_header(file).metadata["data"] == [[data.name, 2], [drawn.name, 2]]
    with pytest.raises(InputError, match="with other pictures_alone"):
        train_encoder([data], tmp_path / "run", recipe(steps=1), device="cpu")


def test_weights_of_another_shape_are_no_start(tmp_path):
    file = tmp_path / "encoder.safetensors"
    save_encoder(file, SE4Lip(SMALL), {"name": "small"})
    begun = SE4Lip(SMALL)
    take_up(begun, file)
    saved = load_encoder(file).state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in begun.state_dict().items())
    with pytest.raises(InputError, match="was made with another model configuration"):
        take_up(SE4Lip(SE4LipConfig()), file)
    longer = SE4Lip(replace(SMALL, speech=replace(SMALL.speech, window=Window(9), pooled=2)))
    take_up(longer, file)
    assert all(torch.equal(value, saved[name]) for name, value in longer.state_dict().items())
    with pytest.raises(InputError, match="was made with another model configuration"):
        take_up(longer, file, speech_learns=False)  # features would change and keep their checksum


def test_speech_learns_on_and_lips_stay_to_the_bit(tmp_path):
    """With a longer window of speech than the lips were learned with, too."""
    data = make_dataset(tmp_path / "me", recordings=2, frames=60)
    first = train_encoder([data], tmp_path / "first", recipe(steps=2), device="cpu")
    longer = replace(SMALL, speech=replace(SMALL.speech, window=Window(9), pooled=2))
    held = replace(recipe(steps=3, hold_lips=True), model=longer)
    file = train_encoder([data], tmp_path / "held", held, device="cpu", start=first)
    before, after = load_encoder(first).state_dict(), load_encoder(file).state_dict()
    stayed = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert {name for name in before if name.startswith("lips.")} <= stayed
    assert "speech.gru.weight_ih_l0" not in stayed
    assert load_encoder(file).config.speech.window == Window(9)
    assert encoder_identity(file).sha256 != encoder_identity(first).sha256
    with pytest.raises(InputError, match="the lip encoder is to stay as it is, and none was given"):
        train_encoder([data], tmp_path / "none", held, device="cpu")
    with pytest.raises(InputError, match="--hold-speech and --hold-lips were both given"):
        replace(held, hold_speech=True)


def test_lips_learn_on_and_what_is_heard_stays_to_the_bit(tmp_path):
    data = make_dataset(tmp_path / "me", recordings=2, frames=60)
    first = train_encoder([data], tmp_path / "first", recipe(steps=2), device="cpu")
    held = recipe(steps=3, hold_speech=True)
    file = train_encoder([data], tmp_path / "held", held, device="cpu", start=first)
    before, after = load_encoder(first).state_dict(), load_encoder(file).state_dict()
    stayed = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert {n for n in before if n.startswith(("speech.", "read_contour."))} <= stayed
    assert "lips.from_contour.0.weight" not in stayed  # the puppet is no picture
    # Heads that hear the first go on hearing, whatever else is trained of it.
    assert encoder_identity(file).sha256 == encoder_identity(first).sha256
    you = make_dataset(tmp_path / "you", recordings=3, frames=60)
    again = train_encoder([you], tmp_path / "again", held, device="cpu", start=file)
    assert read_header(again).metadata["data"] == [[data.name, 2], [you.name, 3]]
    assert encoder_identity(again).sha256 == encoder_identity(first).sha256
    other = train_encoder([data], tmp_path / "other", recipe(steps=1), device="cpu", start=file)
    assert encoder_identity(other).sha256 == read_header(other).sha256
    with pytest.raises(InputError, match="to stay as it is, and none was given: name its weights"):
        train_encoder([data], tmp_path / "none", held, device="cpu")
    assert not (tmp_path / "none").exists()


def test_a_few_recordings_train_and_nothing_is_examined(tmp_path):
    data = make_dataset(tmp_path / "me", recordings=2, frames=60)
    file = train_encoder([data], tmp_path / "run", recipe(steps=2), device="cpu")
    assert load_encoder(file).config == SMALL


def test_other_options_are_told_before_the_data_are_read(tmp_path):
    data = make_dataset(tmp_path / "me", recordings=2, frames=60)
    train_encoder([data], tmp_path / "run", recipe(steps=1), device="cpu")
    with pytest.raises(InputError, match=r"with other --loop\.steps \(1, now 2\): give the same"):
        train_encoder([tmp_path / "gone"], tmp_path / "run", recipe(steps=2), device="cpu")


def test_a_run_does_not_go_on_with_other_clips(tmp_path):
    data = make_dataset(tmp_path / "me", recordings=2, frames=60)
    train_encoder([data], tmp_path / "run", recipe(steps=1), device="cpu")
    train_encoder([data], tmp_path / "run", recipe(steps=1), device="cpu")
    before = digest(open_dataset(data), "train")
    set_av_offset(data, 1.5)  # as many clips of the same names
    assert digest(open_dataset(data), "train") != before
    with pytest.raises(
        InputError, match="is of a run with other clips or stored offsets: give the same"
    ):
        train_encoder([data], tmp_path / "run", recipe(steps=1), device="cpu")
    set_av_offset(data, 0.0)
    moved = data.rename(tmp_path / "me" / "elsewhere")
    assert digest(open_dataset(moved), "train") == before


def test_accuracy_of_no_question_is_null_in_json(tmp_path, capsys):
    data = make_dataset(tmp_path / "me", recordings=1, frames=40)
    file = tmp_path / "encoder.safetensors"
    save_encoder(file, SE4Lip(SMALL), {"name": "small"})
    assert cli.main(["evaluate", "encoder", str(data), "--encoder", str(file), "--json"]) == 0
    figures = strict_json(capsys.readouterr().out)["figures"]
    assert (0, None) in [(row["questions"], row["accuracy"]) for row in figures]
