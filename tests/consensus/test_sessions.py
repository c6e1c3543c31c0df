"""Lifetimes: nobody acts under a session that was expired, however clocks, messages and leaders behave."""

import random
from dataclasses import dataclass

import pytest

from quorate.consensus.sessions import HolderSession, LeaderSessions
from quorate.consensus.store import SessionInfo

TTL_S = 3.0
DRIFT = 0.1
LIFETIME_S = TTL_S * (1 - DRIFT)
INFO = SessionInfo(7, "a", 1, TTL_S)


def holding(at: float = 100.0) -> HolderSession:
    holder = HolderSession(drift=DRIFT, keepalive_s=0.5)
    assert holder.opened(INFO, at, at)
    return holder


# The holder's side


def test_a_holder_counts_from_the_moment_it_sent_the_open() -> None:
    holder = HolderSession(drift=DRIFT, keepalive_s=0.5)
    assert holder.opened(INFO, 100.0, 101.0)
    assert holder.id == 7
    assert holder.valid_for_s(101.0) == pytest.approx(LIFETIME_S - 1.0)
    assert holder.valid(100.0 + LIFETIME_S - 0.01)
    assert not holder.valid(100.0 + LIFETIME_S)


def test_a_holder_counts_from_the_moment_it_sent_the_keepalive() -> None:
    holder = holding()
    token = holder.sending(101.0)
    assert holder.confirmed(token, 102.5)
    assert holder.valid_until == 101.0 + LIFETIME_S


def test_an_answer_to_an_older_keepalive_never_shortens() -> None:
    holder = holding()
    first, second = holder.sending(100.5), holder.sending(101.0)
    assert holder.confirmed(second, 101.2)
    assert holder.confirmed(first, 101.3)
    assert holder.valid_until == 101.0 + LIFETIME_S


def test_an_answer_that_comes_twice_or_was_never_asked_for_prolongs_nothing() -> None:
    holder = holding()
    token = holder.sending(100.5)
    for _ in range(2):
        holder.confirmed(token, 101.0)
    holder.confirmed(999, 102.0)
    assert holder.valid_until == 100.5 + LIFETIME_S


def test_what_was_seen_to_be_over_never_comes_back() -> None:
    holder = holding()
    token = holder.sending(102.0)
    assert not holder.valid(100.0 + LIFETIME_S)
    assert not holder.confirmed(token, 102.9)
    assert not holder.valid(102.0)  # not even by a clock that goes back
    assert holder.id == 0


def test_an_answer_that_comes_after_the_end_changes_nothing_even_if_nobody_had_looked() -> None:
    holder = holding()
    token = holder.sending(102.0)
    assert not holder.confirmed(token, 100.0 + LIFETIME_S)
    assert holder.id == 0 and not holder.valid(102.0)


def test_who_is_told_that_it_is_gone_stops_at_once() -> None:
    holder = holding()
    token = holder.sending(100.5)
    assert not holder.gone(6)
    assert holder.valid(100.6)
    assert holder.gone(7)
    assert not holder.gone(7)
    assert not holder.confirmed(token, 100.7)
    assert (holder.id, holder.valid(100.7), holder.next_keepalive()) == (0, False, None)


def test_who_wants_to_close_stops_first() -> None:
    holder = holding()
    assert holder.closing() == 7
    assert not holder.valid(100.1)
    assert holder.closing() == 0


def test_an_answer_to_an_open_that_came_too_late_is_not_used() -> None:
    holder = HolderSession(drift=DRIFT, keepalive_s=0.5)
    assert not holder.opened(INFO, 100.0, 100.0 + LIFETIME_S)
    assert holder.id == 0


def test_an_echo_of_an_open_prolongs_nothing_and_revives_nothing() -> None:
    holder = holding()
    assert holder.opened(INFO, 101.0, 101.5)
    assert holder.valid_until == 100.0 + LIFETIME_S
    assert not holder.opened(SessionInfo(9, "a", 1, TTL_S), 101.0, 101.5)  # one at a time
    assert holder.id == 7
    holder.gone(7)
    assert not holder.opened(INFO, 101.0, 101.5)
    assert holder.opened(SessionInfo(9, "a", 1, TTL_S), 101.0, 101.5)
    token = holder.sending(102.0)
    assert holder.confirmed(token, 102.1)
    assert holder.valid_until == 102.0 + LIFETIME_S


