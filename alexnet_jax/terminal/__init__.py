"""What commands and the terminal owe each other: signals, lost output, odd letters.

`signals` end a command in one line; `output` guards its streams; `text` makes names
harmless; `paths` and `user_code` take what a user names; `bar` shows how far work has
come, and `tables` lays out what is as wide as the terminal. But for `tables`, the
standard library alone is imported, so that the room is there from a process's first
import on; `cli`, the package itself and whatever prints or takes names import it.
"""
