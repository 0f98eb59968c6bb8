"""Networks loaded from files: what is remembered, and what is no such network."""

from __future__ import annotations

import pytest
import torch

from se4lip.artifacts.encoder import encoder_identity, load_encoder, save_encoder
from se4lip.artifacts.judge import judge_gate, judge_header, load_judge, save_judge, store_gate
from se4lip.encoder.model import SE4Lip, SE4LipConfig
from se4lip.metrics.judge import Gate, Judge, JudgeConfig
from se4lip.types import InputError


def made(seed: int) -> SE4Lip:
    torch.manual_seed(seed)
    return SE4Lip(SE4LipConfig()).eval()


def test_a_file_is_read_once_and_again_after_it_was_written_anew(tmp_path) -> None:
    file = tmp_path / "encoder.safetensors"
    save_encoder(file, made(0), {"name": "first"})
    first = load_encoder(file)
    assert load_encoder(file) is first
    assert encoder_identity(file).name == "first"
    save_encoder(file, made(1), {"name": "other"})  # as long as the first
    other = load_encoder(file)
    before, after = first.state_dict(), other.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert encoder_identity(file).name == "other"


def test_a_file_that_is_gone_is_missing_though_it_was_loaded(tmp_path) -> None:
    file = tmp_path / "judge.safetensors"
    save_judge(file, Judge(JudgeConfig(width=8)), {"name": "small"})
    assert load_judge(file).config.width == 8
    file.unlink()
    for load in (load_judge, judge_gate, judge_header):
        with pytest.raises(InputError, match=r"judge\.safetensors"):
            load(file)


def test_a_gate_that_was_stored_is_known_at_once(tmp_path) -> None:
    file = tmp_path / "judge.safetensors"
    save_judge(file, Judge(JudgeConfig(width=8)), {"name": "small"})
    assert judge_gate(file).least_speech_s is None
    store_gate(file, Gate(least_speech_s=3.0), {})
    assert judge_gate(file).least_speech_s == 3.0


def test_an_encoder_is_no_judge(tmp_path) -> None:
    file = tmp_path / "encoder.safetensors"
    save_encoder(file, made(0), {})
    for load in (load_judge, judge_gate, judge_header):
        with pytest.raises(InputError, match="holds encoder weights, needed are judge weights"):
            load(file)
