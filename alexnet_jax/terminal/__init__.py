"""What commands and the terminal owe each other: signals, lost output, odd letters.

`signals` end a command in one line; `output` guards its streams; `text` makes names
harmless; `paths` and `user_code` take what a user names; `bar` shows how far work has
come. The standard library alone is imported, so that it is there from a process's first
import on; `cli`, the package itself and whatever prints or takes names import this
room.
"""
