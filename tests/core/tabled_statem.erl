%% Plays the machines of `statem_tables.py` on OTP's own gen_statem, and prints their logs as JSON.
%%
%% Time is the player's: all real timers are an hour or more away. The player traces which ones the machine starts and
%% cancels; where one is due it cancels it and sends what the runtime would have sent, so that gen_statem cannot tell.
-module(tabled_statem).
-behaviour(gen_statem).
-export([main/1]).
-export([init/1, callback_mode/0, handle_event/4, terminate/3]).

-define(HOUR_MS, 3600000).
-define(SPREAD, 100000).  % more than any label: what a timer's time says besides its seconds

%% -- the player --------------------------------------------------------------------------------------------

main([In, Limit]) ->
    ok = logger:set_primary_config(level, none),
    erlang:trace_pattern({erlang, start_timer, 4}, [{'_', [], [{return_trace}]}], []),
    erlang:trace_pattern({erlang, cancel_timer, '_'}, true, []),
    {ok, Tables} = file:consult(In),
    io:put_chars([json([play(Table, list_to_integer(Limit)) || Table <- Tables]), $\n]),
    halt().

-record(play, {pid, now = 0, timers = #{}, calls = #{}, log = []}).

play({_Slow, _Enters, _First, _Start, _Reactions, _Entering, Steps} = Table, Limit) ->
    {ok, Pid} = gen_statem:start(?MODULE, {Table, Limit, self()}, []),
    Numbered = lists:zip(lists:seq(0, length(Steps) - 1), Steps),
    Play = steps(Numbered, settle(#play{pid = Pid})),
    exit(Pid, kill),
    lists:reverse(Play#play.log).

steps([], Play) ->
    Play;
steps([{Number, {What, Seconds}} | Steps], #play{pid = Pid} = Play) ->
    case is_process_alive(Pid) of
        true -> steps(Steps, answered(step(What, Number, Seconds, Play)));
        false -> Play
    end.

step(cast, Number, _, #play{pid = Pid} = Play) ->
    gen_statem:cast(Pid, Number),
    settle(Play);
step(info, Number, _, #play{pid = Pid} = Play) ->
    Pid ! Number,
    settle(Play);
step(call, Number, _, #play{pid = Pid, calls = Calls} = Play) ->
    Request = gen_statem:send_request(Pid, Number),
    settle(Play#play{calls = Calls#{Number => Request}});
step(hold, _, _, #play{pid = Pid} = Play) ->
    sys:suspend(Pid),
    Play;
step(release, _, _, #play{pid = Pid} = Play) ->
    sys:resume(Pid),
    settle(Play);
step(pass, _, Seconds, #play{now = Now} = Play) ->
    pass(Now + Seconds, Play).

pass(End, #play{pid = Pid, timers = Timers} = Play) ->
    case lists:sort([{Due, Label, Timer} || {Timer, {Due, Label, _}} <- maps:to_list(Timers), Due =< End]) of
        [{Due, _, Timer} | _] ->
            {{_, _, Type}, Left} = maps:take(Timer, Timers),
            erlang:cancel_timer(Timer),
            Pid ! {timeout, Timer, Type},
            pass(End, settle(Play#play{now = Due, timers = Left}));
        [] ->
            Play#play{now = End}
    end.

%% Wait until the machine has done all that it can, and note what it did.
settle(#play{pid = Pid} = Play) ->
    Monitor = monitor(process, Pid),
    try sys:get_state(Pid) of
        _ -> demonitor(Monitor, [flush])
    catch
        exit:_ -> receive {'DOWN', Monitor, process, Pid, _} -> ok end
    end,
    Delivered = erlang:trace_delivered(Pid),
    receive {trace_delivered, Pid, Delivered} -> ok end,
    logged(traced(Play)).

traced(#play{pid = Pid, now = Now, timers = Timers} = Play) ->
    receive
        {trace, Pid, call, {erlang, start_timer, [Time, Pid, Type, _]}} ->
            receive {trace, Pid, return_from, {erlang, start_timer, 4}, Timer} -> ok end,
            {Seconds, Label} = {(Time - ?HOUR_MS) div ?SPREAD, (Time - ?HOUR_MS) rem ?SPREAD},
            traced(Play#play{timers = Timers#{Timer => {Now + Seconds, Label, Type}}});
        {trace, Pid, call, {erlang, cancel_timer, [Timer | _]}} ->
            traced(Play#play{timers = maps:remove(Timer, Timers)})
    after 0 -> Play
    end.

logged(#play{pid = Pid, log = Log} = Play) ->
    receive
        {Pid, Entry} -> logged(Play#play{log = [Entry | Log]})
    after 0 -> Play
    end.

answered(#play{calls = Calls} = Play) ->
    lists:foldl(fun answered/2, Play, lists:sort(maps:to_list(Calls))).

answered({Number, Request}, #play{calls = Calls, log = Log} = Play) ->
    case gen_statem:wait_response(Request, 0) of
        timeout -> Play;
        {reply, Reply} -> Play#play{calls = maps:remove(Number, Calls), log = [[answered, Number, Reply] | Log]};
        {error, _} -> Play#play{calls = maps:remove(Number, Calls), log = [[answered, Number, died] | Log]}
    end.

json(List) when is_list(List) -> [$[, lists:join($,, [json(Each) || Each <- List]), $]];
json(Number) when is_integer(Number) -> integer_to_list(Number);
json(Other) -> io_lib:format("~p", [lists:flatten(io_lib:format("~0p", [Other]))]).

%% -- the machine -------------------------------------------------------------------------------------------

-record(data, {reactions, entering, limit, player, handled = 0, waiting = []}).

init({{_Slow, Enters, First, Start, Reactions, Entering, _Steps}, Limit, Player}) ->
    erlang:trace(self(), true, [call, {tracer, Player}]),
    put(enters, Enters),
    {_Move, _Postpone, Inserts, Actions, _Answer, _Pays, _Stop, _Farewell} = Start,
    Data = #data{reactions = Reactions, entering = Entering, limit = Limit, player = Player},
    {ok, First, Data, inserts(Inserts, 0) ++ timeouts(Actions, 0)}.

callback_mode() ->
    case get(enters) of
        true -> [handle_event_function, state_enter];
        false -> handle_event_function
    end.

handle_event(enter, Previous, State, #data{handled = N, waiting = Waiting} = Data) ->
    log(Data, [enter, Previous, State]),
    {Actions, Pays, Stop} = maps:get(State, Data#data.entering),
    case Stop of
        none ->
            {Left, Paid} = pay(Pays, N, Waiting),
            {keep_state, Data#data{waiting = Left}, Paid ++ timeouts(Actions, 16 * N + 4)};
        _ ->
            {stop, Stop}
    end;
handle_event(info, {timeout, _Timer, Type}, State, Data) ->
    %% OTP 25 forgets the timer when a timeout of no time that is due is started again with a time.
    log(Data, [astray, State, kind(Type)]),
    keep_state_and_data;
handle_event(Type, Content, State, #data{handled = Before} = Data) ->
    N = Before + 1,
    log(Data, [event, State, kind(Type), Content]),
    react(reaction(State, kind(Type), N, Data), Type, N, Data#data{handled = N}).

kind({call, _}) -> call;
kind(state_timeout) -> state;
kind(timeout) -> event;
kind({timeout, Name}) -> Name;
kind(Other) -> Other.

reaction(State, Kind, N, #data{reactions = Reactions, limit = Limit}) ->
    Nothing = {keep, false, 0, [], value, false, none, false},
    Choice = maps:get([State, Kind], Reactions, [Nothing]),
    case N =< Limit of
        true -> lists:nth(N rem length(Choice) + 1, Choice);
        false -> Nothing
    end.

react({_, _, _, _, _, _, crash, _}, _, _, _) ->
    error(crash);
react({_, _, _, _, _, _, Stop, true}, {call, From}, N, _) when Stop =/= none ->
    {stop_and_reply, Stop, [{reply, From, N}]};
react({_, _, _, _, _, _, Stop, _}, _, _, _) when Stop =/= none ->
    {stop, Stop};
react({Move, Postpone, Inserts, Actions, Answer, Pays, _, _}, Type, N, Data) ->
    {Left, Paid} = pay(Pays, N, Data#data.waiting),
    {Waiting, Replies} = answer(Type, Postpone, Answer, N),
    All = [{postpone, Postpone} | Paid] ++ Replies ++ inserts(Inserts, 16 * N) ++ timeouts(Actions, 16 * N),
    moved(Move, Data#data{waiting = Left ++ Waiting}, All).

moved(keep, Data, Actions) -> {keep_state, Data, Actions};
moved(repeat, Data, Actions) -> {repeat_state, Data, Actions};
moved(Next, Data, Actions) -> {next_state, Next, Data, Actions}.

pay(false, _, Waiting) -> {Waiting, []};
pay(true, N, Waiting) -> {[], [{reply, From, N} || From <- Waiting]}.

answer({call, From}, _, early, N) -> {[], [{reply, From, N}]};
answer({call, From}, false, value, N) -> {[], [{reply, From, N}]};
answer({call, From}, false, error, N) -> {[], [{reply, From, [error, N]}]};
answer({call, From}, false, later, _) -> {[From], []};
answer(_, _, _, _) -> {[], []}.

inserts(Count, Label) ->
    [{next_event, internal, Label + 8 + I} || I <- lists:seq(0, Count - 1)].

timeouts(Actions, Label) ->
    [timeout(Action, Label + I) || {I, Action} <- lists:zip(lists:seq(0, length(Actions) - 1), Actions)].

timeout({start, Which, 0}, Label) -> {type(Which), 0, Label};
timeout({start, Which, Seconds}, Label) -> {type(Which), ?HOUR_MS + Seconds * ?SPREAD + Label, Label};
timeout({update, Which, _}, Label) -> {type(Which), update, Label};
timeout({cancel, Which, _}, _) -> {type(Which), cancel}.

type(state) -> state_timeout;
type(event) -> timeout;
type(Name) -> {timeout, Name}.

terminate({crash, _Stack}, State, Data) -> log(Data, [terminate, State, crash]);
terminate(Reason, State, Data) -> log(Data, [terminate, State, Reason]).

log(#data{player = Player}, Entry) -> Player ! {self(), Entry}.
