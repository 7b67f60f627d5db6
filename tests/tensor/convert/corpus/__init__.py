"""Small programs with plain Python control flow, and the inputs they are run with."""
