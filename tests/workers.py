"""Processes that draw samples, in a separate module because each process imports it."""

import multiprocessing
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pyarrow as pa

from arcmix.config import params
from arcmix.sampling import augment, sample_table


def draw(
    pool: augment.Pool,
    slots: np.ndarray,
    settings: params.Augment,
    count: int,
    chunk: int,
    firsts: Iterable[int],
) -> list[pa.Table]:
    """Return chunks of `count` samples, given the numbers of their first samples."""
    return [
        sample_table.to_arrow(
            augment.draw(pool, slots, settings, 0, first, min(chunk, count - first))
        )
        for first in firsts
    ]


def stream(
    pool: augment.Pool,
    slots: np.ndarray,
    settings: params.Augment,
    count: int,
    chunk: int,
    workers: int,
) -> pa.Table:
    """Return samples drawn by several processes, each of which draws every n-th chunk."""
    firsts = range(0, count, chunk)
    # A spawned worker shares no state with this process.
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(workers, mp_context=server) as processes:
        shares = [
            processes.submit(draw, pool, slots, settings, count, chunk, firsts[worker::workers])
            for worker in range(workers)
        ]
        found = [share.result() for share in shares]
    turns = [found[turn % workers][turn // workers] for turn in range(len(firsts))]
    return pa.concat_tables(turns)
