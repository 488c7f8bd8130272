"""Put the study's tokenizer into `tokenizer.path`, where every later stage loads it.

`tokenizer.source` is `train`, a file or directory here, or a name on the Hugging Face hub. `train`
learns a SentencePiece BPE vocabulary with byte fallback and keeps it as tokenizer.json alone: one
file that `tokenizers` and transformers read, and no second one to disagree with it. (Where two
different pairs make one piece and overlap, as in "aaa", SentencePiece merges the left one and
tokenizer.json the pair listed first; either way the text is the same.)
`source.json`, written last, records what the directory holds and was made from.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from corpus import vocabulary
from corpus.config import Config
from corpus.errors import CorpusError, Parser, require, run
from corpus.files import atomic, read_json, sha256_file, sha256_value, write_json
from corpus.jit import cache_directory
from corpus.merges import read_merges
from corpus.tokenizers import JSON, MODEL, Tokenizer, load_tokenizer

CONFIG, RECORD = "tokenizer_config.json", "source.json"
_SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")
_TRAIN_DOCUMENTS = 1_000_000  # SentencePiece keeps its training text in memory


class Request(msgspec.Struct, frozen=True):
    """What the study asks for: `eod` is the id that ends a document."""

    source: str
    directory: Path
    vocab_size: int
    eod: int
    corpus: Path


def prepare(request: Request) -> dict[str, Any]:
    """Fill the tokenizer's directory and return its record; a second call changes nothing.

    Raises CorpusError if the source cannot be had or does not fit `vocab_size` and `eod`.
    """
    record_path = request.directory / RECORD
    digest = _input_digest(request)
    known = read_json(record_path)
    if known and known.get("input_digest") == digest and _whole(request.directory, known):
        return known
    request.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=request.directory, prefix=".new-") as name:
        new = Path(name)
        _fetch(request, new)
        tokenizer = load_tokenizer(new)
        check(tokenizer, request.vocab_size, request.eod, new / CONFIG)
        if not (new / CONFIG).exists():
            (new / CONFIG).write_text(json.dumps(_describe(tokenizer, request.eod), indent=1),
                                      encoding="utf-8")
        record_path.unlink(missing_ok=True)
        for stale in (JSON, MODEL, CONFIG):
            (request.directory / stale).unlink(missing_ok=True)
        files = {}
        for file in sorted(new.iterdir()):
            files[file.name] = sha256_file(file)
            with file.open("rb") as old, atomic(request.directory / file.name) as stream:
                shutil.copyfileobj(old, stream)
    record = {"version": 1, "source": request.source, "input_digest": digest, "files": files,
              "digest": files[tokenizer.path.name], "file": tokenizer.path.name,
              "vocab_size": request.vocab_size, "eod": request.eod,
              "eod_piece": tokenizer.id_to_piece(request.eod)}
    write_json(record_path, record)
    # The tables, before twenty tasks want them at once.
    vocabulary.load(request.directory, cache_directory(request.directory),
                    files[tokenizer.path.name])
    return record


def prepare_once(request: Request) -> dict[str, Any]:
    """`prepare`, by the first of many tasks that want it at the same time; the others wait."""
    request.directory.mkdir(parents=True, exist_ok=True)
    with (request.directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return prepare(request)


def request_of(config: Config, source: str = "") -> Request:
    """What a job's configuration asks for; `source` overrides its own."""
    return Request(
        source=source or config.parameter("tokenizer.source", str),
        directory=config.path_parameter("tokenizer.path"),
        vocab_size=config.parameter("tokenizer.vocab_size", int),
        eod=config.parameter("tokenizer.eod", int),
        corpus=Path(config.parameter("corpus.file", str, "")),
    )


