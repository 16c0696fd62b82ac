"""Playing for the record: who is judged, on what, and what is said of it."""

import logging
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import register, registry
from toys import Numbered

from strategy_rl.actors import ExpertActor, RandomActor, RuleActor
from strategy_rl.assembly import make_world
from strategy_rl.card import model_card
from strategy_rl.config import Experiment
from strategy_rl.env import EnvSlots
from strategy_rl.episodes import read_episodes
from strategy_rl.errors import EnvironmentFault, InputError
from strategy_rl.evaluation import Label, play
from strategy_rl.judging import Actors, judge_all, judge_one
from strategy_rl.rollout import EpisodePlan
from strategy_rl.session import Session

RNG = np.random.default_rng(0)


def played(actor, make, plans=None, *, keep_texts=True, num_slots=2):
    slots, label = EnvSlots(make, num_slots), Label("someone", "test", 0)
    return play(actor, slots, plans or [EpisodePlan(0)], label, rng=RNG, keep_texts=keep_texts)


class Told(gymnasium.Env):
    """Two steps; keeps the actions it gets."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, action_space, mask=None, info=None):
        self.action_space, self.info = action_space, {**(info or {})}
        if mask is not None:
            self.info["action_mask"] = mask
        self.seen = []

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(1, np.float32), self.info

    def step(self, action):
        self.steps += 1
        self.seen.append(action)
        return np.zeros(1, np.float32), 0.0, self.steps == 2, False, self.info


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3),
        spaces.MultiDiscrete([2, 3]),
        spaces.Box(-1, 1, (2, 2)),
        spaces.MultiBinary(3),
        spaces.Tuple((spaces.Discrete(2), spaces.Discrete(3))),
    ],
)
def test_a_random_action_reaches_the_environment_as_its_space_has_it(space):
    env = Told(space)
    played(RandomActor(space), lambda: env)
    assert len(env.seen) == 2
    assert all(space.contains(action) and not isinstance(action, list) for action in env.seen)


@pytest.mark.parametrize(
    ("nvec", "right"), [([2, 3], [1, 2]), ([[2, 3], [4, 2]], [[1, 2], [3, 0]])]
)
def test_a_flat_mask_of_several_factors_is_heeded_by_random_actions(nvec, right):
    space = spaces.MultiDiscrete(nvec)
    sizes, chosen = np.ravel(nvec), np.ravel(right)
    mask = np.concatenate([np.arange(n) == c for n, c in zip(sizes, chosen, strict=True)])
    env = Told(space, mask)
    played(RandomActor(space), lambda: env, [EpisodePlan(n) for n in range(5)], num_slots=1)
    assert all((action == right).all() for action in env.seen)
    assert len(env.seen) == 10


def test_nested_actions_of_actor_and_expert_are_kept_flat():
    expert = np.array([[1, 2], [0, 1]])
    space = spaces.MultiDiscrete([[2, 3], [4, 5]])
    (episode,) = played(ExpertActor(), lambda: Told(space, info={"expert_action": expert}))
    assert episode.steps[0].action == episode.steps[0].expert_action == [1, 2, 0, 1]


class Silenced(Told):
    """The expert names no action in the second step."""

    def step(self, action):
        answer = super().step(action)
        return *answer[:-1], {}


class Named(Told):
    """Tells what its actions are called and what its steps wrote."""

    def action_name(self, action):
        return f"setting {action}"


@pytest.mark.parametrize(
    ("space", "action", "named"),
    [
        (spaces.Discrete(3), np.int64(2), (2, "setting 2")),
        (spaces.MultiDiscrete([2, 3]), np.array([1, 2]), ([1, 2], "setting [1, 2]")),
        (spaces.Box(-1, 1, (1,)), np.array([0.5]), ([0.5], "[0.5]")),
    ],
)
def test_actions_have_the_names_that_the_task_gives_them(space, action, named):
    (episode,) = played(RuleActor(lambda obs, rng: action), lambda: Named(space))
    step = episode.steps[0]
    assert (step.action, step.action_name) == named
    assert step.special is False


def test_legal_actions_have_them_too_and_special_ones_keep_their_own():
    class Special(Named):
        special_actions = ("stop",)

    mask = np.array([1, 0, 1], np.int8)
    (episode,) = played(
        RuleActor(lambda obs, rng: 2), lambda: Special(spaces.Discrete(3), mask=mask)
    )
    assert episode.steps[0].legal_names == ["setting 0", "stop"]
    assert (episode.steps[0].action_name, episode.steps[0].special) == ("stop", True)


def test_where_nothing_is_masked_all_of_a_few_actions_have_their_names():
    def names(space, env=Named):
        (episode,) = played(RuleActor(lambda obs, rng: 0), lambda: env(space))
        return episode.steps[0].legal_names

    assert names(spaces.Discrete(3)) == ["setting 0", "setting 1", "setting 2"]
    assert names(spaces.Discrete(1000)) is None
    assert names(spaces.Discrete(3), Told) is None  # the task gives none


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (lambda self, action: 1 / 0, r"action_name\(1\) failed: ZeroDivisionError"),
        (lambda self, action: action, r"action_name\(1\) gave int, expected a text"),
    ],
)
def test_a_name_that_is_none_is_the_environments_fault(name, fault, monkeypatch):
    monkeypatch.setattr(Named, "action_name", name)
    with pytest.raises(EnvironmentFault, match=fault):
        played(RuleActor(lambda obs, rng: 1), lambda: Named(spaces.Discrete(2)))


def test_an_attribute_of_that_name_that_is_no_function_names_nothing():
    class Other(Told):
        action_name = "jump"

    (episode,) = played(RuleActor(lambda obs, rng: 1), lambda: Other(spaces.Discrete(2)))
    assert episode.steps[0].action_name == "1"


@pytest.mark.parametrize(("keep", "kept"), [(True, "once "), (False, None)])
def test_what_a_step_wrote_is_kept_where_texts_are(keep, kept):
    def make():
        return Told(spaces.Discrete(2), info={"text": "once "})

    (episode,) = played(RuleActor(lambda obs, rng: 0), make, keep_texts=keep)
    assert [step.text for step in episode.steps] == [kept, kept]


PLANS = [EpisodePlan(0, 3), EpisodePlan(1, 8)]


def test_an_expert_that_is_missing_is_named_with_row_and_step():
    def make():
        return Silenced(spaces.Discrete(2), info={"expert_action": 1})

    with pytest.raises(EnvironmentFault, match=r"`expert_action`; at row 3, step 2; to replay"):
        played(ExpertActor(), make, PLANS)


def test_a_heuristic_that_fails_is_the_environments_fault_with_its_row():
    calls = []

    def rule(obs, rng):
        calls.append(obs)
        if len(calls) == 4:
            raise KeyError("word")
        return 0

    fault = r"a heuristic failed: KeyError: 'word'; at row 8, step 2; to replay: reset\(seed=1"
    with pytest.raises(EnvironmentFault, match=fault):
        played(RuleActor(rule), lambda: Told(spaces.Discrete(2)), PLANS)


class Scene(Told):
    """Sees a picture, a text and a few numbers."""

    def reset(self, *, seed=None, options=None):
        super().reset()
        seen = {"picture": np.zeros((5, 13)), "words": "hello", "state": np.zeros(64)}
        return seen, {}


@pytest.mark.parametrize(("keep", "kept"), [(True, 3), (False, 1)])
def test_pictures_are_kept_only_where_texts_are(keep, kept):
    actor = RuleActor(lambda obs, rng: 0)
    (episode,) = played(actor, lambda: Scene(spaces.Discrete(2)), keep_texts=keep)
    observation = episode.steps[0].observation
    assert len(observation) == kept
    assert observation["state"] == [0.0] * 64


# A run's last stage.


class Rows(Numbered):
    """Three rows and no splits."""

    num_rows = 3


@pytest.fixture
def experiment():
    register("ToyRows-v0", entry_point=Rows)
    yield Experiment.model_validate({"name": "toy", "task": {"id": "ToyRows-v0"}})
    del registry["ToyRows-v0"]


class Work(SimpleNamespace):
    """A run that notes its progress."""

    def progress(self, done, total, note=""):
        self.shown.append((done, total, note))

    def heed_signals(self):
        pass


def test_progress_counts_everybody_from_the_start(tmp_path, experiment):
    world, work = make_world(experiment), Work(path=tmp_path, shown=[])
    makers = {
        "one": lambda: RandomActor(world.test.action_space),
        "nobody": lambda: None,
        "two": lambda: RuleActor(lambda obs, rng: 1),
    }
    actors = SimpleNamespace(makers=lambda: makers)
    judged = judge_all(work, experiment, world, actors)
    assert work.shown == [(0, 3, "one"), (1, 3, "nobody"), (2, 3, "two"), (3, 3, "")]
    assert list(judged) == ["one", "two"]
    assert [episode.return_ for episode in judged["two"]] == [1.0] * 3


def test_rows_without_splits_are_told_in_the_log_and_in_the_episodes(tmp_path, experiment, caplog):
    with caplog.at_level(logging.WARNING):
        judge_one(tmp_path, experiment, "test", "random", None)
    assert "ToyRows-v0 takes no `split`" in caplog.text
    header, _ = read_episodes(tmp_path / "episodes" / "test-random.jsonl")
    assert header["same_rows"] is True


def test_a_task_with_splits_or_without_rows_is_not_warned_of(caplog):
    for task in ("strategy_rl_envs:strategy_rl/TinyReply-v0", "CartPole-v1"):
        world = make_world(Experiment.model_validate({"name": "toy", "task": {"id": task}}))
        assert not world.same_rows
    assert caplog.text == ""


def test_the_expert_is_offered_only_where_there_is_one(tmp_path, experiment):
    with pytest.raises(InputError, match=r"'expert', expected one of ppo, sft, random$"):
        judge_one(tmp_path, experiment, "test", "expert", None)


class Taught(Rows):
    """Names an expert action in the rows listed; counts how often a row was begun."""

    experts = {0, 1, 2}  # noqa: RUF012  # as rows are attributes of the class
    resets = 0

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed, options=options)
        Taught.resets += 1
        return obs, info | ({"expert_action": 1} if options["row"] in self.experts else {})


@pytest.fixture
def taught(monkeypatch):
    monkeypatch.setattr(Taught, "resets", 0)
    register("ToyTaught-v0", entry_point=Taught)
    yield lambda **sections: Experiment.model_validate(
        {"name": "toy", "task": {"id": "ToyTaught-v0"}, **sections}
    )
    del registry["ToyTaught-v0"]


def judged_by(tmp_path, experiment, *names):
    world, work = make_world(experiment), Work(path=tmp_path, shown=[])
    makers = {"random": lambda: RandomActor(world.test.action_space), "expert": ExpertActor}
    actors = SimpleNamespace(makers=lambda: {name: makers[name] for name in names})
    return judge_all(work, experiment, world, actors)


@pytest.mark.parametrize("names", [("random", "expert"), ("expert",)])
@pytest.mark.parametrize(("experts", "judged"), [({0, 1, 2}, True), ({0, 1}, False)])
def test_the_expert_is_judged_where_it_acts_in_every_row(
    tmp_path, taught, monkeypatch, names, experts, judged
):
    monkeypatch.setattr(Taught, "experts", experts)
    assert ("expert" in judged_by(tmp_path, taught(), *names)) is judged


def test_rows_that_somebody_has_played_are_not_begun_again_to_look_for_the_expert(tmp_path, taught):
    assert list(judged_by(tmp_path, taught(), "random", "expert")) == ["random", "expert"]
    assert Taught.resets == 2 * Rows.num_rows


def test_rows_that_are_not_played_are_asked_for_the_expert_too(tmp_path, taught, monkeypatch):
    fewer = taught(evaluation={"episodes": 2})
    assert list(judged_by(tmp_path, fewer, "random", "expert")) == ["random", "expert"]
    monkeypatch.setattr(Taught, "experts", {0, 1})  # of which both are played
    assert list(judged_by(tmp_path, fewer, "random", "expert")) == ["random"]


@pytest.mark.parametrize(("experts", "kind"), [({0, 1, 2}, ExpertActor), ({0, 1}, RuleActor)])
def test_a_heuristic_called_expert_gives_way_to_an_expert_of_all_rows(
    taught, monkeypatch, experts, kind
):
    monkeypatch.setattr(Taught, "experts", experts)
    monkeypatch.setattr(Taught, "heuristics", {"expert": lambda obs, rng: 0}, raising=False)
    wanted = taught(sft={"epochs": 0}, evaluation={"rivals": ["heuristics", "expert"]})
    makers = Actors(wanted, make_world(wanted), None, {}, None, None).makers()
    assert isinstance(makers["expert"](), kind)


def test_a_rule_is_judged_without_looking_for_the_expert(tmp_path, taught):
    judge_one(tmp_path, taught(), "test", "random", None)
    assert Taught.resets == Rows.num_rows
    assert "mean return" in judge_one(tmp_path, taught(), "test", "expert", None)


def test_a_bar_takes_a_new_total():
    session = Session.__new__(Session)
    session._bar, session._stage = None, "evaluate"
    session.progress(1, 2)
    session.progress(2, 5)
    assert session._bar.total == 5


@pytest.mark.parametrize(
    ("epochs", "iterations", "stage", "said"),
    [
        (1, 1, "ppo", "after SFT and PPO"),
        (1, 0, "ppo", "after SFT"),
        (0, 1, "ppo", "after PPO"),
        (1, 1, "sft", "after SFT"),
        (0, 1, "sft", "untrained"),
    ],
)
def test_a_card_names_what_was_trained(epochs, iterations, stage, said):
    sections = {"sft": {"epochs": epochs}, "ppo": {"iterations": iterations}}
    fields = {"name": "toy", "task": {"id": "T-v0"}, **sections}
    card = model_card(Experiment.model_validate(fields), stage, {})
    assert card.startswith(f"# toy, {said}\n")
