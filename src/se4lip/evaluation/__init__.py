"""What a video, a head or an encoder is worth: the verbs ``sync`` and ``evaluate``."""
