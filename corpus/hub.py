"""Data sets of the Hugging Face hub: which files they have. `corpus.http` fetches them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, TypeVar

from corpus.errors import CorpusError, require
from corpus.http import Patience, Remote, Trouble, passing, refusal, retry_after, token

T = TypeVar("T")
# SEA-PILE v2 files Filipino under the ISO 639-1 code of Tagalog; the study says "fil" (ISO 639-2).
LANGUAGE_DIRECTORIES = {"fil": "tl"}
SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")


def hub_files(location: str, language: str) -> list[Remote]:
    """The readable files of `hf://owner/name[@revision][:folder]`, sorted by name, at one commit.

    The endpoint is HF_ENDPOINT, the token HF_TOKEN. Raises CorpusError if the hub refuses, cannot
    be reached after several tries, or has no such file.
    """
    hub = require("huggingface_hub", "huggingface_hub")
    entry_kind = require("huggingface_hub.hf_api", "huggingface_hub").RepoFile
    name, _, folder = location.removeprefix("hf://").partition(":")
    dataset, _, revision = name.partition("@")
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    page = f"{endpoint}/datasets/{dataset}"
    # False, for None would let the library read a token from its own file.
    api = hub.HfApi(endpoint=endpoint, token=token() or False)

    def listing() -> tuple[str, list[Any]]:
        commit = api.dataset_info(dataset, revision=revision or None).sha
        return commit, list(api.list_repo_tree(dataset, repo_type="dataset", revision=commit,
                                               recursive=True))

    commit, entries = _persist(location, page, listing)
    files = {entry.path: entry for entry in entries if isinstance(entry, entry_kind)}
    names = select(sorted(files), folder, language)
    if not names:
        folders = sorted({path.partition("/")[0] for path in files if "/" in path})
        raise CorpusError(f"{location} has no {', '.join(SUFFIXES)} file for "
                          f"{folder or language or 'any language'!r}; its folders are "
                          f"{', '.join(folders) or 'none'}. Name one: hf://{name}:FOLDER")
    return [Remote(
        hub.hf_hub_url(dataset, path, repo_type="dataset", revision=commit, endpoint=endpoint),
        path, files[path].size, files[path].lfs.sha256 if files[path].lfs else None, page,
    ) for path in names]


def select(names: list[str], folder: str, language: str) -> list[str]:
    """Those of a data set's files under `folder`, or else under the language's folder."""
    readable = [name for name in names if name.endswith(SUFFIXES)]
    if folder:
        return [name for name in readable if name.startswith(folder.strip("/") + "/")]
    if not language:
        return readable
    codes = {language, LANGUAGE_DIRECTORIES.get(language, language)}
    return [name for name in readable if codes & set(PurePosixPath(name).parts[:-1])]


def _persist(location: str, page: str, ask: Callable[[], T]) -> T:
    """`ask()`, again as long as the hub's failure may pass."""
    utils, patience = require("huggingface_hub.utils", "huggingface_hub"), Patience(location)
    while True:
        try:
            return ask()
        except (utils.HFValidationError, utils.OfflineModeIsEnabled) as fault:
            raise CorpusError(f"{location} cannot be asked for ({fault}). Correct corpus.source, "
                              "or unset HF_HUB_OFFLINE.") from fault
        except Exception as fault:  # the hub's own, its HTTP client's and the system's errors
            patience.wait(_trouble(location, page, fault))


def _trouble(location: str, page: str, fault: Exception) -> Trouble:
    answer = getattr(fault, "response", None)
    if answer is None:
        return Trouble(f"the hub cannot be reached ({type(fault).__name__}: {fault})")
    if not passing(answer.status_code):
        reason = answer.headers.get("X-Error-Message") or type(fault).__name__
        raise refusal(location, answer.status_code, f"({reason})", page) from fault
    return Trouble(f"the server answers {answer.status_code}", retry_after(answer.headers))
