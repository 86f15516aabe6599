"""What happened, what was decided and what it was like then: kept on disk, bounded, never in the way.

`procq.journal.writer.Journal` writes it, `procq.journal.reader` reads it, `procq.journal.record` is what it holds.
`procq.journal.telling` and `wanted` choose among events, `recorder` is the flight recorder's file.
"""