def test_a_keepalive_of_the_last_session_prolongs_nothing_of_the_next() -> None:
    holder = holding()
    old = holder.sending(100.5)
    holder.gone(7)
    holder.opened(SessionInfo(9, "a", 1, TTL_S), 100.1, 100.6)
    holder.confirmed(old, 100.7)
    assert holder.valid_until == 100.1 + LIFETIME_S


def test_keepalives_leave_one_after_another_without_waiting_for_answers() -> None:
    holder = holding()
    assert holder.next_keepalive() == 100.5
    holder.sending(100.6)
    assert holder.next_keepalive() == 101.1


def test_keepalives_that_can_prove_nothing_any_more_are_forgotten() -> None:
    holder = holding()
    for number in range(200):
        token = holder.sending(100.0 + number)
        holder.confirmed(token, 100.0 + number)
        holder.sending(100.1 + number)  # never answered
    assert len(holder._in_flight) < 5


# The leader's side


def leading(now: float = 50.0) -> LeaderSessions:
    leader = LeaderSessions()
    leader.became_leader(now, [INFO, SessionInfo(8, "b", 1, 1.0)])
    return leader


def test_a_new_leader_gives_every_session_its_full_time() -> None:
    leader = leading()
    assert leader.deadline() == 51.0
    assert leader.expired(50.99) == ()
    assert leader.expired(51.0) == (8,)
    assert leader.deadline() == 53.0
    assert leader.expired(53.0) == (7,)
    assert leader.deadline() is None


def test_a_confirmed_keepalive_counts_from_when_it_was_received() -> None:
    leader = leading()
    assert leader.touch(8, 50.5)
    assert leader.touch(8, 50.2)  # a round that took longer shortens nothing
    assert leader.expired(51.4) == ()
    assert leader.expired(51.5) == (8,)


def test_once_its_end_is_proposed_a_session_is_refused() -> None:
    leader = leading()
    assert leader.expired(51.0) == (8,)
    assert leader.expiring(8) and not leader.expiring(7)
    assert not leader.touch(8, 50.9)
    assert leader.expired(60.0) == (7,)
    leader.closed([8])
    assert not leader.touch(8, 60.0) and not leader.expiring(8)


def test_an_end_that_did_not_get_into_the_log_is_proposed_again_and_refused_meanwhile() -> None:
    leader = leading()
    leader.expired(51.0)
    leader.not_proposed([8, 99])
    deadline = leader.deadline()
    assert deadline is not None and deadline <= 51.0
    assert not leader.touch(8, 51.0)
    assert leader.expired(51.0) == (8,)
    assert leader.expired(51.0) == ()


def test_a_session_opened_under_this_leader_counts_from_then_and_an_echo_changes_nothing() -> None:
    leader = leading()
    late = SessionInfo(9, "c", 1, 1.0)
    leader.opened(late, 55.0)
    leader.opened(late, 55.5)
    assert leader.expired(55.9) == (7, 8)
    assert leader.expired(56.0) == (9,)


def test_a_session_that_nobody_opened_is_refused() -> None:
    assert not leading().touch(99, 50.0)


def test_who_leads_no_more_refuses_everything_and_ends_nothing() -> None:
    leader = leading()
    leader.deposed()
    assert not leader.touch(7, 50.1)
    assert (leader.expired(1000.0), leader.deadline()) == ((), None)


def test_who_leads_again_begins_anew_also_without_having_noticed_the_time_between() -> None:
    leader = leading()
    leader.expired(51.0)
    leader.became_leader(52.0, [INFO])
    assert not leader.expiring(8) and not leader.touch(8, 52.0)
    assert leader.deadline() == 52.0 + TTL_S
    assert leader.touch(7, 52.5)
    assert leader.expired(52.5 + TTL_S) == (7,)


# Both sides, in a world with one real time


@dataclass
class Keepalive:
    """One keepalive on its way, stage by stage."""

    token: int
    stage: str  # sent, received, asked, acked, answered
    leader: int = -1
    received_at: float = 0.0  # on the leader's clock
    lives: bool = False


