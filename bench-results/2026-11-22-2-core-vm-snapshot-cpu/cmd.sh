#!/bin/sh
# In the root of the tree. BEFORE: a release build of 4da421b. AFTER: one of this commit's code of snapshots and loading.
# Each server in turn, order reversed every other round: keys, BGSAVE, kill, restart; CPU of all threads by /proc, in
# ticks of 10 ms. $1: bytes of a value, $2: keys, $3: rounds.
port=18020
cli() { redis-cli -p $port "$@"; }
ticks() { awk '{ print $14 + $15 }' /proc/$1/stat; }
start() {
    "$1" --port $port --shards 1 --dir $folder --save "" --enable-debug-command yes --rdbcompression ${COMPRESS:-no} \
        >> $folder/log 2>&1 &
    pid=$!
    until [ "$(cli PING 2> /dev/null)" = PONG ]; do sleep 0.03; done
}
for round in $(seq $3); do
    for server in before:$BEFORE after:$AFTER control:$BEFORE; do
        folder=$(mktemp -d)
        start ${server#*:}
        cli DEBUG POPULATE $2 key $1 > /dev/null
        sleep 0.3
        begun=$(ticks $pid)
        cli BGSAVE > /dev/null
        until cli INFO persistence | grep -q rdb_bgsave_in_progress:0; do sleep 0.1; done
        save=$(($(ticks $pid) - begun))
        kill -9 $pid
        wait $pid 2> /dev/null
        start ${server#*:}
        echo "$1,$2,$round,${server%%:*},${save}0,$(stat -c %s $folder/dump.rdb),$(ticks $pid)0"
        kill -9 $pid
        wait $pid 2> /dev/null
        rm -r $folder
    done
done
