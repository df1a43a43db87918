"""Chunks encoded by several processes, given back in order."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice

from riverrun.data.chunks import Chunk
from riverrun.data.documents import ChunkEncoder, EncodedChunk
from riverrun.errors import CorpusError

_encoder: ChunkEncoder | None = None
"""A worker process's own encoder, set once when it starts; never set in the parent."""


def encode_in_order(
    chunks: Iterable[Chunk], encoder: ChunkEncoder, workers: int
) -> Iterator[tuple[Chunk, EncodedChunk]]:
    """Each chunk with what it gives, in order; at most two chunks for each worker are in memory.

    One worker, or one chunk, is done in this process. Raises `CorpusError` when a worker is killed.
    """
    remaining = iter(chunks)
    ahead = list(islice(remaining, 2))
    if workers == 1 or len(ahead) < 2:
        for chunk in chain(ahead, remaining):
            yield chunk, encoder(chunk)
        return
    # Spawned, not forked: the tokenizer's threads would not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(encoder,))
    pending: deque[tuple[Chunk, Future[EncodedChunk]]] = deque()
    try:
        for chunk in chain(ahead, remaining):
            pending.append((chunk, pool.submit(_encode, chunk)))
            if len(pending) >= 2 * workers:
                first, future = pending.popleft()
                yield first, future.result()
        for first, future in pending:
            yield first, future.result()
    except BrokenProcessPool as error:
        raise CorpusError(
            "a worker process was killed, perhaps for want of memory; run the same command again with fewer "
            "--workers: it goes on from where it stopped"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(encoder: ChunkEncoder) -> None:
    global _encoder
    _encoder = encoder
    # One process, one core; Ctrl-C is the parent's to handle.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for its next chunk for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _encode(chunk: Chunk) -> EncodedChunk:
    assert _encoder is not None
    return _encoder(chunk)
