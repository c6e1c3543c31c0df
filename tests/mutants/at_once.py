"""Deliberate bugs in calls of idle servers, which are handled in their callers' turns, and in the tasks of servers."""

from .mutant import Mutant

ACTIVATION = "test_activation.py::test_"
TASK = ACTIVATION + "a_method_runs_as_a_task_of_its_process_from_its_first_step_to_its_last[simulation]"
KEPT = ACTIVATION + "tasks_of_servers_are_kept_for_a_moment_and_not_without_number[simulation]"
LEFT_BEHIND = ACTIVATION + "a_cancellation_that_one_message_leaves_behind_does_not_hit_the_next[simulation]"
ENDED = ACTIVATION + "a_process_that_is_ended_in_its_first_step_runs_its_finally_blocks[simulation]"
TURN = ACTIVATION + "a_method_that_gives_way_for_a_turn_lets_others_run[simulation]"
CONTEXT = ACTIVATION + "what_a_method_sets_in_its_context_stays_there[simulation]"
STACK = ACTIVATION + "a_chain_of_calls_may_be_longer_than_the_stack[simulation]"
ORDER = "test_gen_server.py::test_calls_and_casts_of_one_caller_are_handled_in_order"
ONE_AT_A_TIME = "test_gen_server.py::test_one_message_is_handled_at_a_time"
STARVING = "test_gen_server.py::test_a_server_with_a_full_mailbox_lets_others_have_their_turn_in_between"
MEANWHILE = "test_mailbox.py::test_what_comes_while_a_call_is_handled_at_once_is_handled_next"
CONTINUED = (
    "test_gen_server_turns.py::test_a_call_of_an_idle_server_that_asks_for_more_is_answered_first[simulation]"
)
REENTRANT = (
    "test_gen_server_turns.py::test_a_call_in_the_same_turn_of_the_loop_does_not_overtake_the_beginning_of_a_reentrant_one"
    "[simulation]"
)

