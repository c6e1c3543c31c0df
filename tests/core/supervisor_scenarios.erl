%% Acts out the scenarios of supervisor_scenarios.py with OTP's own supervisor, and says what could be seen.
%%
%%     supervisor_scenarios:main([In, Out])
%%
%% In: one list of scenarios as a term. Out: a line of text for what was seen after each step, an empty line after each
%% scenario.
%%
%% Nothing sleeps: who has to wait asks until it is so. The table `world` is what all processes of a scenario share:
%% who has been started, how often, and what the children told.
-module(supervisor_scenarios).
-export([main/1, start_child/1, start_tree/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-define(PERIOD, 100000).
-record(tree, {strategy, intensity, auto_shutdown, children}).
-record(child, {id, restart, significant, shutdown, traps, stubborn, refuses, refusal, below}).

main([In, Out]) ->
    logger:set_primary_config(level, none),
    process_flag(trap_exit, true),
    {ok, [Scenarios]} = file:consult(In),
    ok = file:write_file(Out, [[[Line, "\n"] || Line <- play(One) ++ [""]] || One <- Scenarios]),
    halt(0).

play({scenario, Tree, Steps}) ->
    ets:new(world, [named_table, public, ordered_set]),
    Lines = case catch start_tree(root, Tree) of
        {ok, Root} -> steps(Root, "ok", Steps);
        {error, Reason} -> [line([events(), failure(Reason)])]
    end,
    ets:delete(world),
    flush(),
    Lines.

%% What was seen after an answer, and after each of the steps that follow.
steps(Root, Answer, Steps) ->
    until(fun() -> settled(Root) end),
    case is_process_alive(Root) of
        false -> [line([events(), Answer, ["ended: ", await_end(Root)]])];
        true ->
            Line = line([events(), Answer, tree(Root)]),
            case Steps of
                [] -> [Line];
                [Step | More] -> [Line | steps(Root, do(Root, Step), More)]
            end
    end.

%% -- steps ------------------------------------------------------------------------------------------------

do(_, {leave, Id, Reason}) -> hit(Id, fun(Pid) -> gen_server:cast(Pid, {leave, reason(Reason)}) end), "";
do(_, {signal, Id, Reason}) -> hit(Id, fun(Pid) -> exit(Pid, reason(Reason)) end), "";
do(Root, {ask, Name, Method, About}) -> answer(await(ask(supervisor(Root, Name), Method, About)));
do(Root, {burst, Name, Steps}) ->
    case supervisor(Root, Name) of
        undefined -> "gone";
        Supervisor -> burst(Root, Supervisor, Steps)
    end;
do(Root, {'end', Reason}) -> exit(Root, reason(Reason)), await_end(Root), "".

%% The supervisor is held up until all has arrived in its mailbox, one after the other.
burst(Root, Supervisor, Steps) ->
    ok = sys:suspend(Supervisor),
    Asked = [in_order(Root, Supervisor, Step) || Step <- Steps],
    ok = sys:resume(Supervisor),
    lists:join(", ", [Text || Request <- Asked, Request =/= none, (Text = answer(await(Request))) =/= []]).

in_order(_, Supervisor, {ask, _, Method, About}) ->
    Request = ask(Supervisor, Method, About),
    {message_queue_len, _} = process_info(Supervisor, message_queue_len), % who answers this has the request, too
    Request;
in_order(Root, Supervisor, Step) ->
    Pid = current(element(2, Step)),
    do(Root, Step),
    Pid =/= undefined andalso not is_process_alive(Pid) andalso until(fun() -> has_exit(Supervisor, Pid) end),
    none.

has_exit(Supervisor, Pid) ->
    {messages, Messages} = process_info(Supervisor, messages),
    lists:any(fun({'EXIT', One, _}) -> One =:= Pid; (_) -> false end, Messages).

%% Do something to a child, if it lives, and wait until it is dead or has decided not to care: then it answers a call that
%% servers and supervisors know.
hit(Id, Do) ->
    case current(Id) of
        undefined -> ok;
        Pid -> Do(Pid), catch gen_server:call(Pid, count_children, infinity)
    end.

ask(undefined, _, _) -> gone;
ask(Supervisor, Method, []) -> {Method, gen_server:send_request(Supervisor, Method)};
ask(Supervisor, Method, [#child{} = Child]) -> {Method, gen_server:send_request(Supervisor, {Method, spec(Child)})};
ask(Supervisor, Method, [Id]) -> {Method, gen_server:send_request(Supervisor, {Method, Id})}.

await(gone) -> gone;
await({Method, Request}) ->
    case gen_server:wait_response(Request, infinity) of
        {reply, Reply} -> {Method, Reply};
        {error, _} -> gone
    end.

answer(gone) -> "gone";
answer({which_children, Children}) -> table(Children, fun(_) -> "" end);
answer({count_children, Counts}) -> counts(Counts);
answer({_, ok}) -> "ok";
answer({_, {ok, Pid}}) when is_pid(Pid) -> "ok";
answer({_, {error, {already_started, _}}}) -> "already_started";
answer({start_child, {error, {bad_combination, _}}}) -> "bad_spec";
answer({start_child, {error, {_, _}}}) -> "start_failed";
answer({_, {error, Word}}) when Word =:= not_found; Word =:= running; Word =:= restarting; Word =:= already_present ->
    atom_to_list(Word);
answer({restart_child, {error, _}}) -> "start_failed".

failure({shutdown, {failed_to_start_child, Id, Reason}}) -> ["failed ", atom_to_list(Id), failure(Id, Reason)];
failure(Reason) -> wrong(Reason).

failure(n, Reason) -> ["/", failure(Reason)];
failure(_, _) -> "".

wrong({start_spec, {duplicate_child_name, _}}) -> "already_present";
wrong({start_spec, {bad_combination, _}}) -> "bad_spec".

%% -- what can be seen -------------------------------------------------------------------------------------

line(Parts) -> lists:join(" | ", Parts).

%% All that lives is in the tables, and all that is in the tables lives.
settled(Root) ->
    Living = [Pid || [Pid] <- ets:match(world, {{pid, '$1'}, '_'}), is_process_alive(Pid)],
    case catch walk(Root) of
        Pids when is_list(Pids) -> lists:sort(Pids) =:= lists:sort(Living);
        _ -> Living =:= []
    end.

walk(Supervisor) ->
    [Supervisor | lists:append([walk(Pid, Type) || {_, Pid, Type, _} <- supervisor:which_children(Supervisor)])].

walk(undefined, _) -> [];
walk(restarting, _) -> [restarting];
walk(Pid, supervisor) -> walk(Pid);
walk(Pid, worker) -> [Pid].

tree(Supervisor) ->
    Children = supervisor:which_children(Supervisor),
    [table(Children, fun(Pid) -> ["(", tree(Pid), ")"] end), " ", counts(supervisor:count_children(Supervisor))].

%% (OTP's table begins with the last child.)
table(Children, Below) -> lists:join(" ", [entry(One, Below) || One <- lists:reverse(Children)]).

entry({Id, undefined, _, _}, _) -> [atom_to_list(Id), "=stopped"];
entry({Id, restarting, _, _}, _) -> [atom_to_list(Id), "=restarting"];
entry({Id, Pid, supervisor, _}, Below) -> [atom_to_list(Id), "=running", Below(Pid)];
entry({Id, _, worker, _}, _) -> [atom_to_list(Id), "=running"].

counts(Counts) ->
    [io_lib:format("~b", [proplists:get_value(specs, Counts)]) |
     [io_lib:format("/~b", [proplists:get_value(Key, Counts)]) || Key <- [active, supervisors, workers]]].

events() ->
    Events = [Text || [Text] <- ets:match(world, {{event, '_'}, '$1'})],
    ets:match_delete(world, {{event, '_'}, '_'}),
    lists:join(", ", Events).

await_end(Root) ->
    case ets:lookup(world, ended) of
        [{ended, Word}] -> Word;
        [] ->
            receive {'EXIT', Root, Reason} ->
                ets:insert(world, {ended, word(Reason)}),
                word(Reason)
            end
    end.

until(True) ->
    case True() of
        true -> ok;
        false -> erlang:yield(), until(True)
    end.

flush() -> receive _ -> flush() after 0 -> ok end.

%% -- words ------------------------------------------------------------------------------------------------

reason('shutdown done') -> {shutdown, done};
reason(Reason) -> Reason.

word({shutdown, done}) -> "shutdown done";
word(Reason) when is_atom(Reason) -> atom_to_list(Reason);
word({raised, _}) -> "raise".

%% -- the tree ---------------------------------------------------------------------------------------------

current(Id) ->
    case ets:lookup(world, {current, Id}) of
        [{_, Pid}] -> case is_process_alive(Pid) of true -> Pid; false -> undefined end;
        [] -> undefined
    end.

supervisor(Root, root) -> Root;
supervisor(_, Name) -> current(Name).

spec(#child{id = Id, restart = Restart, significant = Significant, shutdown = Shutdown} = Child) ->
    {Start, Type} = case Child#child.below of
        none -> {{?MODULE, start_child, [Child]}, worker};
        Below -> {{?MODULE, start_tree, [Id, Below]}, supervisor}
    end,
    #{id => Id, start => Start, restart => Restart, significant => Significant, shutdown => Shutdown, type => Type}.

start_child(Child) -> gen_server:start_link(?MODULE, Child, []).
start_tree(Name, Tree) -> supervisor:start_link(?MODULE, {Name, Tree}).

init({Name, #tree{} = Tree}) ->
    enter(Name),
    {ok, {#{strategy => Tree#tree.strategy, intensity => Tree#tree.intensity, period => ?PERIOD,
            auto_shutdown => Tree#tree.auto_shutdown},
          [spec(Child) || Child <- Tree#tree.children]}};
init(#child{id = Id} = Child) ->
    case lists:member(ets:update_counter(world, {starts, Id}, 1, {{starts, Id}, 0}), Child#child.refuses) of
        true -> tell(["refuse ", atom_to_list(Id)]), refuse(Child#child.refusal);
        false ->
            process_flag(trap_exit, Child#child.traps),
            enter(Id),
            tell(["start ", atom_to_list(Id)]),
            {ok, Child}
    end.

refuse(stop) -> {stop, no_device};
refuse(normal) -> {stop, normal};
refuse(raise) -> error(no_device).

handle_call(count_children, _, State) -> {reply, ok, State}.

handle_cast({leave, raise}, Child) -> put(leaves, true), error(raised, [Child]);
handle_cast({leave, Reason}, Child) -> leave(Reason, Child).

handle_info({'EXIT', _, Reason}, Child) -> leave(Reason, Child).

leave(Reason, Child) -> put(leaves, true), {stop, Reason, Child}.

terminate(Reason, #child{id = Id, traps = true, stubborn = Stubborn}) ->
    tell(["stop ", atom_to_list(Id), " ", word(Reason)]),
    Stubborn andalso Reason =:= shutdown andalso get(leaves) =:= undefined andalso receive never -> ok end;
terminate(_, _) -> ok.

enter(Id) -> ets:insert(world, [{{pid, self()}, Id}, {{current, Id}, self()}]).

tell(What) ->
    Number = ets:update_counter(world, told, 1, {told, 0}),
    ets:insert(world, {{event, Number}, What}).