def check(tokenizer: Tokenizer, vocab_size: int, eod: int, config: Path) -> None:
    """Raise CorpusError unless the tokenizer has `vocab_size` entries and `eod` ends documents.

    Special tokens that follow the vocabulary may be counted or not: Gemma 3's image token has the
    id 262144, one past the model's vocabulary.
    """
    sizes = sorted({tokenizer.vocab_size, tokenizer.full_size})
    if vocab_size not in sizes:
        raise CorpusError(f"tokenizer.vocab_size is {vocab_size}, but {tokenizer.path.name} has "
                          f"{' or '.join(map(str, sizes))} entries. Set it to that.")
    if not 0 <= eod < vocab_size or eod not in tokenizer.special:
        names = ", ".join(f"{token} {tokenizer.id_to_piece(token)}"
                          for token in sorted(tokenizer.special)[:8])
        raise CorpusError(f"tokenizer.eod is {eod}, {tokenizer.id_to_piece(eod)!r}, which is not a "
                          f"special token. Set it to the one that ends a document ({names}).")
    ending = (read_json(config) or {}).get("eos_token")
    piece = ending.get("content") if isinstance(ending, dict) else ending
    if piece is not None and tokenizer.piece_to_id(piece) != eod:
        raise CorpusError(
            f"tokenizer.eod is {eod} ({tokenizer.id_to_piece(eod)}), but the tokenizer's own "
            f"eos_token is {piece}, id {tokenizer.piece_to_id(piece)}: is this the model's "
            "instruction-tuned sibling? Set tokenizer.eod, or name the tokenizer.json file alone.")


def _input_digest(request: Request) -> str:
    about: dict[str, Any] = {"version": 1, "source": request.source, "eod": request.eod,
                             "vocab_size": request.vocab_size}
    local = Path(request.source)
    if request.source == "train":
        if not request.corpus.is_file():
            raise CorpusError(f"{request.corpus}: no such file. Run the download stage first.")
        about["corpus"] = sha256_file(request.corpus)
    elif local.exists():
        about["files"] = {file.name: sha256_file(file) for file in _local_files(local)}
    return sha256_value(about)


def _whole(directory: Path, record: dict[str, Any]) -> bool:
    return all((directory / name).is_file() and sha256_file(directory / name) == digest
               for name, digest in record["files"].items())


def _fetch(request: Request, new: Path) -> None:
    local = Path(request.source)
    if request.source == "train":
        with (new / JSON).open("w", encoding="utf-8") as stream:
            stream.write(train(_texts(request.corpus), request.vocab_size, request.eod))
    elif local.exists():
        for file in _local_files(local):
            shutil.copyfile(file, new / _standard_name(file))
    elif request.source.startswith((".", "/", "~")) or request.source.count("/") > 1:
        raise CorpusError(f"tokenizer.source: {local} does not exist. Correct the path.")
    else:
        _fetch_from_hub(request.source, new)


def _local_files(source: Path) -> list[Path]:
    if source.is_file():
        if source.suffix in (".json", ".model"):
            return [source]
        raise CorpusError(f"{source} is no tokenizer file. Name a tokenizer.json, a .model file or "
                          "a directory with one.")
    names = (JSON, CONFIG) if (source / JSON).is_file() else (MODEL, CONFIG)
    files = [source / name for name in names if (source / name).is_file()]
    if not any(file.name != CONFIG for file in files):
        raise CorpusError(f"{source} has neither {JSON} nor {MODEL}. Correct tokenizer.source.")
    return files


def _standard_name(file: Path) -> str:
    if file.name == CONFIG:
        return CONFIG
    return MODEL if file.suffix == ".model" else JSON


def _fetch_from_hub(name: str, new: Path) -> None:
    hub = require("huggingface_hub", "huggingface_hub")
    token = os.environ.get("HF_TOKEN") or None
    try:
        files = set(hub.list_repo_files(name, token=token))
        wanted = [JSON if JSON in files else MODEL, CONFIG]
        for file in wanted:
            if file in files:
                shutil.copyfile(hub.hf_hub_download(name, file, token=token), new / file)
    except Exception as fault:  # the hub raises its own, its HTTP client's and the system's errors
        raise CorpusError(
            f"tokenizer.source {name} cannot be fetched ({type(fault).__name__}: {fault}). Check "
            f"the network; a gated model wants its licence accepted at https://huggingface.co/{name}"
            " and HF_TOKEN set. Or copy its tokenizer.json here and name that file."
        ) from fault
    if not (new / wanted[0]).exists():
        raise CorpusError(f"{name} has neither {JSON} nor {MODEL}. Correct tokenizer.source.")


def _texts(corpus: Path) -> Iterator[str]:
    """Texts of a downloaded corpus to learn from; lines without a text are passed over."""
    with corpus.open("rb") as stream:
        for number, line in enumerate(stream):
            if number >= _TRAIN_DOCUMENTS:
                return
            try:
                text = json.loads(line)["text"]
                text.encode()
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            if text and "\0" not in text:
                yield text


