"""Raft: a log of commands that a majority of replicas agrees on. `Raft` is one replica, as a pure object.

It decides everything and does nothing: time is an argument, randomness is given to it, and whatever is to
be written, sent or applied comes out of `ready()`. Somebody else, the *shell*, does it. (The division is
that of etcd-io/raft and rabbitmq/ra.)

Duties of the shell, in order
=============================

1. Start: read term, vote, snapshot and log from the disk, restore the state machine from the snapshot, and
   make `Raft(config, recovered, rng, now)`. The commit index is not on the disk; the leader tells it.
2. After every call below, call `ready(now)` until it gives None, and for each `Ready`, in order:
   a. write `hard_state`, then `snapshot` (which drops the log on disk), then `entries` (replacing what is
      there from their first index on), and start to make that durable. There is no need to wait: further
      Readies may be written behind it and share one sync;
   b. send `messages`, now. The core has kept back what depends on writes that are not durable;
   c. restore the state machine from `snapshot`, if there is one; apply `committed`; call `applied(index)`;
   d. serve each of `reads` when everything up to its index has been applied; send `failed_reads` elsewhere.
3. When everything up to a Ready's `write_seq` is durable, call `persisted(write_seq, now)`. When a write or
   a sync fails, do not call it, ever: throw the `Raft` away. It has promised nothing that depends on the
   failed write.
4. Hand each message to `step(sender, message, now)`; `sender` is who the link proved it to be. `decode`
   raises `ValueError` for what is no message. Messages may be lost, doubled, reordered and late. They carry
   no name of the group: the shell must not mix groups up.
5. Call `tick(now)` at `deadline()`, which any call may move. Call `unreachable(peer, now)` when a
   connection breaks.
6. Now and then make a snapshot of what is applied, make it durable, call `compact(snapshot)`, and only then
   remove entries from the log on disk: as far as before the snapshot, or less.

Where it differs from the paper and the dissertation
====================================================

"Paper": Ongaro and Ousterhout, In Search of an Understandable Consensus Algorithm (extended version).
"Dissertation": Ongaro, Consensus: Bridging Theory and Practice.

* A request of an older term is answered also by an `AppendReply` of the newer term, whatever it was, and a
  vote that is refused because of a living leader is answered with a refusal (etcd is silent): the sender
  learns sooner.
* Own votes, and a leader's own entries, count when they are durable, not when they are made (dissertation
  10.2.1 does so for entries). A vote is asked for when the new term is durable.
* A leader's messages carry a round number that answers repeat. An answer confirms reads by its round, a
  refusal of an older round than the last change of course is ignored.
* A follower counts a commit index only up to what this leader's messages have verified in this term (paper,
  figure 2, bounds it by the last new entry for AppendEntries only; here it is so for heartbeats too). A
  heartbeat's answer tells the follower's commit index, so that the leader notices when a restarted follower
  needs another look at its log.
* Stickiness (dissertation 4.2.3) applies to pre-votes and votes. It ends early for a replica whose
  connection to the leader broke (`unreachable`); such replicas campaign in turns, in the order of their
  ids.
* CheckQuorum (dissertation 6.2) is continuous: a leader steps down at the moment when the last answers of a
  quorum are an election timeout old.
* The random election timeout is drawn once for a term and for each candidacy, not at every message.
* Conflict hints are those of etcd: the follower offers the last index whose term is not above the one asked
  for.
* Snapshots travel in chunks that name index, term, size and checksum (paper, figure 13, has index and term;
  done is when the size is reached). A follower whose log has the snapshot's last entry takes it as proof
  that its prefix is committed and does not install it; otherwise it drops its whole log.
* A snapshot whose configuration is not this replica's is refused: voters are fixed. The types have room for
  joint consensus and learners, `quorum.py` counts joint majorities already.
* A leader tells followers of a new commit index at once, by a heartbeat that wants no answer, instead of
  with the next entries.
* Leadership transfer: the target's vote requests say that the leader wants it, and are exempt from
  stickiness.
* Clients, sessions and exactly-once (dissertation 6.3) are the state machine's matter.
"""

from .config import RaftConfig
from .errors import ProposalRefused, Refusal
from .messages import Message, decode, encode
from .raft import Raft
from .ready import PeerProgress, PeerState, Proposal, Ready, Status
from .types import (
    Configuration,
    EntryBatch,
    HardState,
    NodeId,
    Recovered,
    Role,
    Snapshot,
    SnapshotMeta,
    TermRun,
)

__all__ = [
    "Configuration",
    "EntryBatch",
    "HardState",
    "Message",
    "NodeId",
    "PeerProgress",
    "PeerState",
    "Proposal",
    "ProposalRefused",
    "Raft",
    "RaftConfig",
    "Ready",
    "Recovered",
    "Refusal",
    "Role",
    "Snapshot",
    "SnapshotMeta",
    "Status",
    "TermRun",
    "decode",
    "encode",
]
