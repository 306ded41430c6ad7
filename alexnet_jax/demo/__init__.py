"""A trained network in a page, for a class: what it sees, answers, and why.

Nothing imports this room. What the page shows is made without Gradio, in `answers` and
`pieces`; `page` puts it together, and `server` lets nothing else be reached.
"""
