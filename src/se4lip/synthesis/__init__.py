"""Speech becomes features and a head says it, at once or live: audio -> features -> video."""