def train_sentencepiece(texts: Iterator[str], vocab_size: int, eod: int) -> bytes:
    """A SentencePiece BPE model of `texts`, the same on every run; `eod` is the id of its `<eos>`.

    Nothing is normalised, so that decoding gives back the text. Raises CorpusError if the texts
    are too small for the vocabulary or `eod` is not among the first four ids.
    """
    package = require("sentencepiece", "sentencepiece")
    if not 0 <= eod < len(_SPECIAL):
        raise CorpusError(f"tokenizer.eod is {eod}. With tokenizer.source: train it is 0, 1, 2 or "
                          "3; set it to 1.")
    order = [name for name in _SPECIAL if name != "<eos>"]
    order.insert(eod, "<eos>")
    named: dict[str, int | str] = {}
    for number, name in enumerate(order):
        named |= {f"{name.strip('<>')}_id": number, f"{name.strip('<>')}_piece": name}
    model = io.BytesIO()
    try:
        package.SentencePieceTrainer.train(
            sentence_iterator=texts, model_writer=model, model_type="bpe", vocab_size=vocab_size,
            byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=False,
            remove_extra_whitespaces=False, max_sentence_length=1 << 20, num_threads=1,
            minloglevel=2, **named)
    except (RuntimeError, OSError) as fault:
        raise CorpusError(f"a vocabulary of {vocab_size} cannot be learnt from this corpus "
                          f"({fault}). Lower tokenizer.vocab_size or use more text.") from fault
    return model.getvalue()


def train(texts: Iterator[str], vocab_size: int, eod: int) -> str:
    """`train_sentencepiece`, as the text of a tokenizer.json."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / MODEL
        path.write_bytes(train_sentencepiece(texts, vocab_size, eod))
        return convert(path)


def convert(path: Path) -> str:
    """The tokenizer.json of a SentencePiece BPE model that normalises nothing.

    SentencePiece merges the adjacent pair whose result has the best score; so the merges are all
    pairs in the order of what they make.
    """
    package = require("tokenizers", "tokenizers")
    trained, found = load_tokenizer(path), read_merges(path)
    pieces = trained.pieces
    merges = [(pieces[left], pieces[right])
              for left, right in zip(found.left.tolist(), found.right.tolist(), strict=True)]
    model = package.models.BPE(vocab={piece: token for token, piece in enumerate(pieces)},
                               merges=merges, fuse_unk=True, byte_fallback=True,
                               unk_token="<unk>")  # noqa: S106 - a piece, no password
    tokenizer = package.Tokenizer(model)
    tokenizer.normalizer = package.normalizers.Replace(" ", "▁")
    tokenizer.decoder = package.decoders.Sequence([
        package.decoders.Replace("▁", " "), package.decoders.ByteFallback(),
        package.decoders.Fuse()])
    tokenizer.add_special_tokens([package.AddedToken(name, special=True, normalized=False)
                                  for name in _SPECIAL])
    return str(tokenizer.to_str(pretty=True))


def _describe(tokenizer: Tokenizer, eod: int) -> dict[str, Any]:
    """What transformers needs to load a bare tokenizer.json; no token is added around a text."""
    about: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast",
                             "clean_up_tokenization_spaces": False, "add_bos_token": False,
                             "eos_token": tokenizer.id_to_piece(eod)}
    for name in ("pad", "bos", "unk"):
        if (token := tokenizer.piece_to_id(f"<{name}>")) is not None and token in tokenizer.atoms:
            about[f"{name}_token"] = f"<{name}>"
    return about


def _main(argv: Sequence[str] | None) -> None:
    parser = Parser(prog="corpus.tokenizer", description="Train, copy or fetch the tokenizer.")
    parser.add_argument("--config", type=Path, required=True, help="the job's configuration")
    parser.add_argument("--source", help="train, a path, or a name on the Hugging Face hub")
    flags = parser.parse_args(argv)
    config = Config.load(flags.config)
    request = request_of(config, flags.source or "")
    record = prepare_once(request)
    print(f"{request.directory / record['file']}: {record['vocab_size']} entries, documents end "
          f"with {record['eod']} {record['eod_piece']}")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
