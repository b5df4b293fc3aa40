"""Prefetching of tasks by a thread, so that training does not wait for a sampler in Python."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from metalearn.checks import require_count
from metalearn.types import Seed, Task


def prefetched(source: Any, seeds: Iterable[Seed], tasks: int, *, ahead: int | None = None) -> Iterator[Task]:
    """Yield ``source.sample(seed, tasks)`` for each seed, in order, prefetched by one thread.

    The tasks depend only on the seeds, so prefetching does not change them. The sampler is never called
    concurrently.

    Args:
        source: a source, called eagerly.
        seeds: the seeds, possibly infinitely many; at most ``ahead`` beyond the requested ones are consumed.
        tasks: T of each draw.
        ahead: the number of draws beyond the last requested one, at least 0; by default the source's
            ``prefetch``, or 2 if it has none. With 0 there is no thread.

    Raises:
        ValueError: if ``ahead`` is not a non-negative integer.
        Exception: an exception of the sampler, in place of its tasks.
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
