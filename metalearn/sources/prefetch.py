"""Tasks drawn ahead by a thread, so that training does not wait for a sampler in Python."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from metalearn.checks import require_count
from metalearn.types import Seed, Task


def prefetched(source: Any, seeds: Iterable[Seed], tasks: int, *, ahead: int | None = None) -> Iterator[Task]:
    """Yield ``source.sample(seed, tasks)`` for each seed, in order, drawn ahead by one thread.

    What is drawn depends on the seeds alone, so it is the same with and without drawing ahead. The sampler is
    never called twice at a time.

    Args:
        source: a source, called eagerly.
        seeds: the seeds, which may go on for ever; no more than ``ahead`` beyond those asked for are taken.
        tasks: T of each draw.
        ahead: how many draws to make beyond the last one that was asked for, at least 0; the source's
            ``prefetch`` if not given, or 2 if it has none. With 0 there is no thread.

    Raises:
        ValueError: if ``ahead`` is not a count.
        Exception: what the sampler raises, where its tasks would have come.
    """
    ahead = getattr(source, "prefetch", 2) if ahead is None else ahead
    require_count("ahead", ahead, minimum=0)
    return _drawn_ahead(source, iter(seeds), tasks, ahead)


def _drawn_ahead(source: Any, seeds: Iterator[Seed], tasks: int, ahead: int) -> Iterator[Task]:
    if not ahead:
        for seed in seeds:
            yield source.sample(seed, tasks)
        return
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tasks")
    waiting: deque[Future[Task]] = deque()
    try:
        waiting.extend(pool.submit(source.sample, seed, tasks) for seed in islice(seeds, 1 + ahead))
        while waiting:
            task = waiting.popleft().result()
            waiting.extend(pool.submit(source.sample, seed, tasks) for seed in islice(seeds, 1))
            yield task
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
