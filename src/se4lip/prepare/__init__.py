"""Recordings become data sets: video -> landmarks -> lip crops."""