class World:
    """One holder, some leaders one after another, clocks of different rates, messages of any delay.

    The stages of a keepalive are those of an engine: it is received by somebody who believes to lead, a
    quorum round begins after that, a majority answers it (which it does only for the newest leader), the
    leader hears of that and touches, the answer travels back.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.time = 0.0
        self.drift = self.random.choice([0.0, 0.1, 0.4])
        half = self.drift / 2
        self.rates = [self.random.choice([1 - half, 1.0, 1 + half]) for _ in range(4)]
        self.offsets = [self.random.uniform(-1000, 1000) for _ in range(4)]
        self.holder = HolderSession(drift=self.drift, keepalive_s=0.5)
        self.leaders = [LeaderSessions() for _ in range(3)]  # clocks 1, 2, 3
        self.newest = 0
        self.ready = True  # the newest leader has applied the first entry of its term
        self.alive = True  # the machine, as of the newest leader
        self.proposed: list[int] = []  # who proposed an expiry that is not applied yet
        self.messages: list[Keepalive] = []
        self.confirmations = 0
        self.holder.opened(INFO, self.clock(0), self.clock(0))
        self.leaders[0].opened(INFO, self.clock(1))

    def clock(self, who: int) -> float:
        """0 is the holder, n + 1 leader n."""
        return self.time * self.rates[who] + self.offsets[who]

    def step(self) -> None:
        self.time += self.random.choice([0.0, 0.0, 0.001, 0.05, 0.05, 0.5]) * self.random.random()
        action = self.random.choice(["send", "move", "move", "move", "move", "expire", "elect", "lose"])
        if action == "send" and self.holder.valid(self.clock(0)):
            self.messages.append(Keepalive(self.holder.sending(self.clock(0)), "sent"))
        elif action == "move" and self.messages:
            self.move(self.random.choice(self.messages))
        elif action == "lose" and self.messages and self.random.random() < 0.2:
            self.messages.remove(self.random.choice(self.messages))
        elif action == "expire":
            self.expire()
        elif action == "elect":
            self.elect()

    def move(self, message: Keepalive) -> None:
        if message.stage == "sent":  # whoever it reaches may be deposed long since
            message.leader = self.newest if self.random.random() < 0.7 else self.random.randrange(3)
            message.received_at = self.clock(message.leader + 1)
            message.stage = "received"
        elif message.stage == "received":
            message.stage = "asked"
        elif message.stage == "asked":
            if message.leader == self.newest and self.ready:
                message.stage = "acked"
        elif message.stage == "acked":
            message.lives = self.leaders[message.leader].touch(INFO.id, message.received_at)
            message.stage = "answered"
        else:
            self.messages.remove(message)
            if message.lives:
                self.confirmations += self.holder.confirmed(message.token, self.clock(0))
            else:
                self.holder.gone(INFO.id)

    def expire(self) -> None:
        """Everybody who believes to lead looks; what the newest leader proposes will be applied."""
        for number, leader in enumerate(self.leaders):
            if leader.expired(self.clock(number + 1)) and number == self.newest:
                self.proposed.append(number)
                self.alive = False  # from its proposal on, nobody may act

    def elect(self) -> None:
        if self.ready and self.random.random() < 0.1:
            self.newest = self.random.randrange(3)
            self.leaders[
                self.newest
            ].deposed()  # whoever is elected knows that an earlier term of its own is over
            self.ready = False  # elected; what the last one proposed is in its log or lost for ever
            if self.proposed and self.random.random() < 0.5:
                self.alive = True
            self.proposed.clear()
        elif not self.ready:
            self.ready = True
            living = [INFO] if self.alive else []
            self.leaders[self.newest].became_leader(self.clock(self.newest + 1), living)

    def check(self) -> None:
        """The claim: an expiry that counts was proposed, so the holder's time is over. Touches nothing."""
        if not self.alive:
            assert self.clock(0) >= self.holder.valid_until - 1e-6, f"valid after its end at {self.time}"


@pytest.mark.parametrize("block", range(4))
def test_no_holder_is_valid_after_its_end_was_proposed(block: int) -> None:
    ended = confirmed = 0
    for seed in range(block * 400, block * 400 + 400):
        world = World(seed)
        for _ in range(300):
            world.step()
            world.check()
        ended += not world.alive
        confirmed += world.confirmations
    assert ended > 100 and confirmed > 400  # the worlds were worth looking at


def test_the_margin_is_no_larger_than_it_has_to_be() -> None:
    """The fastest leader and the slowest holder, immediate messages and immediate expiry: it just holds."""
    leader, holder = LeaderSessions(), HolderSession(drift=DRIFT, keepalive_s=0.5)
    leader.opened(INFO, 0.0)
    holder.opened(INFO, 0.0, 0.0)
    real = TTL_S / (1 + DRIFT / 2)  # when the leader's clock shows the ttl
    assert leader.expired(real * (1 + DRIFT / 2) + 1e-9) == (7,)
    on_holders_clock = real * (1 - DRIFT / 2)
    assert 0 <= on_holders_clock - holder.valid_until < TTL_S * DRIFT**2
