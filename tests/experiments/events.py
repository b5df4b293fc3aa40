"""Reading of the events of a run with TensorBoard's reader."""

import contextlib
import logging

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read(folder):
    """Return an accumulator of all events below a folder of events; nothing is sampled."""
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return events


def steps(events, name):
    """Return the iterations of a name's points."""
    with contextlib.suppress(KeyError):
        return [event.step for event in events.Tensors(name)]
    return []


def values(events, name):
    """Return the numbers of a name's points."""
    import tensorflow as tf

    return [tf.make_ndarray(event.tensor_proto) for event in events.Tensors(name)]
