"""Which of NeMo's checkpoints to go on from. NeMo 2.5 itself looks only at the one whose name ends
in `-last`, refuses to start when that one was cut short, and does not see a truncated file."""

from __future__ import annotations

from pathlib import Path

from training.metrics import warn


def newest_whole(root: Path) -> Path | None:
    """The newest checkpoint in `root` that is whole; None when there is none.

    Names are step_00000999 or step_00000999-last, after the number of the last batch.
    """
    found = (path for path in root.glob("step_*") if path.is_dir())
    return next((path for path in sorted(found, reverse=True) if not fault(path)), None)


def fault(path: Path) -> str:
    """Why a checkpoint cannot be gone on from; empty when it is whole.

    NeMo keeps a file `<name>-unfinished` beside one that it is writing. The index in
    weights/.metadata says how long each data file must be.
    """
    weights = path / "weights"
    if Path(f"{path}-unfinished").exists():
        return "it was being written"
    for name in ("weights/metadata.json", "weights/common.pt", "weights/.metadata", "context"):
        if not (path / name).exists():
            return f"{name} is missing"
    for name, length in lengths(weights).items():
        size = (weights / name).stat().st_size if (weights / name).is_file() else 0
        if size < length:
            return f"{name} has {size} bytes of {length}"
    return ""


def lengths(weights: Path) -> dict[str, int]:
    """The least bytes that each data file of a checkpoint must have, from its index."""
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    needed: dict[str, int] = {}
    for place in (FileSystemReader(weights).read_metadata().storage_data or {}).values():
        end = place.offset + place.length
        needed[place.relative_path] = max(needed.get(place.relative_path, 0), end)
    return needed


def set_aside(root: Path) -> None:
    """Move checkpoints that are not whole out of NeMo's sight, to `<root>.broken/`, and say so."""
    for path in sorted(path for path in root.glob("step_*") if path.is_dir()):
        reason = fault(path)
        if not reason:
            continue
        target = root.with_name(f"{root.name}.broken") / path.name
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{path.name}.{number}")
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
        Path(f"{path}-unfinished").unlink(missing_ok=True)
        warn(f"checkpoint {path} is not whole ({reason}); moved to {target}")
