"""``se4lip export``"""

from pathlib import Path
from typing import Annotated

import tyro

from se4lip.commands.shared import print_json, progress, run
from se4lip.export.files import export_onnx
from se4lip.train.split import Split


def export(arguments: list[str]) -> int | None:
    def command(
        out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
        encoder: Path | None = None,
        int8: bool = False,
        dataset: Path | None = None,
        split: Split = "all",
        avatar: Path | None = None,
        json: bool = False,
    ) -> None:
        """Write the networks as ONNX files: speech encoder, the same live, and a head's motion.

        onnxruntime runs every file before it is written; its numbers must be torch's to 1e-5.

        Args:
            out: Folder for speech-encoder.onnx and speech-step.onnx.
            encoder: Weights to export, the shipped ones by default.
            int8: Write both with weights of 8 bits as well, a third of the size.
            dataset: A prepared data set, to measure what 8 bits cost in sync.
            split: Which of its recordings to look at.
            avatar: Write head-deformation.onnx too: what is heard to the Gaussians of this head.
            json: Print the figures as JSON on standard output.
        """
        with progress("exporting") as (_, advance):
            report = export_onnx(
                out,
                encoder,
                int8=int8,
                dataset=dataset,
                split=split,
                avatar=avatar,
                on_progress=advance,
            )
        if json:
            print_json(report.to_json())
            return
        print(f"encoder {report.encoder!r}, sha256 {report.sha256[:12]}, opset {report.opset}")
        for file in report.files:
            said = f"{file.size_bytes / 1e6:.1f} MB, within {file.largest_difference:.1e} of torch"
            if file.path.stem.endswith("-int8"):
                said += f", cosine {file.mean_cosine:.5f}, at least {file.least_cosine:.5f}"
            print(f"{file.path}: {said}")
        for cost in report.offset_cost:
            print(
                f"true offset found with {cost.context_frames} frames of lips: "
                f"{cost.float32:.1%} by 32 bits, {cost.int8:.1%} by 8 ({cost.questions} questions)"
            )

    return run(command, "export", arguments)
