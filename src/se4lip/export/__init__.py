"""Networks for other runtimes: the verb ``export``."""
