"""A site file from answers, where no cluster is asked: every key with what it is for."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pipeline.probe.write import TITLES, comment, line


class SiteAnswers(msgspec.Struct, frozen=True):
    """What the interview asks. Sizes and times are as they were typed; empty is unknown."""

    scheduler: str = "local"
    project_dir: str = ""
    log_dir: str = ""
    account: str = ""
    queue: str = ""
    cpu_queue: str = ""
    nodes: int = 1  # the most that a job may have
    gpus: int = 0  # of a node, as the other three
    cpus: int = 1
    mem: str = "4GB"
    walltime: str = "24:00:00"  # the longest in `queue`
    gpu: str = ""  # its name, with its memory: a100-40, 40GiB
    gpu_memory: str = ""
    python: str = "python3"
    container: str = ""  # of NeMo, with its image
    image: str = ""


def site_file(name: str, answers: SiteAnswers) -> str:
    """The file's text; it loads as it is."""
    parts = [_head(name, answers), _paths(answers), _jobs(answers), _defaults(answers)]
    if answers.scheduler != "local":
        parts.append(_queues(answers))
    parts.append(_environments(answers))
    return "\n".join("\n".join(part) + "\n" for part in parts)


def _head(name: str, answers: SiteAnswers) -> Iterator[str]:
    title = TITLES[answers.scheduler]
    yield from comment(
        f"{title[0].upper()}{title[1:]}, written by `pipeline new site` from answers: nobody was "
        "asked. Change what is not right; docs/sites.md explains every key. With a host, "
        f"`pipeline sites add {name} --host HOST` asks the cluster itself."
    )
    yield from line("site", name, "for --site and PIPELINE_SITE")
    yield from line("scheduler", answers.scheduler, "pbs, torque, slurm or local")
    if answers.scheduler == "local":
        yield from comment("max_cpus, max_gpus, max_mem: the machine is asked each time")
    else:
        yield from comment("host: login.cluster  # for ssh; without it, the scheduler is here")


def _paths(answers: SiteAnswers) -> Iterator[str]:
    yield from line("project_dir", answers.project_dir, "this project, as every node sees it")
    yield from line("log_dir", answers.log_dir, "logs and checkpoints; empty: <state_dir>/logs")
    yield from line("env_file", ".env", "tokens, mode 0600, read on the node")


def _jobs(answers: SiteAnswers) -> Iterator[str]:
    if answers.scheduler != "local":
        yield from line("account", answers.account, "what jobs are charged to; empty: nothing")
        yield from line("cpu_queue", answers.cpu_queue, "of jobs without GPUs; empty: the same")
        yield from comment("max_array: 1000  # tasks that one array may have; more go in several")
        yield from comment("max_jobs: 500  # yours in all queues; each task of an array counts")
    yield from line("throttle", 0, "tasks of one array at a time; 0: no limit")
    yield from line("receipt_grace", 120, "seconds until a node's file shows on the login node")
    yield from line("directives", [], "lines put under the scheduler's directives as they are")
    if answers.gpu and answers.gpu_memory:
        value = {"name": answers.gpu, "memory": answers.gpu_memory}
        yield from line("gpu", value, "one GPU: `plan` tells what fits and how long it takes")
    else:
        yield from comment("gpu: {name: a100-40, memory: 40GiB}  # `plan` then tells what fits")
    yield from comment("charge: {gpu_hour: 1.0}  # `plan` then tells what it costs")


def _defaults(answers: SiteAnswers) -> Iterator[str]:
    yield from comment("What a stage asks for unless its study says otherwise; per node.")
    yield "defaults:"
    yield from line("nodes", 1, "", 1)
    yield from line("gpus", answers.gpus, "", 1)
    yield from line("cpus", answers.cpus, "", 1)
    yield from line("mem", answers.mem, "GB is 10^9 bytes, GiB 2^30", 1)
    yield from line("walltime", answers.walltime, "", 1)
    yield from line("queue", answers.queue, "empty: the scheduler's own choice", 1)


def _queues(answers: SiteAnswers) -> Iterator[str]:
    yield from comment("Limits; a request over one is refused before it is submitted.")
    if not answers.queue:
        yield "queues: {}"
        return
    yield "queues:"
    limits = {
        "max_walltime": answers.walltime, "max_nodes": answers.nodes, "max_gpus": answers.gpus,
        "max_cpus": answers.cpus, "max_mem": answers.mem,
    }  # fmt: skip
    yield from line(answers.queue, limits, "", 1)
    if answers.cpu_queue not in ("", answers.queue):
        yield from line(answers.cpu_queue, {**limits, "max_gpus": 0}, "", 1)


def _environments(answers: SiteAnswers) -> Iterator[str]:
    yield from comment(
        "How programs start: `light` prepares data and makes tables, `hf` trains and evaluates "
        'with transformers, `nemo` trains with NeMo. To load a module: activate: ["module load X"].'
    )
    yield "environments:"
    for name in ("light", "hf", *(["nemo"] if answers.scheduler == "local" else [])):
        yield from line(name, {"python": answers.python}, "", 1)
    if answers.scheduler == "local":
        return
    if answers.container and answers.image:
        value = {"python": "python", "container": answers.container, "image": answers.image}
        yield from line("nemo", value, "", 1)
    else:
        yield from comment("nemo: {python: python, container: enroot, image: nemo_framework}", 1)
