"""Thin callbacks for trainers; the bare ``with NeuralDbg(model):`` around a trainer's call works as well.

A callback adds what only the trainer knows: the number of its first step after a checkpoint, that the losses
of accumulated batches are shares, and the exception that ended the training. Nothing here is imported unless
it is asked for by its own name.
"""
