"""What phones ask of lips that nobody filmed."""

import numpy as np
import pytest
import torch

from se4lip.face.expression import MouthModel
from se4lip.head.speech_window import SpeechWindow, SpeechWindowConfig
from se4lip.mesh import LOWER_INNER_LIP, MOUTH_CORNERS
from se4lip.train.avatar_phones import AJAR, NARROW, NOTHING, OPEN, SHUT, WIDE, Demands, asked_of
from se4lip.train.avatar_speech import Heard, MouthTask
from se4lip.train.avatar_unfilmed import pieces_of_speech, unfilmed_take


def mouth_of_two() -> MouthModel:
    """The first number of a code opens the mouth by so many mm, the second widens it."""
    basis = np.zeros((2, 478, 3))
    basis[0, LOWER_INNER_LIP, 1] = basis[1, MOUTH_CORNERS[1], 0] = 0.1
    return MouthModel(np.zeros((478, 3)), basis, np.zeros((1434, 2)))


def demands() -> Demands:
    gap, width = np.meshgrid(np.arange(101.0), np.arange(101.0))
    codes = np.stack((gap.ravel(), width.ravel()), -1).astype(np.float32)
    silent = np.full((500, 2), 1000, np.float32)  # what is no speech does not count
    spoken = np.arange(len(codes) + 500) < len(codes)
    return Demands(mouth_of_two(), np.concatenate((codes, silent)), spoken)


@pytest.mark.parametrize(
    ("name", "asks"),
    [
        *(("b", SHUT), ("pʰ", SHUT), ("'m", SHUT), ("u", NARROW), ("õ", NARROW), ("ʊ", NARROW)),
        *(("i", WIDE), ("ɛ̃", WIDE), ("a", OPEN), ("ə", OPEN), ("t", AJAR), ("ʃ", AJAR)),
        *(("f", NOTHING), ("v", NOTHING), ("w", NOTHING), ("sil", NOTHING), ("?", NOTHING)),
    ],
)
def test_what_a_phone_asks(name: str, asks: int) -> None:
    assert asked_of([(name, 0.4, 0.5)], 20).tolist() == [NOTHING] * 11 + [asks] + [NOTHING] * 8


def test_the_frame_in_the_middle_of_a_phone_is_asked_and_closures_come_first() -> None:
    phones = [("a", 0.0, 0.06), ("i", 0.06, 0.08), ("b", 0.08, 0.1), ("t", 0.1, 0.12), ("u", 9, 10)]
    assert asked_of(phones, 4).tolist() == [OPEN, WIDE, SHUT, NOTHING]
    assert asked_of([("b", 0.0, 0.02), ("a", 0.02, 0.04)], 1).tolist() == [SHUT]
    assert asked_of([("a", 0.0, 0.02), ("b", 0.02, 0.04)], 1).tolist() == [SHUT]


@pytest.mark.parametrize(
    ("kind", "enough", "short"),
    [
        (SHUT, (6.8, 50), (9.0, 50)),  # 2 to 95, a twentieth of the way: 6.65
        (AJAR, (20, 50), (18, 50)),
        (OPEN, (35, 50), (33, 50)),
        (NARROW, (50, 30), (50, 32)),
        (WIDE, (50, 60), (50, 58)),
    ],
)
def test_a_mouth_that_does_enough_is_left_alone(kind, enough, short) -> None:
    asked = torch.tensor([[kind, NOTHING, NOTHING]], dtype=torch.int8)
    other = torch.tensor([500.0, -500.0])  # of which nothing is asked
    for code, missed in ((enough, 0.0), (short, 2.0)):
        codes = torch.stack((torch.tensor(code, dtype=torch.float), other, -other))[None]
        weight = 0.2 if kind == OPEN else 0.3
        found = float(demands().missed_mm(codes, asked)) / weight
        assert found == pytest.approx(missed, abs=0.4 if kind == SHUT else 1e-4)
    nothing = torch.zeros(1, 3, dtype=torch.int8)
    assert float(demands().missed_mm(codes, nothing)) == 0


def test_lips_that_nobody_filmed_learn_to_meet_where_it_is_asked() -> None:
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    window = SpeechWindow(SpeechWindowConfig(4, 2, hidden=16, dropout=0.0, noise=0.0))
    filmed = np.stack((random.uniform(0, 10, 400), np.full(400, 50)), -1).astype(np.float32)
    own = Heard(np.zeros((400, 4), np.float32), filmed, np.ones(400, np.float32))
    features = np.zeros((200, 4), np.float32)
    features[5::10] = 1  # a sound of which the own takes have none
    asked = np.zeros(200, np.int8)
    asked[5::10] = SHUT
    rest = np.zeros(2, np.float32)
    told, untold = (unfilmed_take(features, np.ones(200, bool), rest, a) for a in (asked, None))
    gaps = {}
    for name, take in (("told", told), ("untold", untold)):
        module = SpeechWindow(window.config)
        module.load_state_dict(window.state_dict())
        task = MouthTask(module, mouth_of_two(), [own, take], [])
        optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
        for step in range(60):
            torch.manual_seed(step)
            loss, figures = task.loss(step)
            assert ("asked_mm" in figures) == (name == "told")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            gaps[name] = module.eval()(torch.from_numpy(features))[5::10, 0].mean()
    assert gaps["told"] < gaps["untold"] - 1


def test_phones_go_with_their_piece_of_a_recording() -> None:
    loud = 0.3 * np.sin(np.arange(16_000 * 25) / 5).astype(np.float32)
    loud *= np.arange(len(loud)) // 8_000 % 2  # half a second of sound, half a second of none
    first, second, third = pieces_of_speech(loud, [("b", 0.4, 0.5), ("u", 11.0, 11.1)])
    assert np.flatnonzero(first.asked).tolist() == [11] and first.asked[11] == SHUT
    assert np.flatnonzero(second.asked).tolist() == [26] and second.asked[26] == NARROW
    assert not third.asked.any() and len(third.asked) == len(third.speaking)


def test_a_mouth_whose_takes_have_no_sound_is_measured_all_the_same() -> None:
    filmed = np.random.default_rng(0).uniform(0, 10, (50, 2)).astype(np.float32)
    mute = Heard(np.zeros((50, 4), np.float32), filmed)
    asked = np.full(20, SHUT, np.int8)
    rest = np.zeros(2, np.float32)
    told = unfilmed_take(np.zeros((20, 4), np.float32), np.ones(20, bool), rest, asked)
    window = SpeechWindow(SpeechWindowConfig(4, 2, hidden=8))
    task = MouthTask(window, mouth_of_two(), [mute, told], [])
    assert task.demands is not None and 0 < task.demands.shut < task.demands.open < 10
