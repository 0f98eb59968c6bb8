"""Speech features of every kind on one clock: se4lip's own, and those it is compared with."""
