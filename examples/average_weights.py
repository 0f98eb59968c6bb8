"""Between the weights before a fine-tuning and those after it (Wortsman et al. 2022, WiSE-FT).

    python examples/average_weights.py before.safetensors after.safetensors --share 0.75 -o new

What a fine-tuning wins on new material stays for the most part, and what it loses on the old comes
back. ``--share`` is that of the weights after it; choose it on validation recordings.
"""

import argparse
from pathlib import Path

from se4lip.io.weights import load_weights, save_weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--share", type=float, default=0.75)
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args()
    before, old = load_weights(given.before, kind="encoder")
    after, new = load_weights(given.after, kind="encoder")
    if old.config != new.config:
        raise SystemExit("the two are of different configurations: only a fine-tuning of the first")
    tensors = {
        name: before[name].float().lerp(value.float(), given.share).to(value.dtype)
        for name, value in after.items()
    }
    averaged = {"before": old.sha256, "after": new.sha256, "share_of_after": given.share}
    save_weights(
        given.out,
        tensors,
        kind="encoder",
        config=new.config,
        metadata=dict(new.metadata) | {"averaged": averaged},
    )


if __name__ == "__main__":
    main()
