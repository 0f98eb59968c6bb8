"""Feature files that existing talking-head systems load unchanged.

Pure arithmetic: `io.feature_files` does the writing.

maps      512 numbers -> 29, 32, 44 or 1024
layouts   rows of a file from frames: windows, pairs, half frames
profiles  what a system reads; `feature_files(profile, features)`; `describe(profiles)`
systems   the twelve systems: `PROFILES`
"""

from se4lip.dropin.profiles import FeatureFile, Profile, describe, feature_files, file_names
from se4lip.dropin.systems import PROFILES

__all__ = ["PROFILES", "FeatureFile", "Profile", "describe", "feature_files", "file_names"]
