"""YAML in and out: safe, with duplicate keys refused, and every write atomic."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ledger.names import nearest as nearest  # a name that is not there, told alike everywhere
from pipeline.errors import ConfigError, StateError

STALE_S = 3600  # after that a temporary file is nobody's; clocks may differ by minutes
MAX_BYTES = 4_000_000  # a study or manifest is a few KB; anything near this is a mistake
MAX_DEPTH = 40
MAX_NODES = 200_000  # a few lines of aliases can stand for billions of nodes
MAX_INT = 2**63 - 1  # what programs in other languages read too; far more has no decimal text

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Loader(_Base):  # type: ignore[misc]
    """The safe loader, reading `1e-4` as a number, refusing a key given twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a word", key_node.start_mark
                )
            key_node.tag = "tag:yaml.org,2002:str"  # `1`, `true`, `1e3`: a key is the text typed
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value!r} stands here twice", key_node.start_mark
                )
            seen.add(key_node.value)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


class _Dumper(_BaseDumper):  # type: ignore[misc]
    """The safe dumper, quoting the text "1e-4", which `_Loader` would read as a number."""


# YAML 1.1, which PyYAML reads, wants a dot in a float: 1e-4 would be the text "1e-4".
for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
        list("-+0123456789"),
    )
# Dates, and sexagesimals such as 48:00:00 (172800), stay the text that was typed.
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in rules
        if tag not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge")
    ]
    for first, rules in _Loader.yaml_implicit_resolvers.items()
}
_SEXAGESIMAL = re.compile(r"^[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?$")


def _construct_number(loader: Any, node: Any) -> Any:
    if _SEXAGESIMAL.match(node.value):
        return node.value
    if node.tag.endswith("int"):
        number = loader.construct_yaml_int(node)
        if abs(number) > MAX_INT:
            raise yaml.constructor.ConstructorError(
                None, None, f"the number is beyond {MAX_INT}", node.start_mark
            )
        return number
    return loader.construct_yaml_float(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_number)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_number)
# Mappings, lists, text, numbers, true/false and null are all there is: no sets, bytes, dates.
for _kind in ("binary", "timestamp", "omap", "pairs", "set"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Base.construct_undefined)


def _measure(value: Any, where: str, depth: int, budget: list[int]) -> None:
    budget[0] -= 1
    if depth > MAX_DEPTH or budget[0] < 0:
        raise ConfigError(
            [f"{where}: nested deeper than {MAX_DEPTH} or larger than {MAX_NODES} values. "
             "Remove the aliases that multiply it"]
        )  # fmt: skip
    children: Iterable[Any] = ()
    if isinstance(value, str) and "\0" in value:
        raise ConfigError([f"{where}: a text holds a NUL character. Remove it"])
    if isinstance(value, dict):
        children = [*value, *value.values()]
    elif isinstance(value, list):
        children = value
    for child in children:
        _measure(child, where, depth + 1, budget)


def parse(text: str, where: str) -> Any:
    """The value of a YAML text. Raises ConfigError that names `where`, line and column."""
    try:
        if len(text) > 10_000:  # deep enough to overrun the stack of the parser, which is C
            _check_depth(text, where)
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        conflict = " It holds a merge-conflict marker." if _conflicted(text) else ""
        raise ConfigError([f"{place}: not valid YAML: {error.problem}.{conflict}"]) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError([f"{where}: not valid YAML: {str(error).splitlines()[0]}"]) from None
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        # What PyYAML does with `!!bool maybe`.
        problem = f"{where}: not valid YAML: a value does not fit its tag ({error})"
        raise ConfigError([problem]) from None
    _measure(value, where, 0, [MAX_NODES])
    return value


def _check_depth(text: str, where: str) -> None:
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ConfigError([f"{where}: nested deeper than {MAX_DEPTH}. Flatten it"])
        if count > 2 * MAX_NODES + 10:  # a collection is two events
            raise ConfigError([f"{where}: larger than {MAX_NODES} values. Is it the right file?"])


def _conflicted(text: str) -> bool:
    return any(line.startswith(("<<<<<<< ", ">>>>>>> ")) for line in text.splitlines())


def load(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError for anything else."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError([f"{path}: larger than {MAX_BYTES} bytes. Is it the right file?"])
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigError([f"{path}: there is no such file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read: {error}"]) from None
    value = parse(text, str(path))
    if not isinstance(value, dict):
        raise ConfigError([f"{path}: holds {type(value).__name__}, not a mapping of keys"])
    return value


def dump(value: Any) -> str:
    """YAML text with keys in their own order; strings that need quotes get them."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100,
        default_flow_style=None,
    )  # fmt: skip
    return text


def quoted(text: str) -> str:
    """Text as a YAML scalar in quotes, on one line, whatever is in it."""
    import json  # only new sites and studies need it

    # JSON leaves characters as they are that YAML does not read, U+007F say.
    return "".join(
        c if c.isprintable() else f"\\U{ord(c):08x}" for c in json.dumps(text, ensure_ascii=False)
    )


def write_atomic(path: Path, data: str | bytes, mode: int = 0o644) -> None:
    """Replaces a file whole or not at all: temporary file beside it, sync, rename, sync.

    Raises StateError when the disk is full or the directory cannot be written.
    """
    raw = data.encode() if isinstance(data, str) else data
    temporary = ""
    try:
        make_directory(path.parent)
        _sweep(path)
        import tempfile  # brings compression and more: nothing that `status` needs

        handle, temporary = tempfile.mkstemp(".tmp", f".{path.name}.", path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.rename(temporary, path)
        _sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise StateError(
            f"{path}: cannot be written: {error.strerror}. "
            "What it held before is untouched; free space or fix its permissions and run this again"
        ) from None


def make_directory(path: Path) -> None:
    """Like `mkdir -p`, and on the disk: a file is no safer than the folder's own name."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    _sync_directory(path.parent)


def _sweep(path: Path) -> None:
    """Removes what killed commands left of earlier writes; a write takes no hour."""
    for entry in os.scandir(path.parent):
        if entry.name.startswith(f".{path.name}.") and entry.name.endswith(".tmp"):
            with contextlib.suppress(OSError):  # another command's, which just ended
                if time.time() - entry.stat().st_mtime > STALE_S:
                    os.unlink(entry.path)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # of file systems on which a folder needs no sync
            raise
    finally:
        os.close(handle)


def merge(base: Mapping[str, Any], *overlays: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with each overlay laid over it: mappings merge key by key, all else is replaced."""
    result = dict(base)
    for overlay in overlays:
        for key, value in overlay.items():
            old = result.get(key)
            both = isinstance(old, Mapping) and isinstance(value, Mapping)
            result[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return result


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` -> `{"a.b": 1}`; an empty mapping stays a leaf."""
    leaves: dict[str, Any] = {}
    for key, child in value.items():
        path = f"{prefix}{key}"
        if isinstance(child, Mapping) and child:
            leaves.update(flatten(child, f"{path}."))
        else:
            leaves[path] = child
    return leaves
