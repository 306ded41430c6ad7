"""What a report shows: sections, figures, curves, HTML."""
