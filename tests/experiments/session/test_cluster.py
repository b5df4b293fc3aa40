"""Job steps of Slurm and submitit: the addresses of their tasks, and which of them a process is."""

import pytest

from experiments.harness.errors import UsageError
from experiments.harness.session import cluster


@pytest.fixture
def step(monkeypatch):
    """Return a function that finds the cluster of a process with some environment."""
    for name in ("TF_CONFIG", "SLURM_STEP_NUM_TASKS", "SUBMITIT_LOCAL_NTASKS"):
        monkeypatch.delenv(name, raising=False)

    def found(number, environment):
        with monkeypatch.context() as patched:
            for name, value in environment.items():
                patched.setenv(name, str(value))
            return cluster.find(number)

    return found


def slurm(nodes, tasks, node, local, **others):
    counts = cluster.task_counts(tasks)
    described = {"STEP_NUM_TASKS": sum(counts), "STEP_NODELIST": nodes, "STEP_TASKS_PER_NODE": tasks}
    described |= {"JOB_ID": 7, "NODEID": node, "LOCALID": local, **others}
    return {f"SLURM_{name}": value for name, value in described.items()}


def addresses(resolver):
    return resolver.cluster_spec().as_dict()["worker"]


@pytest.mark.parametrize(
    ("nodes", "names"),
    [
        ("localhost", ["localhost"]),
        ("n[9-11],login", ["n9", "n10", "n11", "login"]),
        ("n[08-10,7]-ib", ["n08-ib", "n09-ib", "n10-ib", "n7-ib"]),
        ("r[1-2]n[3,5]", ["r1n3", "r1n5", "r2n3", "r2n5"]),
        ("a.b.example,c-1", ["a.b.example", "c-1"]),
    ],
)
def test_lists_of_nodes_are_in_the_order_of_slurm(nodes, names):
    assert cluster.host_names(nodes) == names


def test_tasks_are_counted_for_every_node():
    assert cluster.task_counts("2(x3),1") == [2, 2, 2, 1]
    with pytest.raises(ValueError, match="2x3"):
        cluster.task_counts("2x3")


def test_every_task_has_the_address_of_its_own_node(step):
    """Also where names in the order of the alphabet are not in Slurm's, and whatever ranks tasks have."""
    places = [("n9", 0, 0), ("n9", 0, 1), ("n10", 1, 0)]
    for index, (name, node, local) in enumerate(places):
        found = step(3, slurm("n[9-10]", "2,1", node, local, PROCID=2 - index))
        assert (found.task_type, found.task_id, found.rpc_layer) == ("worker", index, "grpc")
        assert addresses(found)[index].startswith(f"{name}:")
        assert addresses(found) == ["n9:20014", "n9:20015", "n10:20014"]


def test_steps_on_the_same_nodes_have_other_ports(step):
    """Of the next task of an array, and of the next step of a job."""
    used = [
        set(addresses(step(4, slurm("n", "4", 0, 0, JOB_ID=job, STEP_ID=number))))
        for job in (99_998, 99_999, 100_000)
        for number in (0, 1)
    ]
    assert len(set.union(*used)) == 4 * len(used)
    ports = [int(address.partition(":")[2]) for addresses in used for address in addresses]
    assert 20_000 <= min(ports) <= max(ports) < 32_768


def test_tasks_of_submitit_are_workers(step):
    local = {"SUBMITIT_LOCAL_NTASKS": 2, "SUBMITIT_LOCAL_LOCALID": 1, "SUBMITIT_LOCAL_JOB_ID": 4}
    assert addresses(step(2, local)) == ["localhost:20008", "localhost:20009"]
    assert step(2, local).task_id == 1
    assert step(2, {**local, "SUBMITIT_LOCAL_NTASKS": 1}) is None


def test_one_task_starts_its_workers_itself(step):
    assert step(2, slurm("n1", "1", 0, 0)) is None
    assert step(2, {}) is None


def test_what_cannot_be_is_said(step):
    with pytest.raises(UsageError, match=r"training\.workers=2, but Slurm has 3 worker: make both"):
        step(2, slurm("n[1-3]", "1(x3)", 0, 0))
    with pytest.raises(UsageError, match=r"Slurm's environment .*SLURM_LOCALID"):
        step(2, {"SLURM_STEP_NUM_TASKS": 2, **dict(list(slurm("n", "2", 0, 0).items())[1:-1])})
    with pytest.raises(UsageError, match=r"Slurm's environment \(SLURM_STEP_NODELIST, SLURM_STEP_TASKS"):
        step(3, slurm("n[1-2]", "1(x3)", 0, 0))
