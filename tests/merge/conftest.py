"""Model directories to merge, and averages computed without any rounding but the last."""

import json
from fractions import Fraction

import pytest
import torch
from safetensors.torch import save_file

CONFIG = {"model_type": "llama", "hidden_size": 8, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}

# Precision in bits, and the exponents of the smallest and of the largest normal number.
FORMATS = {torch.bfloat16: (8, -126, 127), torch.float16: (11, -14, 15), torch.float32: (24, -126, 127)}


def rounded(exact, dtype):
    """A fraction as the nearest number of `dtype`, ties to even."""
    precision, smallest, largest = FORMATS[dtype]
    if not exact:
        return 0.0
    size = abs(exact)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if Fraction(2) ** exponent > size:
        exponent -= 1
    unit = Fraction(2) ** (max(exponent, smallest) - precision + 1)
    nearest = unit * round(size / unit)  # round() of a fraction takes ties to even
    value = float("inf") if nearest >= Fraction(2) ** (largest + 1) else float(nearest)
    return value if exact > 0 else -value


@pytest.fixture
def exact_averages():
    """rows, weights, dtype -> the correctly rounded weighted averages, as a float64 tensor."""

    def compute(rows, weights, dtype):
        shares = [Fraction(numerator) / weights.denominator for numerator in weights.numerators]
        columns = torch.stack(list(rows)).double().T.tolist()
        sums = (
            sum(share * Fraction(x) for share, x in zip(shares, column, strict=True)) for column in columns
        )
        return torch.tensor([rounded(exact, dtype) for exact in sums], dtype=torch.float64)

    return compute


@pytest.fixture
def model(tmp_path):
    """A function that writes a Hugging Face directory, whole or in the given shards, and returns its path."""

    def write(name, tensors, shards=None, config=CONFIG, **files):
        folder = tmp_path / name
        folder.mkdir()
        if config is not None:
            (folder / "config.json").write_text(json.dumps(config))
        if shards is None:
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        else:
            places = {}
            for number, names in enumerate(shards, 1):
                file = f"model-{number:05}-of-{len(shards):05}.safetensors"
                save_file({key: tensors[key] for key in names}, folder / file, metadata={"format": "pt"})
                places |= dict.fromkeys(names, file)
            index = {"metadata": {}, "weight_map": places}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        for file, content in files.items():
            (folder / file.replace("__", ".")).write_text(content)
        return folder

    return write


@pytest.fixture
def family(model):
    """A function that writes several models with random tensors of the same names; gives paths and tensors."""

    def write(count, dtype=torch.bfloat16, shapes=None, **settings):
        shapes = shapes or {"embed.weight": (40, 8), "layer.weight": (8, 8), "norm.weight": (8,)}
        generator = torch.Generator().manual_seed(count)
        tensors = [
            {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
            for _ in range(count)
        ]
        paths = [model(f"in-{number}", each, **settings) for number, each in enumerate(tensors)]
        return paths, tensors

    return write
