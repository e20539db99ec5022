complete -c corering-check -l truncate-to-time -d 'Takes back all that is later than this: unix seconds or RFC 3339. Needs `aof-timestamp-enabled`' -r
complete -c corering-check -l json -d 'Tells what was found as one line of JSON'
complete -c corering-check -l fix -d 'Repairs: keeps all that stands before what is damaged'
complete -c corering-check -l yes -d 'Answers yes where only what is broken, or what is later than the time, is lost'
complete -c corering-check -l lose-what-follows -d 'With --yes: also where what can be read behind the damage is lost'
complete -c corering-check -s h -l help -d 'Print help (see more with \'--help\')'
complete -c corering-check -s V -l version -d 'Print version'
