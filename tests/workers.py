"""Processes that draw samples: in a module of its own, since each of them imports it."""

import multiprocessing
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pyarrow as pa

from arcmix import augment, params


def draw(
    pool: augment.Pool,
    slots: np.ndarray,
    settings: params.Augment,
    count: int,
    stretch: int,
    firsts: Iterable[int],
) -> list[pa.Table]:
    """Return stretches of `count` samples that begin at some numbers."""
    return [
        augment.table(augment.draw(pool, slots, settings, 0, first, min(stretch, count - first)))
        for first in firsts
    ]


def stream(
    pool: augment.Pool,
    slots: np.ndarray,
    settings: params.Augment,
    count: int,
    stretch: int,
    workers: int,
) -> pa.Table:
    """Return samples drawn by processes that take turns at the stretches."""
    firsts = range(0, count, stretch)
    # Not forked from here: a worker has nothing but what it is handed, and this module.
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(workers, mp_context=server) as processes:
        shares = [
            processes.submit(draw, pool, slots, settings, count, stretch, firsts[worker::workers])
            for worker in range(workers)
        ]
        found = [share.result() for share in shares]
    turns = [found[turn % workers][turn // workers] for turn in range(len(firsts))]
    return pa.concat_tables(turns)
