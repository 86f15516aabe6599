"""From views to lines of text. Pure: no clock, no terminal."""
