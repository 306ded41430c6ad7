"""Outputs of a network's layers, for any number of pictures, in files.

`outputs` chooses layers and compiles what computes them, `stream` does so batch by
batch, `writers` know the forms of files, and `feature_file` brings one to its place.
Only commands and `trained` import this room, which itself imports `models/`,
`inspection/` for the layers' names, `data/` for pictures, `terminal/`, `step`,
`atomic` and `errors`.
"""