AT_ONCE = (
    Mutant(
        "a kept task is always taken for ready",
        "activation.py",
        "        if self._parked is not None:\n"
        "            return not self._parked.done()\n"
        "        return not (self.abandoned or self.task.done() or self.task.cancelling())\n",
        "        return True\n",
        first=LEFT_BEHIND,
    ),
    Mutant(
        "a cancelled task is taken for ready",
        "activation.py",
        "        return not (self.abandoned or self.task.done() or self.task.cancelling())\n",
        "        return not (self.abandoned or self.task.done())\n",
        first=LEFT_BEHIND,
    ),
    Mutant(
        "a cancellation is left to the next message",
        "activation.py",
        "return not self.task.cancelling()",
        "return True",
        first=LEFT_BEHIND,
    ),
    Mutant(
        "a cancelled task is kept",
        "activation.py",
        "if not self._kept or self.abandoned or self.task.cancelling():",
        "if not self._kept or self.abandoned:",
        first="test_gen_server_life.py::test_terminate_runs_with_the_reason_and_before_anybody_is_told[simulation-True]",
    ),
    Mutant(
        "a sleep(0) in the first step is swallowed",
        "activation.py",
        "return self._step(None) if awaited is _NOTHING else awaited",
        "return self._step(None) if awaited is _NOTHING or awaited is None else awaited",
        first=TURN,
    ),
    Mutant(
        "the first step runs as the caller's task",
        "activation.py",
        "        loop, task = self._scheduler.loop, self.task\n"
        "        outer = current_task(loop)\n"
        "        if outer is not None:\n"
        "            _leave_task(loop, outer)\n"
        "        _enter_task(loop, task)\n"
        "        try:\n"
        "            return",
        "        loop = self._scheduler.loop\n"
        "        outer = current_task(loop)\n"
        "        task = outer or self.task\n"
        "        if outer is not None:\n"
        "            _leave_task(loop, outer)\n"
        "        _enter_task(loop, task)\n"
        "        try:\n"
        "            return",
        first=TASK,
    ),
    Mutant(
        "the first step runs in the caller's context",
        "activation.py",
        "return self._context.run(driver.send, (handling, steps))",
        "return driver.send((handling, steps))",
        first=CONTEXT,
    ),
    Mutant(
        "a driver that has raised goes on",
        "activation.py",
        "        except BaseException:\n            self._driver = None\n            raise\n",
        "        except BaseException:\n            raise\n",
        first="test_dynamic_supervisor.py::test_a_dynamic_supervisor_has_a_limit_if_it_is_given_one[simulation]",
    ),
    Mutant(
        "a step is taken though the gate is closed",
        "activation.py",
        "if error is None and not stepped.gate_open():",
        "if False:",
        first="test_process_control.py::test_no_line_of_a_handler_runs_after_the_gate_closed_but_finally[simulation]",
    ),
    Mutant(
        "tasks are kept without number",
        "activation.py",
        "if len(self._tasks) >= KEPT_TASKS:",
        "if False:",
        first=KEPT,
    ),
    Mutant(
        "tasks are kept for ever",
        "activation.py",
        "self._timer = self._clock.call_later(KEPT_S, self._release_all)",
        "self._timer = self._clock.call_later(KEPT_S, len, ())",
        first=KEPT,
    ),
    Mutant(
        "the task of a dead server is kept",
        "kernel.py",
        "        self.kept_tasks.release(cell)\n",
        "",
        first=KEPT,
    ),
    Mutant(
        "a call is handled at once by a server at work",
        "prompt_cell.py",
        "            self.scheduled\n            or self.control is not None\n",
        "            self.control is not None\n",
        first=ONE_AT_A_TIME,
    ),
    Mutant(
        "a call is handled at once though a message waits",
        "prompt_cell.py",
        "            self.scheduled\n"
        "            or self.control is not None\n"
        "            or self.mailbox is not None\n",
        "            (self.scheduled and self._current is not NOTHING)\n            or self.control is not None\n",
        first=ORDER,
    ),
    Mutant(
        "a call is handled at once though the server is held",
        "prompt_cell.py",
        "            or self.control is not None\n",
        "",
        first="test_process_control.py::test_the_gate_is_asked_before_each_resumption[simulation]",
    ),
    Mutant(
        "a call at once overtakes the beginning of a reentrant one",
        "prompt_cell.py",
        "return not extras.starting",
        "return True",
        first=REENTRANT,
    ),
    Mutant(
        "a message that came during a call at once is forgotten",
        "prompt_cell.py",
        "                    self.mailbox is None\n                    and self.urgent",
        "                    self.urgent",
        first=MEANWHILE,
    ),
    Mutant(
        "a message that came during a coroutine's call at once is forgotten",
        "prompt_cell.py",
        "        if (\n            self.mailbox is None\n            and self.urgent",
        "        if (\n            self.urgent",
        first=MEANWHILE,
    ),
    Mutant(
        "a priority message that came during a call at once is forgotten",
        "prompt_cell.py",
        "                    and self.urgent is None\n",
        "",
        first=MEANWHILE,
    ),
    Mutant(
        "a priority message that came during a coroutine's call at once is forgotten",
        "prompt_cell.py",
        "        if (\n            self.mailbox is None\n            and self.urgent is None\n",
        "        if (\n            self.mailbox is None\n",
        first=MEANWHILE,
    ),
    Mutant(
        "an errand that came during a call at once is forgotten",
        "prompt_cell.py",
        "                    and self.control is None\n",
        "",
        first=MEANWHILE,
    ),
    Mutant(
        "an errand that came during a coroutine's call at once is forgotten",
        "prompt_cell.py",
        "\n            and self.urgent is None\n            and self.control is None\n",
        "\n            and self.urgent is None\n",
        first=MEANWHILE,
    ),
    Mutant(
        "a server that was ended in a call at once lives on",
        "prompt_cell.py",
        "                    and self.extras is None\n                    and self.state == ALIVE\n",
        "                    and self.extras is None\n",
        first=ENDED,
    ),
    Mutant(
        "a server that was ended in a coroutine's call at once lives on",
        "prompt_cell.py",
        "            and self.extras is None\n            and self.state == ALIVE\n        ):\n"
        "            self.activation",
        "            and self.extras is None\n        ):\n            self.activation",
        first=ENDED,
    ),
    Mutant(
        "what a call at once asks to be done next is forgotten",
        "prompt_cell.py",
        "                    and self.extras is None\n",
        "",
        first=CONTINUED,
    ),
    Mutant(
        "calls at once have no chain",
        "prompt_cell.py",
        "Handling((*chain, self.pid) if chain else (self.pid,))",
        "Handling((self.pid,))",
        first="test_process_calls.py::test_a_cycle_of_calls_raises_at_once_at_the_one_who_closes_it[simulation-here]",
    ),
    Mutant(
        "what a call at once leaves behind acts for it",
        "prompt_cell.py",
        "            self._current = NOTHING\n"
        "            if self._handling is not None:\n                self._handling.done = True\n",
        "            self._current = NOTHING\n            if self._handling is not None:\n",
        first="test_process_calls.py::test_a_task_that_outlives_its_handler_may_call_its_own_server[simulation]",
    ),
    Mutant(
        "calls at once are handled in each other without limit",
        "prompt_cell.py",
        "        if scheduler.depth >= DEPTH_LIMIT:\n",
        "        if scheduler.depth < 0:\n",
        first=STACK,
    ),
    Mutant(
        "calls at once are handled in a row without limit",
        "ref.py",
        "            scheduler.at_once_left -= 1\n",
        "",
        first="test_gen_server.py::test_who_calls_idle_servers_one_after_the_other_lets_others_have_their_turn[simulation-False]",
    ),
    Mutant(
        "calls by pid are handled at once in a row without limit",
        "kernel.py",
        "            self.scheduler.at_once_left -= 1\n",
        "",
        first="test_gen_server.py::test_who_calls_idle_servers_one_after_the_other_lets_others_have_their_turn[simulation-True]",
    ),
    Mutant(
        "who holds up the loop in a call at once is not reported",
        "prompt_cell.py",
        "                if watch.tick != tick:\n"
        '                    self.kernel.scheduler.ticked(self.describe, tick, f"in {name}")\n',
        "",
        first="test_blocked_loop.py::test_a_method_that_holds_the_loop_is_reported_by_its_name[simulation]",
    ),
    Mutant(
        "a call at once that times out does not say which it was",
        "prompt_cell.py",
        "                request.reply.method = name\n",
        "                pass\n",
        first="test_gen_server_answers.py::test_an_answer_that_comes_after_the_deadline_is_dropped[simulation-here]",
    ),
    Mutant(
        "a task that is released is kept",
        "activation.py",
        "        self._kept = False\n",
        "",
        first=KEPT,
    ),
)
