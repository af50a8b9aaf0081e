"""Recording file: a recording in, ``run.ndbg`` out, and back; standard library and numpy only.

Definitions. A *frame* is a checksummed record of the file; a *part* is a recording of some steps only; the file
is a *head* frame, parts in the order of time, and an *end* frame if the run came to its end. Joining the parts
gives the recording, so a file that was cut anywhere is a shorter recording and not a broken one.
"""

from neuraldbg.recording.files import UNFINISHED, head_of, read_recording, write_recording
from neuraldbg.recording.log import RecordingLog
from neuraldbg.recording.thin import most_steps, thinned
from neuraldbg.recording.writer import RecordingWriter

__all__ = [
    "UNFINISHED",
    "RecordingLog",
    "RecordingWriter",
    "head_of",
    "most_steps",
    "read_recording",
    "thinned",
    "write_recording",
]
