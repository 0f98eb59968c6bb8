"""A head keeps its looks when it is given other features to hear."""

import torch

from se4lip.head.speech_window import SpeechWindow, SpeechWindowConfig
from se4lip.head.splat.head import SplatHead, SplatHeadConfig
from se4lip.types import Camera
from splat_scenes import round_ones


def test_other_features_change_what_it_hears_and_nothing_else():
    torch.manual_seed(0)
    camera = Camera(80.0, 16.0, 16.0, 32, 32)
    runs = (0, 4, 8, 12, 16, 20)
    config = SplatHeadConfig(
        camera, runs, feature_width=29, mouth_width=3, eye_width=2, look_width=2
    )
    points = torch.randn(20, 3)
    head = SplatHead(config, round_ones(points, torch.rand(20, 3)))
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    window = SpeechWindow(SpeechWindowConfig(512, 3, hidden=16))
    twin = head.hearing_with(window)
    assert (twin.feature_width, head.feature_width) == (512, 29)
    for name, value in head.state_dict().items():
        if not name.startswith("speech."):
            assert torch.equal(value, twin.state_dict()[name]), name
    features = torch.randn(6, 512)
    twin.eval(), window.eval()
    torch.testing.assert_close(twin.speech(features), window(features))
