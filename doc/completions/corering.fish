complete -c corering -l test-memory -d 'Writes and reads so much memory in patterns' -r
complete -c corering -l bind -d 'Addresses to listen on' -r -f
complete -c corering -l bind-source-addr -d 'Local address of outgoing connections (to a primary, to cluster nodes)' -r -f
complete -c corering -l protected-mode -d 'Clients from other machines are refused as long as no password is set and every address is listened on' -r -f -a "yes\t''
no\t''"
complete -c corering -l port -d 'Port for plain TCP' -r -f
complete -c corering -l tcp-backlog -d 'Connections that may wait to be accepted, per listening socket' -r -f
complete -c corering -l unixsocket -d 'Path of a Unix socket to listen on' -r -F
complete -c corering -l unixsocketperm -d 'Permissions of the Unix socket' -r -f
complete -c corering -l unixsocketgroup -d 'Group of the Unix socket' -r -f
complete -c corering -l timeout -d 'A client that sends nothing for so many seconds is disconnected' -r -f
complete -c corering -l tcp-keepalive -d 'Seconds of silence after which TCP asks whether the other side is still there' -r -f
complete -c corering -l socket-mark-id -d 'Mark (SO_MARK) of listening sockets, for packet filters' -r -f
complete -c corering -l maxclients -d 'Clients connected at the same time' -r -f
complete -c corering -l shards -d 'Shards of the keyspace, one pinned thread each' -r -f
complete -c corering -l core-ports -d 'First of the ports on which each core is reached directly' -r -f
complete -c corering -l connection-steering -d 'A connection whose commands go overwhelmingly to one other core moves there' -r -f -a "yes\t''
no\t''"
complete -c corering -l server_cpulist -d 'CPUs to run the shards on, as 0-3 or 0,2,4' -r -f
complete -c corering -l daemonize -d 'Runs in the background' -r -f -a "yes\t''
no\t''"
complete -c corering -l supervised -d 'Who watches over the process and is told when it is ready' -r -f -a "upstart\t''
systemd\t''
auto\t''
no\t''"
complete -c corering -l pidfile -d 'File for the process id' -r -F
complete -c corering -l loglevel -d 'How much the log tells' -r -f -a "debug\t''
verbose\t''
notice\t''
warning\t''"
complete -c corering -l logfile -d 'File for the log' -r -F
complete -c corering -l syslog-enabled -d 'Also logs to syslog' -r -f -a "yes\t''
no\t''"
complete -c corering -l syslog-ident -d 'Name of this server in syslog' -r -f
complete -c corering -l syslog-facility -d 'Facility in syslog' -r -f -a "user\t''
local0\t''
local1\t''
local2\t''
local3\t''
local4\t''
local5\t''
local6\t''
local7\t''"
complete -c corering -l databases -d 'Number of databases, chosen by SELECT from 0 up' -r -f
complete -c corering -l dir -d 'Working directory' -r -f -a "(__fish_complete_directories)"
complete -c corering -l oom-score-adj -d 'Adjusts the score of the kernel\'s out-of-memory killer' -r -f -a "no\t''
yes\t''
relative\t''
absolute\t''"
complete -c corering -l oom-score-adj-values -d 'Scores as a primary, as a replica and in background work' -r -f
complete -c corering -l shutdown-timeout -d 'Seconds to wait for replicas that lag, when shutting down' -r -f
complete -c corering -l shutdown-on-sigint -d 'How SIGINT shuts down' -r -f -a "default\t''
save\t''
nosave\t''
now\t''
force\t''"
complete -c corering -l shutdown-on-sigterm -d 'How SIGTERM shuts down' -r -f -a "default\t''
save\t''
nosave\t''
now\t''
force\t''"
complete -c corering -l hz -d 'Times a second that background work (timeouts, statistics) is looked after' -r -f
complete -c corering -l dynamic-hz -d 'Looks after background work more often when many clients are connected' -r -f -a "yes\t''
no\t''"
complete -c corering -l disable-thp -d 'Keeps the kernel from backing the memory of the process with huge pages by itself' -r -f -a "yes\t''
no\t''"
complete -c corering -l availability-zone -d 'Where the server stands, as told by HELLO and INFO' -r -f
complete -c corering -l requirepass -d 'Password that clients must give with AUTH' -r -f
complete -c corering -l aclfile -d 'File with users and their rights' -r -F
complete -c corering -l acllog-max-len -d 'Entries kept by ACL LOG' -r -f
complete -c corering -l acl-pubsub-default -d 'Channels that a new user may use' -r -f -a "allchannels\t''
resetchannels\t''"
complete -c corering -l enable-protected-configs -d 'Whether CONFIG SET may change directives with which a client could write files' -r -f -a "no\t''
yes\t''
local\t''"
complete -c corering -l enable-debug-command -d 'Whether DEBUG may be used' -r -f -a "no\t''
yes\t''
local\t''"
complete -c corering -l enable-module-command -d 'Whether a client may try to load a module, of which none is supported' -r -f -a "no\t''
yes\t''
local\t''"
complete -c corering -l hide-user-data-from-log -d 'Keeps what clients store out of the log' -r -f -a "yes\t''
no\t''"
complete -c corering -l client-query-buffer-limit -d 'Bytes of one request that may pile up before it is complete' -r -f
complete -c corering -l client-output-buffer-limit -d 'Output that a client may leave unread, by class (normal, replica, pubsub)' -r -f
complete -c corering -l proto-max-bulk-len -d 'Longest single value in a request' -r -f
complete -c corering -l maxmemory-clients -d 'Memory of all clients together, as a size or as a share of maxmemory' -r -f
complete -c corering -l tracking-table-max-keys -d 'Keys remembered for client-side caching' -r -f
complete -c corering -l maxmemory -d 'Memory for data and buffers of all cores together, as a size or as a share of the machine\'s' -r -f
complete -c corering -l maxmemory-policy -d 'Which keys leave when memory is full' -r -f -a "volatile-lru\t''
volatile-lfu\t''
volatile-random\t''
volatile-ttl\t''
allkeys-lru\t''
allkeys-lfu\t''
allkeys-random\t''
noeviction\t''
volatile-lrm\t''
allkeys-lrm\t''
allkeys-lhd\t''"
complete -c corering -l maxmemory-samples -d 'Keys looked at to find one that may leave' -r -f
complete -c corering -l maxmemory-eviction-tenacity -d 'How hard eviction tries within one command, 0 to 100' -r -f
complete -c corering -l lfu-log-factor -d 'How slowly the frequency counter of a key grows' -r -f
complete -c corering -l lfu-decay-time -d 'Minutes after which an unused key\'s frequency counter is decremented' -r -f
complete -c corering -l active-expire-effort -d 'How much CPU goes into finding keys that reached their end, 1 to 10' -r -f
complete -c corering -l hash-max-listpack-entries -d 'A hash of up to so many fields is kept compact' -r -f
complete -c corering -l hash-max-listpack-value -d 'A hash is kept compact while every field and value is at most so long' -r -f
complete -c corering -l list-max-listpack-size -d 'Size of a list\'s nodes' -r -f
complete -c corering -l list-compress-depth -d 'Nodes at both ends of a list that stay uncompressed' -r -f
complete -c corering -l set-max-intset-entries -d 'A set of integers up to this size is kept as an array' -r -f
complete -c corering -l set-max-listpack-entries -d 'A set of up to so many members is a "listpack", as in Redis 7.2 with 128' -r -f
complete -c corering -l set-max-listpack-value -d 'A set is kept compact while every member is at most so long' -r -f
complete -c corering -l zset-max-listpack-entries -d 'A sorted set of up to so many members is kept compact' -r -f
complete -c corering -l zset-max-listpack-value -d 'A sorted set is kept compact while every member is at most so long' -r -f
complete -c corering -l stream-node-max-bytes -d 'Bytes in one node of a stream' -r -f
complete -c corering -l stream-node-max-entries -d 'Entries in one node of a stream' -r -f
complete -c corering -l hll-sparse-max-bytes -d 'A HyperLogLog is kept sparse up to this size' -r -f
complete -c corering -l stream-idmp-duration -d 'Seconds that a stream remembers the id of a message, so that it is added once' -r -f
complete -c corering -l stream-idmp-maxsize -d 'Such ids remembered per producer' -r -f
complete -c corering -l admin-port -d 'Port of metrics, probes and the live page, by HTTP' -r -f
complete -c corering -l admin-bind -d 'Addresses on which that port is opened' -r -f
complete -c corering -l slowlog-log-slower-than -d 'Commands that take longer than so many microseconds go into the slow log' -r -f
complete -c corering -l slowlog-stages -d 'Tells of each entry of the slow log where its time went, in a seventh element' -r -f -a "yes\t''
no\t''"
complete -c corering -l slowlog-max-len -d 'Entries of the slow log' -r -f
complete -c corering -l slowlog-entry-max-argc -d 'Arguments kept of a command in the slow log' -r -f
complete -c corering -l slowlog-entry-max-string-len -d 'Bytes kept of an argument in the slow log' -r -f
complete -c corering -l commandlog-request-larger-than -d 'Requests of more than so many bytes go into a log of their own' -r -f
complete -c corering -l commandlog-large-request-max-len -d 'Entries of the log of large requests' -r -f
complete -c corering -l commandlog-reply-larger-than -d 'Replies of more than so many bytes go into a log of their own' -r -f
complete -c corering -l commandlog-large-reply-max-len -d 'Entries of the log of large replies' -r -f
complete -c corering -l key-memory-histograms -d 'Keeps histograms of the memory that keys take' -r -f -a "yes\t''
no\t''"
complete -c corering -l latency-monitor-threshold -d 'Events that take at least so many milliseconds are kept by LATENCY' -r -f
complete -c corering -l stall-slower-than -d 'A pass of a core that takes longer than so many microseconds is a stall' -r -f
complete -c corering -l latency-tracking -d 'Keeps latency histograms per command and stage' -r -f -a "yes\t''
no\t''"
complete -c corering -l latency-tracking-info-percentiles -d 'Percentiles of INFO latencystats' -r -f
complete -c corering -l notify-keyspace-events -d 'Events about keys that are published' -r -f
complete -c corering -l save -d 'A snapshot is taken after so many seconds if so many writes happened' -r -f
complete -c corering -l dbfilename -d 'Name of the snapshot, in dir' -r -f
complete -c corering -l rdbcompression -d 'Compresses texts in the snapshot' -r -f -a "yes\t''
no\t''"
complete -c corering -l rdbchecksum -d 'Ends the snapshot with a checksum and looks at it when loading' -r -f -a "yes\t''
no\t''"
complete -c corering -l stop-writes-on-bgsave-error -d 'Refuses writes while snapshots fail' -r -f -a "yes\t''
no\t''"
complete -c corering -l rdb-save-incremental-fsync -d 'Syncs the snapshot bit by bit while writing it' -r -f -a "yes\t''
no\t''"
complete -c corering -l rdb-del-sync-files -d 'Removes snapshots that came from or went to a replica, where nothing else persists' -r -f -a "yes\t''
no\t''"
complete -c corering -l appendonly -d 'Logs every change' -r -f -a "yes\t''
no\t''"
complete -c corering -l appendfilename -d 'Beginning of the names of the log\'s files' -r -f
complete -c corering -l appenddirname -d 'Directory of the log, in dir' -r -f
complete -c corering -l appendfsync -d 'When the log is synced' -r -f -a "everysec\t''
always\t''
no\t''"
complete -c corering -l no-appendfsync-on-rewrite -d 'Does not sync the log while it is rewritten or a snapshot is taken' -r -f -a "yes\t''
no\t''"
complete -c corering -l auto-aof-rewrite-percentage -d 'The log is rewritten when it has grown by so many per cent' -r -f
complete -c corering -l auto-aof-rewrite-min-size -d 'The log is not rewritten below this size' -r -f
complete -c corering -l aof-load-truncated -d 'Loads a log whose end is cut off' -r -f -a "yes\t''
no\t''"
complete -c corering -l aof-load-corrupt-tail-max-size -d 'Loads a log whose last bytes, up to so many, are damaged' -r -f
complete -c corering -l aof-use-rdb-preamble -d 'A rewritten log begins with a snapshot' -r -f -a "yes\t''
no\t''"
complete -c corering -l aof-timestamp-enabled -d 'Writes the time into the log' -r -f -a "yes\t''
no\t''"
complete -c corering -l aof-rewrite-incremental-fsync -d 'Syncs a rewritten log bit by bit while writing it' -r -f -a "yes\t''
no\t''"
complete -c corering -l aof-disable-auto-gc -d 'Keeps the files of the log that a rewrite replaced' -r -f -a "yes\t''
no\t''"
complete -c corering -l replicaof -d 'Follows another server' -r -f
complete -c corering -l masterauth -d 'Password for the primary' -r -f
complete -c corering -l masteruser -d 'User at the primary' -r -f
complete -c corering -l replica-serve-stale-data -d 'A replica without its primary answers from the data it has' -r -f -a "yes\t''
no\t''"
complete -c corering -l replica-read-only -d 'A replica refuses writes of clients' -r -f -a "yes\t''
no\t''"
complete -c corering -l repl-diskless-sync -d 'Sends a full copy without writing it to disk first' -r -f -a "yes\t''
no\t''"
complete -c corering -l repl-diskless-sync-delay -d 'Seconds to wait for more replicas before a copy is sent' -r -f
complete -c corering -l repl-diskless-sync-max-replicas -d 'Does not wait longer once so many replicas are there' -r -f
complete -c corering -l repl-diskless-load -d 'How a replica loads a full copy straight from the socket' -r -f -a "disabled\t''
on-empty-db\t''
swapdb\t''"
complete -c corering -l dual-channel-replication-enabled -d 'Sends a full copy and the changes since then over two connections' -r -f -a "yes\t''
no\t''"
complete -c corering -l repl-ping-replica-period -d 'Seconds between the primary\'s pings' -r -f
complete -c corering -l repl-timeout -d 'Seconds of silence after which the other side counts as gone' -r -f
complete -c corering -l repl-disable-tcp-nodelay -d 'Lets TCP collect small packets to replicas' -r -f -a "yes\t''
no\t''"
complete -c corering -l repl-backlog-size -d 'Changes kept for replicas that come back' -r -f
complete -c corering -l repl-backlog-ttl -d 'Seconds without any replica after which the backlog is freed' -r -f
complete -c corering -l replica-priority -d 'Rank among the replicas when a new primary is sought, lower first' -r -f
complete -c corering -l replica-announce-ip -d 'Address of this replica as told to the primary' -r -f
complete -c corering -l replica-announce-port -d 'Port of this replica as told to the primary' -r -f
complete -c corering -l replica-announced -d 'Sentinel may see this replica' -r -f -a "yes\t''
no\t''"
complete -c corering -l replica-ignore-maxmemory -d 'A replica does not evict by itself' -r -f -a "yes\t''
no\t''"
complete -c corering -l replica-lazy-flush -d 'A replica frees its old data in small steps before a full copy is loaded' -r -f -a "yes\t''
no\t''"
complete -c corering -l replica-ignore-disk-write-errors -d 'A replica goes on where it cannot write its log' -r -f -a "yes\t''
no\t''"
complete -c corering -l min-replicas-to-write -d 'Refuses writes with fewer good replicas than this' -r -f
complete -c corering -l min-replicas-max-lag -d 'A replica is good if it was heard of within so many seconds' -r -f
complete -c corering -l cluster-enabled -d 'A node of a cluster' -r -f -a "yes\t''
no\t''"
complete -c corering -l cluster-config-file -d 'File in which the node keeps what it knows of the cluster' -r -F
complete -c corering -l cluster-node-timeout -d 'Milliseconds of silence after which a node counts as gone' -r -f
complete -c corering -l cluster-port -d 'Port of the cluster bus' -r -f
complete -c corering -l cluster-announce-ip -d 'Address as told to the cluster' -r -f
complete -c corering -l cluster-announce-hostname -d 'Host name as told to the cluster' -r -f
complete -c corering -l cluster-announce-human-nodename -d 'Name of the node for people' -r -f
complete -c corering -l cluster-announce-client-ipv4 -d 'IPv4 address as told to clients' -r -f
complete -c corering -l cluster-announce-client-ipv6 -d 'IPv6 address as told to clients' -r -f
complete -c corering -l cluster-announce-port -d 'Port as told to the cluster' -r -f
complete -c corering -l cluster-announce-tls-port -d 'TLS port as told to the cluster' -r -f
complete -c corering -l cluster-announce-bus-port -d 'Bus port as told to the cluster' -r -f
complete -c corering -l cluster-preferred-endpoint-type -d 'What clients are told as the address of a node' -r -f -a "ip\t''
hostname\t''
unknown-endpoint\t''"
complete -c corering -l cluster-require-full-coverage -d 'Serves only while every slot is served by somebody' -r -f -a "yes\t''
no\t''"
complete -c corering -l cluster-allow-reads-when-down -d 'Answers reads although the cluster is down' -r -f -a "yes\t''
no\t''"
complete -c corering -l cluster-allow-pubsubshard-when-down -d 'Delivers sharded messages although the cluster is down' -r -f -a "yes\t''
no\t''"
complete -c corering -l cluster-allow-replica-migration -d 'Replicas move to primaries that have none' -r -f -a "yes\t''
no\t''"
complete -c corering -l cluster-migration-barrier -d 'Replicas that a primary keeps before one may move' -r -f
complete -c corering -l cluster-replica-validity-factor -d 'How old a replica\'s data may be to become primary, in node timeouts' -r -f
complete -c corering -l cluster-replica-no-failover -d 'This replica does not become primary by itself' -r -f -a "yes\t''
no\t''"
complete -c corering -l cluster-link-sendbuf-limit -d 'Bytes that may wait for another node before its link is closed' -r -f
complete -c corering -l cluster-databases -d 'Number of databases of a node of a cluster' -r -f
complete -c corering -l cluster-blacklist-ttl -d 'Seconds that a forgotten node may not come back' -r -f
complete -c corering -l cluster-slot-stats-enabled -d 'Keeps statistics per slot' -r -f -a "yes\t''
no\t''"
complete -c corering -l tls-port -d 'Port for TLS' -r -f
complete -c corering -l tls-cert-file -d 'Certificate of the server (PEM)' -r -F
complete -c corering -l tls-key-file -d 'Private key of the server (PEM)' -r -F
complete -c corering -l tls-key-file-pass -d 'Password of the private key' -r -f
complete -c corering -l tls-client-cert-file -d 'Certificate used as a client of other servers' -r -F
complete -c corering -l tls-client-key-file -d 'Private key used as a client of other servers' -r -F
complete -c corering -l tls-client-key-file-pass -d 'Password of the client\'s private key' -r -f
complete -c corering -l tls-ca-cert-file -d 'Certificates of trusted authorities (PEM)' -r -F
complete -c corering -l tls-ca-cert-dir -d 'Directory of such certificates' -r -f
complete -c corering -l tls-auth-clients -d 'Whether clients must show a certificate' -r -f -a "no\t''
yes\t''
optional\t''"
complete -c corering -l tls-replication -d 'Uses TLS to the primary' -r -f -a "yes\t''
no\t''"
complete -c corering -l tls-cluster -d 'Uses TLS on the cluster bus' -r -f -a "yes\t''
no\t''"
complete -c corering -l tls-protocols -d 'Versions of TLS, such as "TLSv1.2 TLSv1.3"' -r -f
complete -c corering -l tls-ciphers -d 'Cipher suites of TLS 1.2, as OpenSSL names them' -r -f
complete -c corering -l tls-ciphersuites -d 'Cipher suites of TLS 1.3' -r -f
complete -c corering -l tls-prefer-server-ciphers -d 'The server chooses the cipher suite' -r -f -a "yes\t''
no\t''"
complete -c corering -l tls-session-caching -d 'Clients may resume a session' -r -f -a "yes\t''
no\t''"
complete -c corering -l tls-session-cache-size -d 'Sessions remembered' -r -f
complete -c corering -l tls-session-cache-timeout -d 'Seconds that a session is remembered' -r -f
complete -c corering -l busy-reply-threshold -d 'Milliseconds after which others are told that a script runs too long' -r -f
complete -c corering -l activedefrag -d 'The allocator keeps small entries dense by itself' -r -f -a "yes\t''
no\t''"
complete -c corering -l active-defrag-cycle-max -d 'The allocator keeps small entries dense by itself' -r -f
complete -c corering -l active-defrag-cycle-min -d 'The allocator keeps small entries dense by itself' -r -f
complete -c corering -l active-defrag-ignore-bytes -d 'The allocator keeps small entries dense by itself' -r -f
complete -c corering -l active-defrag-max-scan-fields -d 'The allocator keeps small entries dense by itself' -r -f
complete -c corering -l active-defrag-threshold-lower -d 'The allocator keeps small entries dense by itself' -r -f
complete -c corering -l active-defrag-threshold-upper -d 'The allocator keeps small entries dense by itself' -r -f
complete -c corering -l activerehashing -d 'The tables grow in steps too small to need this' -r -f -a "yes\t''
no\t''"
complete -c corering -l always-show-logo -d 'No logo is shown' -r -f -a "yes\t''
no\t''"
complete -c corering -l aof_rewrite_cpulist -d 'No child process and no background thread works on the data' -r -f
complete -c corering -l bgsave_cpulist -d 'No child process and no background thread works on the data' -r -f
complete -c corering -l bio_cpulist -d 'No child process and no background thread works on the data' -r -f
complete -c corering -l crash-log-enabled -d 'A crash is always reported, and memory is not tested afterwards' -r -f -a "yes\t''
no\t''"
complete -c corering -l crash-memcheck-enabled -d 'A crash is always reported, and memory is not tested afterwards' -r -f -a "yes\t''
no\t''"
complete -c corering -l ignore-warnings -d 'Its one warning is about a kernel bug in fork, which is not used' -r -f
complete -c corering -l io-threads -d 'Every core serves its own clients' -r -f
complete -c corering -l io-threads-do-reads -d 'Every core serves its own clients' -r -f -a "yes\t''
no\t''"
complete -c corering -l jemalloc-bg-thread -d 'The allocator is not jemalloc' -r -f -a "yes\t''
no\t''"
complete -c corering -l lazyfree-lazy-eviction -d 'Large values, and the keys of flushed databases, are always freed in small steps' -r -f -a "yes\t''
no\t''"
complete -c corering -l lazyfree-lazy-expire -d 'Large values, and the keys of flushed databases, are always freed in small steps' -r -f -a "yes\t''
no\t''"
complete -c corering -l lazyfree-lazy-server-del -d 'Large values, and the keys of flushed databases, are always freed in small steps' -r -f -a "yes\t''
no\t''"
complete -c corering -l lazyfree-lazy-user-del -d 'Large values, and the keys of flushed databases, are always freed in small steps' -r -f -a "yes\t''
no\t''"
complete -c corering -l lazyfree-lazy-user-flush -d 'Large values, and the keys of flushed databases, are always freed in small steps' -r -f -a "yes\t''
no\t''"
complete -c corering -l propagation-error-behavior -d 'A change that cannot be applied always stops a replica' -r -f -a "ignore\t''
panic\t''
panic-on-replicas\t''"
complete -c corering -l proc-title-template -d 'The process keeps the title it was started with' -r -f
complete -c corering -l sanitize-dump-payload -d 'Serialized values are always looked through to their last byte' -r -f -a "no\t''
yes\t''
clients\t''"
complete -c corering -l set-proc-title -d 'The process keeps the title it was started with' -r -f -a "yes\t''
no\t''"
complete -c corering -l tls-dh-params-file -d 'Key exchange uses elliptic curves only' -r -F
complete -c corering -l events-per-io-thread -d 'Every core serves its own clients' -r -f
complete -c corering -l extended-redis-compatibility -d 'The server calls itself what it is' -r -f -a "yes\t''
no\t''"
complete -c corering -l locale-collate -d 'Texts are sorted by their bytes' -r -f
complete -c corering -l log-format -d 'The lines of the log have the one form that Redis 7.0 gives them' -r -f -a "legacy\t''
logfmt\t''
json\t''"
complete -c corering -l log-timestamp-format -d 'The lines of the log have the one form that Redis 7.0 gives them' -r -f -a "legacy\t''
iso8601\t''
milliseconds\t''"
complete -c corering -l max-new-connections-per-cycle -d 'A core accepts what waits in one pass, in between other work' -r -f
complete -c corering -l max-new-tls-connections-per-cycle -d 'A core accepts what waits in one pass, in between other work' -r -f
complete -c corering -l prefetch-batch-max-size -d 'A pass prefetches what it reads, however much' -r -f
complete -c corering -s v -l version -d 'Tells the version'
complete -c corering -l check-system -d 'Tells what of this machine and of its limits should be mended, for the configuration that follows: exit status 1 where something should'
complete -c corering -s h -l help -d 'Print help (see more with \'--help\')'
