# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_corering_bench_global_optspecs
    string join \n h/help V/version
end

function __fish_corering_bench_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_corering_bench_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_corering_bench_using_subcommand
    set -l cmd (__fish_corering_bench_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c corering-bench -n "__fish_corering_bench_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c corering-bench -n "__fish_corering_bench_needs_command" -s V -l version -d 'Print version'
complete -c corering-bench -n "__fish_corering_bench_needs_command" -f -a "run" -d 'Measure one load'
complete -c corering-bench -n "__fish_corering_bench_needs_command" -f -a "sweep" -d 'Measure at rising rates, and find the knee'
complete -c corering-bench -n "__fish_corering_bench_needs_command" -f -a "compare" -d 'Measure two servers in turns, and say whether they differ'
complete -c corering-bench -n "__fish_corering_bench_needs_command" -f -a "fill" -d 'Write every key once'
complete -c corering-bench -n "__fish_corering_bench_needs_command" -f -a "report" -d 'Turn results of this and other tools into one report'
complete -c corering-bench -n "__fish_corering_bench_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -s s -l server -d 'HOST:PORT, [IPV6]:PORT or unix:PATH' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l server-pid -d 'Process on this machine whose CPU time is told: its id, or `auto` to ask the server' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -s r -l rate -d 'Open loop: requests per second of all connections together' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l arrivals -d 'How requests of an open loop are spaced' -r -f -a "constant\t'At equal distances'
poisson\t'At random, independent of each other: the sum of many independent clients'"
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l ramp -d 'Let the rate rise for so long, from --ramp-from' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l ramp-from -d 'Where a ramp begins' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -s w -l warmup -d 'Load before measuring' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -s d -l duration -d 'How long to measure' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -s n -l requests -d 'Measure so many requests instead' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l user -d 'User, for AUTH' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l password -d 'Password, for AUTH; better in CORERING_BENCH_PASSWORD, since command lines can be seen by others' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l db -d 'Database, for SELECT' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l resp -d 'Version of the protocol' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l timeout -d 'How long to wait for a connection, a reply, and for what is outstanding at the end' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -s c -l connections -d 'Connections, of all threads together' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -s t -l threads -d 'Threads; one is enough for some hundred thousand requests per second' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -s P -l pipeline -d 'Requests outstanding on a connection at most' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l spin -d 'So many microseconds before a request is due, stop sleeping: more exact, and takes the CPU' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l cpus -d 'CPUs for the threads in turn, such as 2,3 or 4-7' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l mix -d 'Known commands and weights, such as get:9,set:1 [default: get:9,set:1]' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l command -d 'A command with places to fill; may be given several times' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l ratio -d 'Weight of each --command, in their order' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l name -d 'Name of each --command in tables, in their order' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l keys -d 'Number of keys' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l key-prefix -d 'What keys begin with' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l key-distribution -d 'uniform, zipf:THETA, sequential or trace:FILE (a key in each line, and perhaps the value\'s size)' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l hash-tags -d 'Put a hash tag before keys, {7}key:…, so that those of a command are in one slot [default: yes in cluster mode, else no; the keys of a trace have none]' -r -f -a "true\t''
false\t''"
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l value-size -d 'Size of values in bytes' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l ttl -d 'Seconds to live: a number, or a range such as 60-120; SET of a mix then has EX' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l seed -d 'Seed of all that is random' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -s o -l out -d 'Folder for all forms: report.html, result.json, result.csv, series.csv, latency_*.hgrm' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l html -d 'The report as a page; here and below, - is the output, and then nothing else is' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l json -d 'The report as JSON' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l csv -d 'A line for each command' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l series-csv -d 'A line for each interval' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l hgrm -d 'Percentile distributions: what their paths begin with' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l title -d 'Title of the report' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -l cluster -d 'Send each command to the node that has its key, and follow redirections'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -s q -l quiet -d 'Print nothing but warnings and errors'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -s s -l server -d 'HOST:PORT, [IPV6]:PORT or unix:PATH' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l server-pid -d 'Process on this machine whose CPU time is told: its id, or `auto` to ask the server' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l rates -d 'Rates, such as 10k,20k,40k' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l of-peak -d 'Measure a closed loop first, then these percentages of its throughput' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l arrivals -d 'How requests are spaced' -r -f -a "constant\t'At equal distances'
poisson\t'At random, independent of each other: the sum of many independent clients'"
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l p99-max -d 'A rate is held if its p99 is not longer [default: ten times that of the lowest rate]' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -s w -l warmup -d 'Load before measuring, at each rate' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -s d -l duration -d 'How long to measure at each rate' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l user -d 'User, for AUTH' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l password -d 'Password, for AUTH; better in CORERING_BENCH_PASSWORD, since command lines can be seen by others' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l db -d 'Database, for SELECT' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l resp -d 'Version of the protocol' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l timeout -d 'How long to wait for a connection, a reply, and for what is outstanding at the end' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -s c -l connections -d 'Connections, of all threads together' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -s t -l threads -d 'Threads; one is enough for some hundred thousand requests per second' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -s P -l pipeline -d 'Requests outstanding on a connection at most' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l spin -d 'So many microseconds before a request is due, stop sleeping: more exact, and takes the CPU' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l cpus -d 'CPUs for the threads in turn, such as 2,3 or 4-7' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l mix -d 'Known commands and weights, such as get:9,set:1 [default: get:9,set:1]' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l command -d 'A command with places to fill; may be given several times' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l ratio -d 'Weight of each --command, in their order' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l name -d 'Name of each --command in tables, in their order' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l keys -d 'Number of keys' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l key-prefix -d 'What keys begin with' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l key-distribution -d 'uniform, zipf:THETA, sequential or trace:FILE (a key in each line, and perhaps the value\'s size)' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l hash-tags -d 'Put a hash tag before keys, {7}key:…, so that those of a command are in one slot [default: yes in cluster mode, else no; the keys of a trace have none]' -r -f -a "true\t''
false\t''"
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l value-size -d 'Size of values in bytes' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l ttl -d 'Seconds to live: a number, or a range such as 60-120; SET of a mix then has EX' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l seed -d 'Seed of all that is random' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -s o -l out -d 'Folder for all forms: report.html, result.json, result.csv, series.csv, latency_*.hgrm' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l html -d 'The report as a page; here and below, - is the output, and then nothing else is' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l json -d 'The report as JSON' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l csv -d 'A line for each command' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l series-csv -d 'A line for each interval' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l hgrm -d 'Percentile distributions: what their paths begin with' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l title -d 'Title of the report' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -l cluster -d 'Send each command to the node that has its key, and follow redirections'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -s q -l quiet -d 'Print nothing but warnings and errors'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand sweep" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l a -d 'The one that is known: HOST:PORT, [IPV6]:PORT or unix:PATH' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l b -d 'The one that is compared with it' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l pid-a -d 'Process of A on this machine, for its CPU time: its id, or `auto` to ask the server' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l pid-b -d 'Process of B likewise' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l rounds -d 'Rounds of A, B and A again' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l confidence -d 'Share of the intervals, 0 to 1' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -s r -l rate -d 'Open loop: requests per second of all connections together' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l arrivals -d 'How requests of an open loop are spaced' -r -f -a "constant\t'At equal distances'
poisson\t'At random, independent of each other: the sum of many independent clients'"
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -s w -l warmup -d 'Load before measuring, each time' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -s d -l duration -d 'How long to measure, each time' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l user -d 'User, for AUTH' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l password -d 'Password, for AUTH; better in CORERING_BENCH_PASSWORD, since command lines can be seen by others' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l db -d 'Database, for SELECT' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l resp -d 'Version of the protocol' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l timeout -d 'How long to wait for a connection, a reply, and for what is outstanding at the end' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -s c -l connections -d 'Connections, of all threads together' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -s t -l threads -d 'Threads; one is enough for some hundred thousand requests per second' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -s P -l pipeline -d 'Requests outstanding on a connection at most' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l spin -d 'So many microseconds before a request is due, stop sleeping: more exact, and takes the CPU' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l cpus -d 'CPUs for the threads in turn, such as 2,3 or 4-7' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l mix -d 'Known commands and weights, such as get:9,set:1 [default: get:9,set:1]' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l command -d 'A command with places to fill; may be given several times' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l ratio -d 'Weight of each --command, in their order' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l name -d 'Name of each --command in tables, in their order' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l keys -d 'Number of keys' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l key-prefix -d 'What keys begin with' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l key-distribution -d 'uniform, zipf:THETA, sequential or trace:FILE (a key in each line, and perhaps the value\'s size)' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l hash-tags -d 'Put a hash tag before keys, {7}key:…, so that those of a command are in one slot [default: yes in cluster mode, else no; the keys of a trace have none]' -r -f -a "true\t''
false\t''"
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l value-size -d 'Size of values in bytes' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l ttl -d 'Seconds to live: a number, or a range such as 60-120; SET of a mix then has EX' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l seed -d 'Seed of all that is random' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -s o -l out -d 'Folder for all forms: report.html, result.json, result.csv, series.csv, latency_*.hgrm' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l html -d 'The report as a page; here and below, - is the output, and then nothing else is' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l json -d 'The report as JSON' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l csv -d 'A line for each command' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l series-csv -d 'A line for each interval' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l hgrm -d 'Percentile distributions: what their paths begin with' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l title -d 'Title of the report' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -l cluster -d 'Send each command to the node that has its key, and follow redirections'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -s q -l quiet -d 'Print nothing but warnings and errors'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand compare" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand fill" -s s -l server -d 'HOST:PORT, [IPV6]:PORT or unix:PATH' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand fill" -l keys -d 'Number of keys' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand fill" -l key-prefix -d 'What keys begin with' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand fill" -l value-size -d 'Size of values in bytes' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand fill" -l ttl -d 'Seconds to live: a number, or a range such as 60-120' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand fill" -l hash-tags -d 'Put a hash tag before keys, {7}key:…, so that those of a command are in one slot [default: yes in cluster mode, else no, as with `run`]' -r -f -a "true\t''
false\t''"
complete -c corering-bench -n "__fish_corering_bench_using_subcommand fill" -l command -d 'Another command than SET {key} {value}' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand fill" -s c -l connections -d 'Connections' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand fill" -s P -l pipeline -d 'Requests outstanding on a connection at most' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand fill" -l seed -d 'Seed of the values' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand fill" -l user -d 'User, for AUTH' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand fill" -l password -d 'Password, for AUTH; better in CORERING_BENCH_PASSWORD, since command lines can be seen by others' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand fill" -l db -d 'Database, for SELECT' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand fill" -l resp -d 'Version of the protocol' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand fill" -l timeout -d 'How long to wait for a connection, a reply, and for what is outstanding at the end' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand fill" -s q -l quiet -d 'Print nothing but errors'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand fill" -l cluster -d 'Send each command to the node that has its key, and follow redirections'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand fill" -s h -l help -d 'Print help'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand report" -s o -l out -d 'Folder for all forms: report.html, result.json, result.csv, series.csv, latency_*.hgrm' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand report" -l html -d 'The report as a page; here and below, - is the output, and then nothing else is' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand report" -l json -d 'The report as JSON' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand report" -l csv -d 'A line for each command' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand report" -l series-csv -d 'A line for each interval' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand report" -l hgrm -d 'Percentile distributions: what their paths begin with' -r -F
complete -c corering-bench -n "__fish_corering_bench_using_subcommand report" -l title -d 'Title of the report' -r
complete -c corering-bench -n "__fish_corering_bench_using_subcommand report" -s q -l quiet -d 'Print nothing but warnings and errors'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand report" -s h -l help -d 'Print help'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand help; and not __fish_seen_subcommand_from run sweep compare fill report help" -f -a "run" -d 'Measure one load'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand help; and not __fish_seen_subcommand_from run sweep compare fill report help" -f -a "sweep" -d 'Measure at rising rates, and find the knee'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand help; and not __fish_seen_subcommand_from run sweep compare fill report help" -f -a "compare" -d 'Measure two servers in turns, and say whether they differ'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand help; and not __fish_seen_subcommand_from run sweep compare fill report help" -f -a "fill" -d 'Write every key once'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand help; and not __fish_seen_subcommand_from run sweep compare fill report help" -f -a "report" -d 'Turn results of this and other tools into one report'
complete -c corering-bench -n "__fish_corering_bench_using_subcommand help; and not __fish_seen_subcommand_from run sweep compare fill report help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
