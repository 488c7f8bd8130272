"""Study x site -> jobs, with everything resolved. Pure: reads nothing, writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pipeline import chain, curriculum, limits, validate
from pipeline.errors import ConfigError
from pipeline.interpolate import Resolver, references
from pipeline.job import Chain, Input, Job, Resources, Runtime, Upstream, host_path
from pipeline.kinds import KINDS
from pipeline.sections import SECTIONS, Batch, CurriculumStage, Section, Train
from pipeline.site import Environment, Site
from pipeline.study import Hours, Loaded, ResourceSpec, Stage
from pipeline.yamlio import merge, nearest

MAX_TASKS = 100_000  # of a job; more than schedulers take, few enough to keep each one's state


class Plan(msgspec.Struct, frozen=True):
    """The jobs of a study on a site, every job after those it needs."""

    study: Loaded
    site: Site
    jobs: tuple[Job, ...]

    @property
    def state_dir(self) -> str:
        """The run's folder for state, relative to the project."""
        return self.study.directory("state")

    def job(self, name: str) -> Job:
        """A job by its name, or by its script's. Raises ConfigError with the valid names."""
        for job in self.jobs:
            if name in (job.name, job.script, job.script.rsplit("/", 1)[-1]):
                return job
        names = [job.name for job in self.jobs]
        raise ConfigError([f"no job is called {name!r}; {nearest(name, names)}"])

    def select(self, stages: Sequence[str], arms: Sequence[str] = ()) -> list[Job]:
        """The jobs of some stages (none: all) and arms (none: all), in the plan's order."""
        known = self.study.stages
        for stage in stages:
            if stage not in known and stage != "all":
                raise ConfigError([f"no stage is called {stage!r}; {nearest(stage, known)}"])
        wanted = {self.study.arm_id(arm) for arm in arms}
        jobs = [
            job
            for job in self.jobs
            if (not stages or "all" in stages or job.stage in stages)
            and (not wanted or job.arm in wanted)
        ]
        if not jobs:
            raise ConfigError([f"stage {', '.join(stages)} has no arms. Leave --variant away"])
        return jobs


def make(study: Loaded, site: Site) -> Plan:
    """All jobs of a study on a site. Raises ConfigError with every problem of both."""
    problems: list[str] = []
    built: dict[str, Job] = {}
    jobs: list[Job] = []
    used: set[str] = set()
    for stage_name in _ordered(study.stages):
        stage = study.stages[stage_name]
        for arm in study.stage_arms(stage):
            builder = _Builder(study, site, stage_name, stage, arm, problems)
            job = builder.build(built)
            used |= builder.resolver.used
            if job:
                built[job.name] = job
                jobs.append(job)
    _check_sections(study, used, problems)
    _check_scripts(jobs, problems)
    validate.finish(problems, str(study.path))
    return Plan(study, site, tuple(jobs))


def overview(study: Loaded, site: Site) -> dict[str, Any]:
    """The configuration of a job that would look at all arms from the site's login node; a study
    without arms is one run, by its own name."""
    own = msgspec.structs.replace(site, environments={"light": Environment()})
    builder = _Builder(study, own, "report", Stage(kind="command"), "", [])
    builder.gate, builder.expectations = [], builder.expected()
    parameters = builder.resolver.value(study.parameters(""), "parameters")
    config = builder._config("report", parameters, 1, Resources(1, 0, 1, 0, 0))
    if not study.arms:
        config["arms"] = {study.name: builder._whole(parameters)}
    return config


