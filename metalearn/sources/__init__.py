"""Sources of tasks."""

from metalearn.sources import environments
from metalearn.sources.arrays import from_arrays
from metalearn.sources.contract import BLOCK_BYTES, check_sampler, spec, task_bytes
from metalearn.sources.conversion import as_source
from metalearn.sources.environments.rollouts import Rollouts
from metalearn.sources.function import from_function
from metalearn.sources.images import FewShot
from metalearn.sources.prefetch import prefetched
from metalearn.sources.protocol import Source
from metalearn.sources.quadratics import Quadratics
from metalearn.sources.regression import Harmonic, Linear, Multimodal, Polynomial, Sinusoid, Step
from metalearn.sources.ring import Ring
from metalearn.sources.single_dataset import dataset

__all__ = [
    "BLOCK_BYTES",
    "FewShot",
    "Harmonic",
    "Linear",
    "Multimodal",
    "Polynomial",
    "Quadratics",
    "Ring",
    "Rollouts",
    "Sinusoid",
    "Source",
    "Step",
    "as_source",
    "check_sampler",
    "dataset",
    "environments",
    "from_arrays",
    "from_function",
    "prefetched",
    "spec",
    "task_bytes",
]
