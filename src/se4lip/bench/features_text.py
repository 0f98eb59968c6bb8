"""The words of the page of ``se4lip bench features``."""

TEXT = """# Which features make the better head

{quick}`se4lip bench features` on {dataset}. For each kind of features a window learns anew to hear:
{seeds} seed(s), {steps} steps each, {takes}, each also in {voices} other voice(s), the same for all
features; every head is driven by the same windows. Figures are of all clips together; ± is the
spread over seeds. Gains are over the best other features by that figure, encoders of ours not among
them; in brackets the interval of 95 % of 10,000 resamples of recordings and seeds; for figures of
which less is better the gain is what is saved. A gain whose interval holds 0 is none. Fewer than
{least} recordings give no interval.
{one_seed}
{begun}{portrait}{claims}
## Who was heard

{kinds}

{missing}
{sections}
![Figures by features]({name}-bars.png)

{forest}{grids}## How it was made

{circumstances}

Figures are kept and used again while nothing that decides them changes; these were made by

{figures_made}
"""

BEGUN = """**Begun with what others taught.** Every kind of features first learned to hear on
{of}, with the same steps, and each window here began with what its own features learned there, the
mouth rewritten (`src/se4lip/train/hearing_of_another.py`).

"""
PORTRAIT = """**A portrait, all of which is asked about.** What hears learned in {folds} folds, each
without the blocks that it is asked about. But the head's looks and its mouth model were made from
the recording as a whole: they saw what is drawn here.

"""
ABOUT_LIPS = """Landmarks of the person's own mouth model, the same for any renderer; no network
judges here (`src/se4lip/bench/lips.py`).
"""
ABOUT_DRAWN = """Drawn by this head and seen by the tracker, beside the real takes seen alike; the
mouth is driven by sound alone (`src/se4lip/bench/drawn.py`). The second judge reads all clips
together.
"""
CLAIMS = """## The paper's claim

SE4Lip reports a sync gain of 13.7 % (NeRF) and 14.2 % (3DGS) over the best other features; our aim
is 20 %, and 95 % of the real video's confidence. Met means reached by the figure itself, with an
interval above 0 where it is a gain.

{lines}

"""
NO_CLAIMS = """## The paper's claim

It is about the sync of drawn video, and none was judged here: {why}.

"""


def about_lag(lag: int) -> str:
    also = f" and at {lag:+d} frames (positive: the sound is late)" if lag else ""
    return (
        "Other people, whose sync nobody knows: lips are compared only in how they move, at lag 0"
        f"{also}; at {lag:+d} all features together agree best with the real lips.\n"
    )
