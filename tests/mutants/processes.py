"""Deliberate bugs in processes: in signals and mailboxes, here and across nodes. Those in calls: `at_once.py`."""

from .at_once import AT_ONCE
from .mutant import Group, Mutant

_MODEL = "test_signal_model.py::test_"
ONE = _MODEL + "on_one_node_each_step_has_the_outcome_that_the_rules_say[simulation]"
ONE_AT_ONCE = _MODEL + "on_one_node_what_happens_at_once_is_explained_by_an_order_of_signals[simulation]"
NET = _MODEL + "across_nodes_each_step_has_the_outcome_that_the_rules_say"
NET_AT_ONCE = _MODEL + "across_nodes_what_happens_at_once_is_explained_by_an_order_of_signals"
PAIR = _MODEL + "what_two_processes_on_two_nodes_send_each_other_arrives_in_the_order_sent"
LINKS = _MODEL + "links_made_and_undone_at_both_ends_at_once_are_the_same_at_both_ends_in_the_end"
CUT = _MODEL + (
    "across_links_that_are_lost_and_made_again_what_happens_is_explained_by_an_order_of_signals[simulation]"
)

SIGNALS = (
    Mutant(
        "unlink leaves the other's side",
        "kernel.py",
        "            other.links.discard(cell.pid)\n",
        "            pass\n",
        first=NET_AT_ONCE,
    ),
    Mutant(
        "unlink leaves the own side",
        "kernel.py",
        "        cell.links.discard(target)\n        if not self.is_here",
        "        if not self.is_here",
        first=LINKS,
    ),
    Mutant(
        "Down twice",
        "cell.py",
        "            self.accept(down)\n",
        "            self.accept(down)\n            self.accept(down)\n",
        first=ONE,
    ),
    Mutant(
        "name freed after Down",
        "kernel.py",
        "        if cell.name is not None:\n            self._names.pop(cell.name, None)\n        for alias in",
        "        for ref, hear in (cell.watchers or {}).items():\n"
        "            self.signal(hear, Down(ref, cell.pid, cell.reason))\n"
        "        cell.watchers = None\n"
        "        if cell.name is not None:\n"
        "            self._names.pop(cell.name, None)\n"
        "        for alias in",
        first=ONE_AT_ONCE,
    ),
    Mutant(
        "a caller is told of a crash before the end",
        "server_cell.py",
        "        self._tell_at_the_end(item, answer)\n",
        "        self._tell(item, answer)\n",
        first="test_gen_server_life.py::test_who_is_told_that_a_server_has_ended_finds_its_name_free_and_all_of_it_closed"
        "[simulation-here-True-crash-RemoteError]",
    ),
    Mutant(
        "a caller is told before the end that it breaks off the call",
        "server_cell.py",
        "                self._tell_at_the_end(item, stopped)\n",
        "                self._tell(item, stopped)\n",
        first="test_gen_server_life.py::test_so_does_who_waits_for_a_call_that_is_broken_off_by_its_end"
        "[simulation-here-Closing-wait_beside-crash]",
    ),
    Mutant(
        "Down overtakes the answer",
        "kernel.py",
        "        for farewell in cell.farewells():\n            self.signal(farewell)\n"
        "        links, cell.links = cell.links, None\n",
        "        for ref, hear in (cell.watchers or {}).items():\n"
        "            self.signal(hear, Down(ref, cell.pid, cell.reason))\n"
        "        cell.watchers = None\n"
        "        for farewell in cell.farewells():\n            self.signal(farewell)\n"
        "        links, cell.links = cell.links, None\n",
        first="test_gen_server_life.py::test_who_hears_of_the_end_of_a_server_has_had_its_answer_before[simulation-here]",
    ),
    Mutant(
        "kill through a link cannot be trapped",
        "exits.py",
        "if not linked and is_word(reason, KILL)",
        "if is_word(reason, KILL)",
        first=NET,
    ),
    Mutant(
        "an explicit kill can be trapped",
        "exits.py",
        "    if not linked and is_word(reason, KILL):\n",
        "    if not linked and not trapping and is_word(reason, KILL):\n",
        first=ONE,
    ),
    Mutant(
        "kill is told as kill",
        "exits.py",
        "return Fate.EXITS, KILLED",
        "return Fate.EXITS, KILL",
        first=ONE_AT_ONCE,
    ),
    Mutant(
        "normal kills",
        "exits.py",
        "    if is_word(reason, NORMAL) and not own:\n        return Fate.IGNORED, reason\n",
        "",
        first=ONE,
    ),
    Mutant(
        "an exit of oneself with the reason normal is ignored",
        "exits.py",
        "if is_word(reason, NORMAL) and not own:",
        "if is_word(reason, NORMAL):",
        first=NET_AT_ONCE,
    ),
    Mutant(
        "normal is not delivered to who traps",
        "exits.py",
        "    if trapping:\n",
        "    if trapping and not is_word(reason, NORMAL):\n",
        first=ONE_AT_ONCE,
    ),
    Mutant(
        "links are not bidirectional here",
        "kernel.py",
        "            self.add_link(other, cell.pid)\n",
        "            pass\n",
        first=ONE_AT_ONCE,
    ),
    Mutant(
        "links are not bidirectional across nodes",
        "remote.py",
        "        self.kernel.add_link(cell, peer.pid(signal.source))\n",
        "",
        first=LINKS,
    ),
    Mutant(
        "a fired link stays",
        "cell.py",
        "            self.links.discard(source)\n",
        "",
        first=ONE,
    ),
    Mutant(
        "exits of links that are no more are taken",
        "cell.py",
        "            if self.links is None or source not in self.links:\n"
        "                return  # it was unlinked meanwhile\n"
        "            self.links.discard(source)\n",
        "            (self.links or set()).discard(source)\n",
        first=PAIR,
    ),
    Mutant(
        "a link to the dead is silent",
        "kernel.py",
        "            self.signal(self.emit_exit, target, cell.pid, NOPROC, True)\n",
        "            pass\n",
        first=ONE_AT_ONCE,
    ),
    Mutant(
        "a link to the dead of another node is silent",
        "remote.py",
        "            self.exit(here, peer.pid(signal.source), NOPROC, linked=True)\n",
        "",
        first=PAIR,
    ),
    Mutant(
        "an unlink is not acknowledged",
        "remote.py",
        "        peer.backlog.post(encode(Unlinked(signal.to, signal.source, peer.creation, signal.id)))\n",
        "",
        first=LINKS,
    ),
    Mutant(
        "a link that crosses an unlink is made",
        "remote.py",
        "        if pair in peer.unlinking:\n            return  # it crossed our Unlink, which undoes it there\n",
        "",
        first=LINKS,
    ),
    Mutant(
        "a new link does not forget the unlink",
        "remote.py",
        "        peer.unlinking.pop(pair, None)\n        peer.links.add",
        "        peer.links.add",
        first="test_process_exits.py::test_links_that_cross_an_unlink_end_the_same_on_both_sides[simulation]",
    ),
    Mutant(
        "any acknowledgement of an unlink will do",
        "remote.py",
        "if peer.unlinking.get(pair) == signal.id:",
        "if pair in peer.unlinking:",
        first=LINKS,
    ),
    Mutant(
        "an unlink across nodes is not told",
        "remote.py",
        "            peer.backlog.post(encode(Unlink(source.serial, target.serial, target.creation, number)))\n",
        "            del peer.unlinking[pair]\n",
        first=LINKS,
    ),
    Mutant(
        "demonitor without flush removes the Down",
        "kernel.py",
        "elif flush and cell.mailbox",
        "elif cell.mailbox",
        first=NET,
    ),
    Mutant(
        "flush removes nothing",
        "kernel.py",
        "elif flush and cell.mailbox",
        "elif False and cell.mailbox",
        first=ONE_AT_ONCE,
    ),
    Mutant(
        "flush removes another Down",
        "kernel.py",
        "if type(message) is not Down or message.ref != ref]",
        "if type(message) is not Down]",
        first=NET,
    ),
    Mutant(
        "demonitor across nodes forgets nothing",
        "remote.py",
        "peer.watched.pop(ref.id, None) is not None",
        "ref.id in peer.watched",
        first=NET,
    ),
    Mutant(
        "demonitor across nodes is not told",
        "remote.py",
        "            peer.backlog.post(encode(Demonitor(ref.id)))\n",
        "            pass\n",
        first=NET,
    ),
    Mutant(
        "demonitor leaves the watcher",
        "kernel.py",
        "            cell.watchers.pop(ref, None)\n\n    # -- nodes",
        "            pass\n\n    # -- nodes",
        first=ONE,
    ),
    Mutant(
        "a Down that was on its way comes after demonitor",
        "cell.py",
        "        if self.watching is not None and self.watching.pop(down.ref, None) is not None:\n            self.accept(down)\n",
        "        if self.watching is not None:\n            self.watching.pop(down.ref, None)\n        self.accept(down)\n",
        first="test_process_exits.py::test_a_down_that_is_on_its_way_is_not_heard_after_demonitor[simulation-here]",
    ),
    Mutant(
        "monitors of one process do not stack",
        "kernel.py",
        "            cell.watching[ref] = target\n",
        "            if target in cell.watching.values():\n"
        "                return ref\n"
        "            cell.watching[ref] = target\n",
        first=NET_AT_ONCE,
    ),
    Mutant(
        "the dead keep their monitors",
        "kernel.py",
        "        for ref, target in (cell.watching or {}).items():\n            self.release(ref, target)\n",
        "",
        first=ONE,
    ),
    Mutant(
        "a Down across nodes says noproc",
        "remote.py",
        "self.kernel.codec.encode_reason(down.reason)",
        "self.kernel.codec.encode(NOPROC)",
        first=PAIR,
    ),
    Mutant(
        "a message overtakes an exit",
        "remote.py",
        "        self.kernel.signal(\n"
        "            self.kernel.emit_exit, peer.pid(signal.source), cell.pid, reason, bool(signal.linked)\n"
        "        )",
        "        self.kernel.loop.call_soon(\n"
        "            self.kernel.emit_exit, peer.pid(signal.source), cell.pid, reason, bool(signal.linked)\n"
        "        )",
        first=PAIR,
    ),
    Mutant(
        "a later message is put first",
        "process.py",
        "                self.mailbox.append(message)",
        "                self.mailbox.appendleft(message)",
        first=PAIR,
    ),
    Mutant(
        "nobody is woken",
        "process.py",
        "            if self._waiter is not None and not self._waiter.done():\n"
        "                self._waiter.set_result(None)\n"
        "\n"
        "    def take_now",
        "\n    def take_now",
        first=ONE,
    ),
    Mutant(
        "a receive begins again behind what came",
        "process.py",
        "        seen += 1\n    return None, seen",
        "        seen += 1\n    return None, seen + 1",
        first=NET_AT_ONCE,
    ),
    Mutant(
        "what does not match is dropped",
        "process.py",
        "            del queue[seen]\n",
        "            del queue[seen]\n            seen and queue.popleft()\n",
        first=PAIR,
    ),
    Mutant(
        "a lost link is not told to links",
        "remote.py",
        "            self.kernel.signal(self.kernel.emit_exit, peer.pid(theirs), here, NOCONNECTION, True)\n",
        "            pass\n",
        first=CUT,
    ),
    Mutant(
        "a lost link is not told to monitors",
        "remote.py",
        "            self.kernel.signal(hear, Down(ref, target, NOCONNECTION))\n",
        "            pass\n",
        first=CUT,
    ),
    Mutant(
        "a lost link forgets no watchers",
        "remote.py",
        "                cell.watchers.pop(self._their_ref(peer, number), None)\n        for ref, target",
        "                pass\n        for ref, target",
        first=CUT,
    ),
    Mutant(
        "a link where nodes are not linked is silent",
        "remote.py",
        "            self.kernel.signal(self.kernel.emit_exit, target, source, gone, True)\n",
        "",
        first=CUT,
    ),
    Mutant(
        "a monitor where nodes are not linked says noproc",
        "remote.py",
        "            self.kernel.answer_soon(hear, Down(ref, target, gone))",
        "            self.kernel.answer_soon(hear, Down(ref, target, NOPROC))",
        first=CUT,
    ),
    Mutant(
        "an exit across nodes is always a link's",
        "remote.py",
        "encode(ExitTo(source.serial, target.serial, target.creation, int(linked), body))",
        "encode(ExitTo(source.serial, target.serial, target.creation, 1, body))",
        first=PAIR,
    ),
    Mutant(
        "an exit of a link across nodes stays in the books",
        "remote.py",
        "        if signal.linked:\n            peer.links.discard((signal.to, signal.source))\n",
        "",
        first=PAIR,
    ),
    Mutant(
        "a kill of one who is ending is ignored",
        "cell.py",
        "        self.reason = KILLED\n        if self.deadline",
        "        if self.deadline",
        first="test_process_life.py::test_a_kill_during_a_slow_end_changes_the_reason[simulation]",
    ),
    Mutant(
        "a name of the dead stays",
        "kernel.py",
        "        if cell.name is not None:\n            self._names.pop(cell.name, None)\n        for alias in",
        "        for alias in",
        first=ONE_AT_ONCE,
    ),
    Mutant(
        "spawn_link does not link",
        "process.py",
        "        self._cell.kernel.link(child, self._cell.pid)\n",
        "",
        first=ONE_AT_ONCE,
    ),
)

PROCESSES = Group("processes", "core", "tests/core", (), SIGNALS + AT_ONCE)
