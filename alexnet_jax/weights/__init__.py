"""Published weights, read and mapped onto this project's networks.

Files are told apart by what they hold, not by their names, and nothing in them is ever
run. A module reads each format; `mapping` brings the layers into this project's layout;
`verification` says what was done, and `preprocessing` how the networks see images. Only
commands import `weights/`, which itself imports `models/`, `data/` for specifications,
`config`, `atomic` and `errors`.
"""