def _ordered(stages: Mapping[str, Stage]) -> list[str]:
    """The study's own order, but for stages that stand before one they need."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name not in order:
            for need, _ in stages[name].needed():
                visit(need)
            order.append(name)

    for name in stages:
        visit(name)
    return order


def _check_sections(study: Loaded, used: set[str], problems: list[str]) -> None:
    read = used | {s for stage in study.stages.values() for s in stage.reads}
    for stage in study.stages.values():
        read |= {*KINDS[stage.kind].sections, *KINDS[stage.kind].optional}
    arms = ("", *study.arms)
    for section in dict.fromkeys(key for arm in arms for key in study.parameters(arm)):
        if section not in read and section != "seed":
            problems.append(
                f"parameters.{section}: no stage reads it; {nearest(section, read)}. "
                "A command stage names what it reads under `reads`"
            )


def _check_scripts(jobs: Sequence[Job], problems: list[str]) -> None:
    owner: dict[str, Job] = {}
    named: dict[str, Job] = {}
    for job in jobs:
        other = owner.setdefault(job.script, job)
        twin = named.setdefault(job.name, job)
        if twin is not job:
            problems.append(
                f"stages.{job.stage}: stages {twin.stage!r} and {job.stage!r} both have a job "
                f"{job.name!r}. Rename a stage or an arm"
            )
        elif other is not job:
            problems.append(
                f"stages.{job.stage}.script: {job.name} and {other.name} would both be "
                f"{job.script}. Put ${{arm}} or ${{run}} into it"
            )
        if job.script.startswith("/") or ".." in job.script.split("/"):
            problems.append(f"stages.{job.stage}.script: {job.script!r} leaves the project")


class _Builder:
    """Makes one job; what is wrong goes to the list that all builders share."""

    def __init__(
        self, study: Loaded, site: Site, name: str, stage: Stage, arm: str, problems: list[str]
    ) -> None:
        self.study, self.site, self.stage, self.arm = study, site, stage, arm
        self.stage_name, self.problems = name, problems
        self.kind = KINDS[stage.kind]
        self.environment = self._environment()
        self.resolver = Resolver(study.parameters(arm), self._names())

    def build(self, built: Mapping[str, Job]) -> Job | None:
        study, stage, arm = self.study, self.stage, self.arm
        where = f"stages.{self.stage_name}"
        before = len(self.problems)
        parameters = self.resolver.value(study.parameters(arm), "parameters")
        tasks = self._tasks(where)
        resources = self._resources(where)
        sections = self._sections(parameters)
        reads = (*self.kind.optional, *stage.reads)
        rows = curriculum.rows_of(parameters, self.problems) if curriculum.KEY in reads else []
        argv = self.resolver.value(list(stage.run or self.kind.argv), f"{where}.run")
        inputs = self._inputs(f"{where}.inputs")
        disk = self._disk(f"{where}.disk")
        outputs = self.resolver.value(list(stage.outputs), f"{where}.outputs")
        self.gate = self.resolver.value(list(stage.gate), f"{where}.gate")
        self.expectations = self.expected()
        script = self.resolver.value(stage.script or f"scripts/{self._job_name(arm)}", where)
        self.problems += self.resolver.problems
        if len(self.problems) > before or resources is None:
            return None
        resources = self._cut(resources, where)
        self._check_batch(sections, rows, resources, where)
        request = limits.Request(where, stage, self._queue(resources), resources, tasks)
        self.problems += limits.problems(self.site, request)
        if len(self.problems) > before:
            return None
        job = self._job(parameters, tasks, resources, argv, outputs, script, built)
        trains = stage.kind == "train" or {"optimizer", "batch"} <= set(stage.reads)
        return msgspec.structs.replace(job, inputs=inputs, disk=disk, trains=trains)

    def _job(
        self, parameters: dict[str, Any], tasks: int, resources: Resources,
        argv: list[Any], outputs: list[Any], script: str, built: Mapping[str, Job],
    ) -> Job:  # fmt: skip
        study, site, name = self.study, self.site, self._job_name(self.arm)
        state_dir = study.directory("state")
        config_path = f"{state_dir}/configs/{name}.yaml"
        launch = self.kind.launcher if resources.gpus * resources.nodes > 1 else ""
        return Job(
            name=name,
            stage=self.stage_name,
            kind=self.stage.kind,
            arm=self.arm,
            tasks=tasks,
            array=tasks > 1,
            upstream=self._upstream(built),
            script=f"{state_dir}/{script}",
            config_path=config_path,
            config=self._config(name, parameters, tasks, resources),
            argv=tuple(self._word(word, config_path) for word in argv),
            resources=resources,
            runtime=Runtime(
                python=self.environment.python,
                activate=self.environment.activate,
                container=self.environment.container,
                image=self.environment.image,
            ),
            outputs=tuple(str(output) for output in outputs),
            hours=self._hours(),
            state_dir=state_dir,
            log_dir=f"{self._host_logs()}/jobs/{name}",
            scheduler=site.scheduler,
            queue=self._queue(resources),
            account=site.account,
            throttle=(self.stage.array.throttle if self.stage.array else 0) or site.throttle,
            project_dir=site.project_dir,
            site_log_dir=self._host_logs(),
            network_interface=site.network_interface,
            env_file=site.env_file,
            directives=site.directives,
            launcher=launch,
            chain=self.chain,
            host=site.host,
            name_length=site.name_length,
            gate_wait=self._gate_wait(),
        )

    def _gate_wait(self) -> int:
        """Seconds that a gate looks for receipts; closed, it holds its node so long."""
        if self.site.scheduler == "local":
            return 1  # what wrote them is this machine, so they are there at once
        return min(60, self.site.receipt_grace)

    def _job_name(self, arm: str) -> str:
        return f"{self.stage_name}_{arm}" if arm else self.stage_name

    def _word(self, word: object, config_path: str) -> str:
        text = str(word).replace("{config}", config_path)
        return self.environment.python if text == "python" else text

    def _inputs(self, where: str) -> tuple[Input, ...]:
        """What the user brings; of a value that is a list, each of its paths."""
        found = []
        for raw in self.stage.inputs:
            value = self.resolver.value(raw, where)
            names = [name for name in references(raw) if name not in self.resolver._names]
            for path in value if isinstance(value, list) else [value]:
                if not isinstance(path, str):
                    self.problems.append(f"{where}: {raw!r} is {path!r}, which is no path")
                    continue
                found.append(Input(path, where, names[0] if names else ""))
        return tuple(found)

    def _disk(self, where: str) -> dict[str, int]:
        """What the study says that the job leaves on disk."""
        found = {}
        for name, raw in self.stage.disk.items():
            try:
                found[name] = validate.parse_size(self.resolver.value(raw, f"{where}.{name}"))
            except ValueError as error:
                self.problems.append(f"{where}.{name}: {error}")
        return found

    def _names(self) -> dict[str, Any]:
        """What `${...}` may name beside the parameters."""
        inside = bool(self.environment.container)
        return {
            "study": self.study.name,
            "arm": self.arm,
            "run": self.study.run_of(self.arm),
            "stage": self.stage_name,
            "task": "{task4}",
            "state": self.study.directory("state"),
            "data": self.study.directory("data"),
            "results": self.study.directory("results"),
            "project": "/workspace" if inside else ".",
            "logs": "/logs" if inside else self._host_logs(),
        }

    def _host_logs(self) -> str:
        """Logs and checkpoints: the site's folder, or one in the run's state; a folder of its
        own for every run but the one whose study names its state_dir itself."""
        study, site = self.study, self.site
        if not site.log_dir:
            return f"{study.directory('state')}/logs"
        plain = study.document.state_dir and not study.profiles
        return site.log_dir.rstrip("/") + ("" if plain else f"/{study.run_name}")

    def _environment(self) -> Environment:
        env = self.stage.env or self.kind.env
        found = self.site.environments.get(env)  # type: ignore[call-overload]
        if found is None:
            self.problems.append(
                f"stages.{self.stage_name}: needs the environment {env!r}, which site "
                f"{self.site.site!r} does not have; {nearest(env, self.site.environments)}. "
                f"Add environments.{env} to the site file"
            )
            return Environment()
        return found  # type: ignore[no-any-return]

    def _tasks(self, where: str) -> int:
        if self.stage.array is None:
            return 1
        count = self.resolver.value(self.stage.array.count, f"{where}.array.count")
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            self.problems.append(
                f"{where}.array.count: {count!r} is no number of tasks. Give 1 or more"
            )
            return 1
        if count > MAX_TASKS:
            self.problems.append(
                f"{where}.array.count: {count} tasks are too many; a job has at most {MAX_TASKS}. "
                "Let a task do more"
            )
            return 1
        return count

    def _resources(self, where: str) -> Resources | None:
        overlay, stage = self.study.overlay, self.stage_name
        layers: list[Mapping[str, Any]] = [
            _given(self.site.defaults),
            self.study.document.resources,
            self.study.document.stages[stage].get("resources", {}),
            overlay.get("resources", {}),
            overlay.get("stages", {}).get(stage, {}).get("resources", {}),
        ]
        spec = merge({"nodes": 1}, *layers)
        self.queue = str(spec.get("queue") or "")
        missing = [k for k in ("gpus", "cpus", "mem", "walltime") if spec.get(k) is None]
        for key in missing:
            self.problems.append(
                f"{where}.resources.{key}: neither the study nor site {self.site.site!r} says. "
                f"Add defaults.{key} to the site file"
            )
        if missing:
            return None
        return Resources(
            nodes=spec["nodes"],
            gpus=spec["gpus"],
            cpus=spec["cpus"],
            mem_bytes=validate.parse_size(spec["mem"]),
            walltime_s=validate.parse_walltime(spec["walltime"]),
        )

    def _cut(self, resources: Resources, where: str) -> Resources:
        """What one link asks for where the stage is a chain; its walltime is that of all links."""
        self.chain: Chain | None = None
        if not self.stage.chain:
            return resources
        queue = self.site.queues.get(self._queue(resources))
        most = queue.max_walltime if queue else None
        link_s, self.chain = chain.cut(
            self.stage.chain,
            resources.walltime_s,
            None if most is None else validate.parse_walltime(most),
            where,
            self.problems,
        )
        return msgspec.structs.replace(resources, walltime_s=link_s)

    def _sections(self, parameters: Mapping[str, Any]) -> dict[str, Section]:
        built: dict[str, Section] = {}
        for name in self.kind.sections:
            path = f"parameters.{name}"
            if name not in parameters:
                self.problems.append(f"{path}: missing. Stage {self.stage_name!r} reads it")
                continue
            section = validate.build(SECTIONS[name], parameters[name], path, self.problems)
            if section is not None:
                built[name] = section
        return built

    def _check_batch(
        self,
        sections: Mapping[str, Section],
        rows: list[CurriculumStage],
        resources: Resources,
        where: str,
    ) -> None:
        batch, train = sections.get("batch"), sections.get("train")
        ranks = max(1, resources.gpus * resources.nodes)
        curriculum.check(rows, sections, ranks, self.problems)
        if not isinstance(batch, Batch) or not isinstance(train, Train):
            return
        if train.backend == "nemo" and resources.gpus == 0:
            self.problems.append(
                f"{where}: the NeMo back end needs GPUs and site {self.site.site!r} gives none. "
                "Use `--profile demo` here, or a cluster with --site"
            )
        if not rows and batch.global_size % (batch.micro * ranks):
            self.problems.append(
                f"parameters.batch.global: {batch.global_size} is not divisible by micro x GPUs = "
                f"{batch.micro} x {ranks}. Change batch.micro or {where}.resources.gpus"
            )

    def _queue(self, resources: Resources) -> str:
        if (
            resources.gpus == 0
            and self.site.cpu_queue
            and self.queue == (self.site.defaults.queue or "")
        ):
            return self.site.cpu_queue
        return self.queue

    def _upstream(self, built: Mapping[str, Job]) -> tuple[Upstream, ...]:
        """Of a stage that has this job's arm, the job of that arm; of others, all their jobs;
        of `stage:arm`, that one."""
        jobs: dict[str, None] = {}
        for need, named in self.stage.needed():
            arms = self.study.stage_arms(self.study.stages[need])
            chosen = (named,) if named else (self.arm,) if self.arm in arms else arms
            jobs |= dict.fromkeys(f"{need}_{arm}" if arm else need for arm in chosen)
        return tuple(_upstream_of(built[job]) for job in jobs if job in built)

    def _hours(self) -> tuple[float, float]:
        hours = self.stage.hours
        if isinstance(hours, dict):
            hours = hours.get(self.arm, 0.0)
        return (0.0, 0.0) if hours is None else _pair(hours)

    def _config(
        self, name: str, parameters: dict[str, Any], tasks: int, resources: Resources
    ) -> dict[str, Any]:
        """What the payload reads: docs/payloads.md."""
        study, names = self.study, self.resolver._names
        return {
            "job": {
                "name": name, "study": study.name, "stage": self.stage_name,
                "kind": self.stage.kind, "arm": self.arm, "run": study.run_of(self.arm),
                "profiles": list(study.profiles), "tasks": tasks,
                **({"revision": study.revision} if study.revision else {}),
            },
            "paths": {k: names[k] for k in ("project", "data", "results", "logs", "state")},
            "resources": msgspec.to_builtins(resources),
            "parameters": parameters,
            # Only what compares arms is told of all of them.
            "arms": {} if self.arm else {arm: self._arm(arm) for arm in study.arms},
            "expectations": self.expectations,
            **({} if self.arm else {"report": self._report()}),
            **({"gate": self.gate} if self.gate else {}),  # what ledger/gate.py checks
        }  # fmt: skip

    def expected(self) -> Any:
        """The study's expectations, as this job's arm sees them."""
        return self.resolver.value(list(self.study.document.expectations), "expectations")

    def _report(self) -> dict[str, Any]:
        """What a report says of the study itself, and what the study asks of it."""
        document = self.study.document
        told = {"title": document.title, "question": document.question}
        asked = {k: v for k, v in msgspec.to_builtins(document.report).items() if v}
        return {**told, "stages": list(self.study.stages), **asked}

    def _arm(self, arm: str) -> dict[str, Any]:
        study = self.study
        names = {**self._names(), "arm": arm, "run": study.run_of(arm), "task": "*"}
        resolver = Resolver(study.parameters(arm), names)
        return {
            "run": study.run_of(arm),
            "title": study.arms[arm].title,
            "parameters": resolver.value(study.parameters(arm), f"arms.{arm}.parameters"),
            "outputs": self._outputs(arm, resolver),
        }

    def _whole(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """A study without arms in the form of one."""
        study = self.study
        resolver = Resolver(study.parameters(""), {**self._names(), "task": "*"})
        title, outputs = study.document.title, self._outputs("", resolver)
        return {"run": study.name, "title": title, "parameters": parameters, "outputs": outputs}

    def _outputs(self, arm: str, resolver: Resolver) -> list[str]:
        """What the jobs of an arm, or those of no arm, write."""
        study = self.study
        stages = [stage for stage in study.stages.values() if arm in study.stage_arms(stage)]
        outputs = [output for stage in stages for output in stage.outputs]
        return [str(output) for output in resolver.value(outputs, f"arms.{arm}.outputs")]


def _upstream_of(job: Job) -> Upstream:
    return Upstream(job.name, job.tasks, tuple(host_path(job, path) for path in job.outputs))


def _given(spec: ResourceSpec) -> dict[str, Any]:
    return {k: v for k, v in msgspec.structs.asdict(spec).items() if v is not None}


def _pair(hours: Hours) -> tuple[float, float]:
    return (hours, hours) if isinstance(hours, float | int) else (hours[0], hours[1])
