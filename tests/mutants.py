"""Deliberate bugs in the Raft core, one by one: `python -m tests.mutants`. The tests must catch each.

Each mutant is one exact snippet of the code and what takes its place. It is applied to a copy of the
repository, and the tests run there, on the copy. Prints which test caught which bug; the exit code is 1 if
any survives.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("core", "hashing", "consensus", "registry", "jepsen_like", "quorate", "tests", "pyproject.toml")
TESTS = "tests/consensus/raft"
LAST = ("test_hostile", "test_random")
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Mutant:
    """`old` stands exactly once in `file`; with `new` in its place the core is wrong."""

    name: str
    file: str
    old: str
    new: str


MUTANTS = (
    Mutant(
        "vote not stored before the answer",
        "raft.py",
        "self._journal.send_when_durable(sender, VoteReply(self.term, message.round, True, False))",
        "self._journal.send(sender, VoteReply(self.term, message.round, True, False))",
    ),
    Mutant(
        "vote not stored at all",
        "journal.py",
        "state = HardState(self.term, self.vote)",
        "state = HardState(self.term, None)",
    ),
    Mutant(
        "own vote counted before it is durable",
        "raft.py",
        "self._journal.send_when_durable(self.id, own)",
        "self._handle_vote_reply(self.id, own, now)",
    ),
    Mutant(
        "votes asked for before the term is durable",
        "raft.py",
        "send = self._journal.send if pre else self._journal.send_when_durable",
        "send = self._journal.send",
    ),
    Mutant(
        "commit of an old term's entry by counting",
        "leader.py",
        "if index > before and journal.log.term_at(index) == journal.term and journal.commit_to(index):",
        "if index > before and journal.commit_to(index):",
    ),
    Mutant(
        "stale reply counted after re-election",
        "raft.py",
        "if leader is None or message.term < self.term:",
        "if leader is None:",
    ),
    Mutant(
        "matching entries behind the sent ones truncated",
        "follower.py",
        "        self._verified(entries.last_index, message.commit_index)\n",
        "        if journal.commit_index <= entries.last_index < log.last_index:\n"
        "            journal.log.truncate(entries.last_index + 1)\n"
        "            journal._forget_from(entries.last_index + 1)\n"
        "        self._verified(entries.last_index, message.commit_index)\n",
    ),
    Mutant(
        "matching entries overwritten",
        "follower.py",
        "new_index = log.first_difference(entries, max(entries.first_index, log.base_index))",
        "new_index = max(entries.first_index, journal.commit_index + 1, self.verified_index)",
    ),
    Mutant(
        "ReadIndex without a quorum round",
        "leader.py",
        "self.reads.confirm(quorum_value(self._config.configuration, rounds, 0))",
        "self.reads.confirm(self.round)",
    ),
    Mutant(
        "ReadIndex confirmed by an answer from before the read",
        "leader.py",
        "progress.acked_round = round_",
        "progress.acked_round = self.round",
    ),
    Mutant(
        "ReadIndex before an entry of the own term is committed",
        "leader.py",
        "if self.reads.wants_round() and self._journal.commit_index >= self._term_start:",
        "if self.reads.wants_round():",
    ),
    Mutant(
        "commit index beyond the verified prefix",
        "follower.py",
        "self._journal.commit_to(min(leader_commit, self.verified_index))",
        "self._journal.commit_to(min(leader_commit, self._journal.log.last_index))",
    ),
    Mutant(
        "snapshot without its term",
        "journal.py",
        "self.log.reset(meta.index, meta.term)",
        "self.log.reset(meta.index, 0)",
    ),
    Mutant(
        "snapshot with the term of its sender",
        "journal.py",
        "self.log.reset(meta.index, meta.term)",
        "self.log.reset(meta.index, self.term)",
    ),
    Mutant(
        "snapshot taken for the log's by its index alone",
        "follower.py",
        "elif log.term_at(meta.index) == meta.term:",
        "elif log.term_at(meta.index) is not None:",
    ),
    Mutant(
        "snapshot installed without looking at its checksum",
        "follower.py",
        "if incoming.checksum != meta.checksum:",
        "if False:",
    ),
    Mutant(
        "snapshot acknowledged before it is durable",
        "journal.py",
        "        self._forget_from(1)\n        self.log.reset",
        "        self._forget_from(1)\n"
        "        self.durable_index, self.durable_term = meta.index, self.term\n"
        "        self.log.reset",
    ),
    Mutant(
        "old snapshot acknowledged",
        "follower.py",
        "self._journal.send(sender, AppendReply(message.term, message.round, False, index, hint_term))",
        "self._acknowledge(sender, message.round, meta.index + (hint_term > 9**9))",
    ),
    Mutant(
        "log on disk not dropped when it does not lead up to the snapshot",
        "journal.py",
        "self._unwritten_snapshot = None if kept else snapshot",
        "self._unwritten_snapshot = None",
    ),
    Mutant(
        "no PreVote",
        "raft.py",
        "                self._become_pre_candidate(now)\n",
        "                self._become_candidate(now, transfer=False)\n",
    ),
    Mutant(
        "vote counted twice",
        "raft.py",
        "self._votes[sender] = message.granted",
        "self._votes[min(self._members - set(self._votes), default=sender)] = message.granted",
    ),
    Mutant(
        "vote of an earlier candidacy counted",
        "raft.py",
        "if self._role is not asked or message.round != self._round:",
        "if self._role is not asked:",
    ),
    Mutant(
        "votes of strangers counted",
        "quorum.py",
        "granted = sum(votes.get(voter) is True for voter in voters)",
        "granted = sum(votes.values())",
    ),
    Mutant(
        "two votes in one term",
        "raft.py",
        "if up_to_date and self.vote in (None, sender):\n            self._journal.vote_for(sender)",
        "if up_to_date:\n            self._journal.vote = sender",
    ),
    Mutant(
        "vote remembered from an earlier term",
        "journal.py",
        "        self.term = term\n        self.vote = vote\n        self._held.clear()",
        "        self.term = term\n        self.vote = vote or self.vote\n        self._held.clear()",
    ),
    Mutant(
        "vote for a log that is longer but older",
        "raft.py",
        "(message.last_term, message.last_index) >= (self._journal.log.last_term, self.last_index)",
        "message.last_index >= self.last_index",
    ),
    Mutant(
        "no leader stickiness",
        "raft.py",
        "if message.term < self.term or (self._sticks_to_leader(now) and not message.transfer):",
        "if message.term < self.term:",
    ),
    Mutant(
        "no CheckQuorum",
        "leader.py",
        "if now >= self.quorum_contact(now) + self._config.election_s:\n            return False",
        "if False:\n            return False",
    ),
    Mutant(
        "entries acknowledged before they are durable",
        "journal.py",
        "if index <= self.durable_index and self.durable_term == self.term:",
        "if index <= self._written_index:",
    ),
    Mutant(
        "entries acknowledged in a term that is not durable",
        "journal.py",
        "if index <= self.durable_index and self.durable_term == self.term:",
        "if index <= self.durable_index:",
    ),
    Mutant(
        "leader counts its own entries before they are durable",
        "leader.py",
        "acked[self._config.id] = journal.durable_index",
        "acked[self._config.id] = journal.log.last_index",
    ),
    Mutant(
        "entries applied before they are durable here",
        "journal.py",
        "last_index = min(self.commit_index, self.durable_index)",
        "last_index = self.commit_index",
    ),
    Mutant(
        "an overtaken write taken for the newer one",
        "journal.py",
        "            write.last_index = min(write.last_index, first_index - 1)\n",
        "            pass\n",
    ),
    Mutant(
        "written entries not written again after a truncation",
        "journal.py",
        "        self._written_index = min(self._written_index, first_index - 1)\n",
        "",
    ),
    Mutant(
        "match index taken from a refusal",
        "leader.py",
        "        elif message.round >= progress.fresh_round:\n",
        "        elif progress.maybe_match(message.index) or message.round >= progress.fresh_round:\n",
    ),
    Mutant(
        "old refusals heeded",
        "leader.py",
        "        elif message.round >= progress.fresh_round:\n",
        "        else:\n",
    ),
    Mutant(
        "a conflict behind the leader's base asked for over and over",
        "leader.py",
        "next_index = index + 1 if term <= message.hint_term else index",
        "next_index = index + 1",
    ),
    Mutant(
        "lost entries never sent again",
        "leader.py",
        "progress.nudge = lost or unaware",
        "progress.nudge = unaware",
    ),
    Mutant(
        "a restarted follower never told what is committed",
        "leader.py",
        "progress.nudge = lost or unaware",
        "progress.nudge = lost",
    ),
    Mutant(
        "leadership handed to a target that is behind",
        "leader.py",
        "if not transfer.told and progress.match_index == self._journal.log.last_index:",
        "if not transfer.told:",
    ),
    Mutant(
        "proposals taken while leadership moves",
        "leader.py",
        "        if self.transfer is not None:\n            raise ProposalRefused",
        "        if False:\n            raise ProposalRefused",
    ),
    Mutant(
        "reads of a lost leadership forgotten",
        "raft.py",
        "            self._failed_reads += self._leader.reads.unconfirmed()\n",
        "",
    ),
    Mutant(
        "half of a joint configuration ignored",
        "quorum.py",
        "majorities = (configuration.voters, configuration.outgoing)",
        "majorities = (configuration.voters,)",
    ),
    Mutant(
        "half of the voters taken for a majority",
        "quorum.py",
        "needed = len(voters) // 2 + 1",
        "needed = (len(voters) + 1) // 2",
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("only", nargs="*", help="words of names: run only the mutants that have one")
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if not options.only or any(word in m.name for word in options.only)]
    survivors = []
    with tempfile.TemporaryDirectory(prefix="quorate-mutants-") as directory:
        copy = Path(directory)
        make_copy(copy)
        caught = run_tests(copy)
        if caught is not None:
            print(f"the tests fail without any mutant: {caught}")
            return 1
        width = max(len(mutant.name) for mutant in chosen)
        for mutant in chosen:
            begun = time.monotonic()
            original = apply(copy, mutant)
            caught = run_tests(copy)
            path_of(copy, mutant).write_text(original)
            survivors += [mutant.name] if caught is None else []
            verdict = caught or "SURVIVED"
            print(f"{mutant.name:{width}}  {verdict}  ({time.monotonic() - begun:.1f} s)", flush=True)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants caught")
    return 1 if survivors else 0


def make_copy(copy: Path) -> None:
    """Copy what the tests need; the links in `quorate/` then point into the copy."""
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, symlinks=True, ignore=skip)
        else:
            shutil.copy2(source, copy / name)
    command = [sys.executable, "-c", "import quorate.consensus.raft.raft as m; print(m.__file__)"]
    found = subprocess.run(
        command, cwd=copy, env=environment(copy), capture_output=True, text=True, check=True
    )
    if not Path(found.stdout.strip()).resolve().is_relative_to(copy.resolve()):
        raise SystemExit(f"the tests would not run on the copy but on {found.stdout.strip()}")


def path_of(root: Path, mutant: Mutant) -> Path:
    return root / "consensus" / "raft" / mutant.file


def apply(root: Path, mutant: Mutant) -> str:
    """Put the bug in; returns the file as it was. Raises `ValueError` unless the snippet is there once."""
    path = path_of(root, mutant)
    original = path.read_text()
    if original.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: the snippet is {original.count(mutant.old)} times in {mutant.file}")
    path.write_text(original.replace(mutant.old, mutant.new))
    return original


def run_tests(copy: Path) -> str | None:
    """The name of the first test that fails, or None when all pass."""
    # No compiled files: they are matched by time and size, and two mutants may have both in common.
    # The random schedules come last: a test with a name says more about what is wrong.
    tests = sorted((copy / TESTS).glob("test_*.py"), key=lambda path: (path.stem in LAST, path.stem))
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "--tb=no", "--no-header", *map(str, tests)]
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            env=environment(copy),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"(no end within {TIMEOUT_S:.0f} s)"
    if done.returncode == 0:
        return None
    for line in done.stdout.splitlines():
        if line.startswith(("FAILED", "ERROR")):
            return line.split(" - ")[0].split("::", 1)[-1].removeprefix("ERROR ")
    return f"(exit code {done.returncode}) {done.stdout[-200:]}{done.stderr[-200:]}"


def environment(copy: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}


if __name__ == "__main__":
    sys.exit(main())
