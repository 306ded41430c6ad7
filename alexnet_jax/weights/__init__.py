"""Published weights, read and mapped onto this project's networks.

Files are told apart by what they hold, not by their names, and nothing in them is ever
run. A module reads each format; `mapping` brings the layers into this project's layout;
`verification` says what was done, `preprocessing` how the networks see images, and
`peers` what the tools that files are for make of a picture. Commands, `exporting/` and
`reporting/` import `weights/`, which itself imports `models/`, `preprocessing/`,
`data/` for specifications, `config`, `atomic` and `errors`.
"""
