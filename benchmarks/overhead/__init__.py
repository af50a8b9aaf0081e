"""What watching costs: time and memory of a step with and without, interleaved, beside an A/A control.

``python -m benchmarks.overhead`` measures everything and writes ``results/overhead.json``. One capture is attached
once and taken away and put back between blocks of plain, watched and again plain steps of one model: process CPU
time, one thread. The three kinds of step (unsampled, sampled, sampled and traced) are timed apart, because one
loud neighbour in a block would drown what they differ by; what a run costs follows from how many of each the
default schedule has. ``--only WORD`` measures some programs and writes nothing.
"""
