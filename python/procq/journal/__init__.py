"""What was decided about the numbers of workers, and what it was like then: kept on disk, bounded, never in the way.

`procq.journal.writer.Journal` writes it, `procq.journal.reader` reads it, `procq.journal.record` is what it holds.
"""
