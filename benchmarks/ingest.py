"""Speed of `riverrun data ingest` as plain bytes and as a BPE, and of gathering a batch.

    python benchmarks/ingest.py [SOURCE ...] [--repeat 8] [--workers 1] [--vocabulary 8192]

Without a source the bundled text is repeated, in order that start-up weighs little. Everything is timed from
reading the sources to the verified manifest; the BPE is trained first, and its training timed alone.
"""

import argparse
import lzma
import os
import resource
import statistics
import tempfile
import time
from importlib.resources import files
from pathlib import Path

from riverrun.data import BatchSizes, Corpus, Segment, Stream, bundled_corpus, ingest


def main() -> None:
    """Print a line for each way of ingesting."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sources", nargs="*")
    parser.add_argument("--repeat", type=int, default=8, help="copies of the bundled text (default 8)")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--vocabulary", type=int, default=8192)
    arguments = parser.parse_args()
    # Otherwise the tokenizer of a single worker would use every core.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with tempfile.TemporaryDirectory() as directory:
        sources = arguments.sources or [str(_repeated_bundle(Path(directory), arguments.repeat))]
        trained = _train(sources, Path(directory), arguments.vocabulary)
        for name, tokenizer in [("bytes", "bytes"), (f"bpe:{arguments.vocabulary}", str(trained))]:
            out = Path(directory) / name.replace(":", "-")
            begin, cpu_begin = time.perf_counter(), _cpu_seconds()
            corpus = ingest(sources, out, tokenizer=tokenizer, workers=arguments.workers)
            seconds, cpu_seconds = time.perf_counter() - begin, _cpu_seconds() - cpu_begin
            megabytes = _megabytes(corpus)
            print(
                f"{name:<10} {megabytes:7.1f} MB of text  {seconds:6.2f} s  {arguments.workers} workers  "
                f"{megabytes / seconds:6.1f} MB/s  {megabytes / cpu_seconds:6.1f} MB per core and second"
            )
        print(f"a batch of 8 x 129 tokens: {_batch_milliseconds(bundled_corpus()):.3f} ms")


def _train(sources: list[str], directory: Path, vocabulary: int) -> Path:
    """A BPE trained on the sources: the path of its tokenizer.json."""
    from riverrun.data.bpe_sample import bpe_sample
    from riverrun.data.sources import find_sources
    from riverrun.data.tokenizer import train_bpe

    begin = time.perf_counter()
    texts = list(bpe_sample(find_sources(sources)[0], "text", "id", held_out=0.01))
    trained = train_bpe(texts, vocabulary)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print(f"training   {megabytes:7.1f} MB of text  {time.perf_counter() - begin:6.2f} s  1 thread")
    path = directory / "trained.json"
    trained.save(path)
    return path


def _repeated_bundle(directory: Path, times: int) -> Path:
    asset = files("riverrun.data") / "assets" / "state-of-the-union.jsonl.xz"
    path = directory / "bundled.jsonl"
    path.write_bytes(lzma.decompress(asset.read_bytes()) * times)
    return path


def _batch_milliseconds(corpus: Corpus) -> float:
    """Median time to gather a batch of 8 samples of 129 tokens."""
    stream = Stream([Segment(0, ((corpus, 1.0),))], context=128, seed=0, sizes=BatchSizes(8))
    times = []
    for step in range(1, 2001):
        begin = time.perf_counter()
        stream.batch(step)
        times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times)


def _cpu_seconds() -> float:
    """Processor time of this process and of its ended workers; that of other programs does not count."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _megabytes(corpus: Corpus) -> float:
    return sum(split.bytes for split in corpus.manifest.splits.values()) / 1e6


if __name__ == "__main__":
    main()
