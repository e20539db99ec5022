# What of a host costs a server of pinned cores latency: one function an item. `check` and `apply` read this file.
#
# A function sets `what` (what it is), `cost` (how much it costs, and who says so), `how` (to change it), and answers with
# `ok VALUE`, `mend VALUE` or `note VALUE` (nothing to decide by). `change FILE VALUE` says what a program can set for it.
# Costs that this project has measured name the run in bench-results; those that are taken from elsewhere name their source.
#
# CORERING_TUNING_ROOT is put before every path of /proc, /sys and /run: a tree to try this on.
# shellcheck shell=bash disable=SC2034,SC2154,SC2016,SC2086,SC2206

R=${CORERING_TUNING_ROOT-}

items=(kernel io_uring ring seccomp locked_memory open_files somaxconn syn_backlog cpu_quota memory_limit tasks governor
    idle_states numa_balancing numa_nodes swap overcommit huge_pages clock smt isolated mitigations irqbalance interrupts
    receive_steering transmit_steering)

# What cannot be read here is not known, and never `ok`.
unknown() { note "not known: ${1:-it} cannot be read here"; }

read_file() { cat "$R$1" 2>/dev/null || true; }

# change FILE VALUE
change() { changes+=("$1"$'\t'"$2"); }

# number FILE OPERATOR LIMIT WANTED: `ok` if the number in the file is as it should be (eq, ge, le), else `mend`.
number() {
    local now
    now=$(read_file "$1")
    if [[ ! $now =~ ^[0-9]+$ ]]; then
        note "$1 is not there"
    elif test "$now" "-$2" "$3"; then
        ok "$now"
    else
        change "$1" "$4"
        mend "$now"
    fi
}

# expand 0-1,4: one number a line.
expand() {
    local part
    for part in ${1//,/ }; do seq "${part%-*}" "${part#*-}"; done
}
# The most CPUs that Linux is built for.
CPUS_MAX=8192
# cpu_list OPTION LIST: ends with 2 where that is no list of CPUs, or names one that is not there.
cpu_list() {
    local part low high online missing number='[0-9]{1,4}'
    if [[ ! $2 =~ ^$number(-$number)?(,$number(-$number)?)*$ ]]; then
        echo "$1 wants CPUs, such as 0-3,8, not '$2'" >&2
        exit 2
    fi
    for part in ${2//,/ }; do
        low=$((10#${part%-*})) high=$((10#${part#*-}))
        if ((high < low || CPUS_MAX <= high)); then
            echo "$1: '$part' is no range of CPUs" >&2
            exit 2
        fi
    done
    online=$(read_file /sys/devices/system/cpu/online)
    missing=$(without "$(expand "$2")" "$(expand "$online")")
    if [[ -n $online && -n $missing ]]; then
        # shellcheck disable=SC2086
        echo "$1: no CPU $(list $missing) is online here, only $online" >&2
        exit 2
    fi
}
# list NUMBER…: the way back, with commas.
list() { local IFS=,; echo "$*"; }
# mask LIST: as the kernel writes it, in groups of eight digits.
mask() {
    local cpu group=() text='' at
    for cpu in $(expand "$1"); do
        at=$((cpu / 32))
        group[at]=$((${group[at]-0} | 1 << cpu % 32))
        while ((at-- > 0)); do group[at]=${group[at]-0}; done
    done
    for ((at = ${#group[@]} - 1; at >= 0; at--)); do text+=$(printf ',%08x' "${group[at]}"); done
    text=${text#,}
    echo "${text:-00000000}"
}
# cpus_of MASK: one number a line.
cpus_of() {
    local digits=${1//,/} at digit bit
    for ((at = 0; at < ${#digits}; at++)); do
        digit=$((16#${digits:${#digits}-1-at:1}))
        for bit in 0 1 2 3; do
            if ((digit >> bit & 1)); then echo $((4 * at + bit)); fi
        done
    done
}
# common A B: numbers that are in both of two lists of lines.
common() { comm -12 <(sort -u <<<"$1") <(sort -u <<<"$2") | grep . | sort -n || true; }
without() { comm -23 <(sort -u <<<"$1") <(sort -u <<<"$2") | grep . | sort -n || true; }

# threshold NAME MOST: ends with 2 where the variable is set to something else than a number from 1 to this.
threshold() {
    local value=${!1-}
    if [[ -n $value && ! ($value =~ ^[1-9][0-9]{0,9}$ && $value -le $2) ]]; then
        echo "$1 wants a number from 1 to $2, not '$value'" >&2
        exit 2
    fi
}
# The server's CPUs, one a line, and the others: told by --server-cpus, else all that a process started here may use.
find_cpus() {
    local status
    status=$(read_file /proc/self/status)
    server_cpus=${server_cpus:-$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' <<<"$status")}
    cpus=$(expand "${server_cpus:-0}")
    threshold CORERING_CORES "$CPUS_MAX"
    threshold CORERING_CLIENTS 4294967295
    cores=${CORERING_CORES:-$(wc -l <<<"$cpus")}
    clients=${CORERING_CLIENTS:-10000}
    other_cpus=$(without "$(expand "$(read_file /sys/devices/system/cpu/online)")" "$cpus")
}

# limit NAME: the hard limit of processes started here.
limit() { read_file /proc/self/limits | awk -v name="$1" 'index($0, name) == 1 { print $(NF - 1) }'; }

# What the server needs to start at all.

look_kernel() {
    what='the version of Linux: 5.19 brought shared receive buffers, 6.0 multishot receive and SINGLE_ISSUER, 6.1 DEFER_TASKRUN'
    cost='the server does not start without all of them (src/sys/ring.rs)'
    how='install Linux 6.1 or newer'
    local release major minor
    release=$(read_file /proc/sys/kernel/osrelease)
    if [[ -z $release ]]; then
        unknown /proc/sys/kernel/osrelease
        return
    fi
    IFS=.- read -r major minor _ <<<"$release"
    if ((${major:-0} > 6 || (${major:-0} == 6 && ${minor:-0} >= 1))); then ok "$release"; else mend "$release"; fi
}
look_io_uring() {
    what='kernel.io_uring_disabled: 1 forbids io_uring to all but the group kernel.io_uring_group, 2 to everybody'
    cost='the server does not start'
    how='sysctl -w kernel.io_uring_disabled=0'
    number /proc/sys/kernel/io_uring_disabled eq 0 0
}
look_ring() {
    what='whether a ring with everything the server uses can be made here: corering --check-system tries one'
    cost='the server does not start'
    how='what the line says; in a container: look at seccomp below'
    local server=${CORERING_SERVER:-$(command -v corering || true)} said
    if [[ -n $R || -z $server ]]; then
        note 'not tried: no corering in PATH (CORERING_SERVER names one)'
        return
    fi
    said=$("$server" --check-system 2>&1 | grep -A1 '^\[io_uring\]' | sed 's/^\[io_uring\]\.*//' | tr '\n' ' ')
    if [[ $said == OK* ]]; then ok 'it can'; else mend "${said:-$server does not run}"; fi
}
look_seccomp() {
    what='a filter of system calls on the processes started here; Docker from 25, containerd and Podman deny io_uring in theirs'
    cost='the server does not start where io_uring is denied'
    how='--security-opt seccomp=tuning/docker/seccomp.json (see tuning/README.md)'
    local mode
    mode=$(read_file /proc/self/status | sed -n 's/^Seccomp:[[:space:]]*//p')
    if [[ -z $mode ]]; then
        unknown /proc/self/status
    elif [[ $mode == 0 ]]; then
        ok none
    else
        note 'there is one: `ring` above says whether it lets io_uring pass'
    fi
}
look_locked_memory() {
    what='RLIMIT_MEMLOCK: each core registers buffers, 512 KiB'
    cost='the server does not start with less'
    how='LimitMEMLOCK=infinity in the unit; tuning/limits.conf for shells; --ulimit memlock=-1 for a container'
    local bytes
    bytes=$(limit 'Max locked memory')
    if [[ -z $bytes ]]; then
        note 'not known'
    elif [[ $bytes == unlimited ]] || ((bytes >= 524288 * cores)); then
        ok "$bytes"
    else
        mend "$bytes bytes, and $cores cores need $((524288 * cores))"
    fi
}
look_open_files() {
    what="RLIMIT_NOFILE: a client is a file; $clients clients on $cores cores need $((clients + 32 + 24 * cores))"
    cost='with less, maxclients is lowered: later clients are refused (the log says so)'
    how="LimitNOFILE=$((clients + 32 + 24 * cores)) in the unit; tuning/limits.conf for shells; --ulimit nofile= for a container"
    local files
    files=$(limit 'Max open files')
    if [[ -z $files ]]; then
        note 'not known'
    elif [[ $files == unlimited ]] || ((files >= clients + 32 + 24 * cores)); then
        ok "$files"
    else
        mend "$files"
    fi
}

# What clients wait for when they connect.

look_somaxconn() {
    what='net.core.somaxconn: the longest queue of connections that wait to be accepted; it cuts tcp-backlog (511)'
    cost='a client of a burst that finds the queue full tries again after 1 s (the first retransmission of TCP, RFC 6298)'
    how='sysctl -w net.core.somaxconn=4096'
    number /proc/sys/net/core/somaxconn ge 511 4096
}
look_syn_backlog() {
    what='net.ipv4.tcp_max_syn_backlog: half-open connections that are remembered'
    cost='as with somaxconn: a second for who comes when it is full'
    how='sysctl -w net.ipv4.tcp_max_syn_backlog=4096'
    number /proc/sys/net/ipv4/tcp_max_syn_backlog ge 511 4096
}

# What control groups take away. Each limit holds for all below it, so the smallest of the way up counts.

# has_groups: whether limits of groups can be read, those of version 2; else says that they are not known.
has_groups() {
    if [[ -e $R/sys/fs/cgroup/cgroup.controllers && $(read_file /proc/self/cgroup) == *0::* ]]; then return; fi
    note 'not known: no control groups of version 2 can be read here'
    return 1
}
# smallest FILE: the least number in the groups of this process, with the name of its group.
smallest() {
    local group now least='' place=''
    group=$(read_file /proc/self/cgroup | sed -n 's/^0:://p')
    while :; do
        now=$(read_file "/sys/fs/cgroup${group%/}/$1")
        if [[ ${now%% *} =~ ^[0-9]+$ ]] && { [[ -z $least ]] || ((${now%% *} < ${least%% *})); }; then
            least=$now place=$group
        fi
        if [[ -z ${group%/} ]]; then break; fi
        group=${group%/*}
    done
    if [[ -n $least ]]; then echo "$least (${place:-/})"; fi
}
look_cpu_quota() {
    what='cpu.max of the control group: CPU time in each period'
    cost='none'
    how='give the group whole CPUs (AllowedCPUs=, --cpuset-cpus) instead of a quota (CPUQuota=, --cpus), or set shards to fewer'
    local now quota period
    has_groups || return 0
    now=$(smallest cpu.max)
    if [[ -z $now ]]; then
        ok none
        return
    fi
    read -r quota period _ <<<"$now"
    if ((quota >= period * cores)); then
        ok "$now"
    else
        cost="under full load all cores stand still for $(((period - quota / cores) / 1000)) ms of every $((period / 1000)) ms (reckoned from the quota)"
        mend "$now: $((quota * 100 / period)) % of a CPU for $cores cores"
    fi
}
look_memory_limit() {
    what='memory.max and memory.high of the control group'
    cost='above memory.high every allocation is slowed down, at memory.max the server is killed (Linux, cgroup-v2.rst)'
    how='set maxmemory to at most 80% (of memory.max, which the server takes for the machine), and leave memory.high at max'
    local high max
    has_groups || return 0
    high=$(smallest memory.high) max=$(smallest memory.max)
    if [[ -n $high ]]; then mend "memory.high $high"; else ok "${max:-none}"; fi
}
look_tasks() {
    what='pids.max of the control group: threads'
    cost='the server does not start with fewer than it needs'
    how='TasksMax= in the unit, --pids-limit for a container'
    local now
    has_groups || return 0
    now=$(smallest pids.max)
    if [[ -z $now ]] || ((${now%% *} >= 2 * cores + 32)); then ok "${now:-none}"; else mend "$now, and $((2 * cores + 32)) are safe"; fi
}

# What stops a core while it should serve, or lets it serve slowly.

look_governor() {
    what='who chooses the speed of the CPUs'
    cost='a core that slept serves its first requests at a lower speed: up to its ratio of lowest to highest (below)'
    how='cpupower frequency-set -g performance'
    local cpu file now governors=() slow=no low high
    for cpu in $cpus; do
        file=/sys/devices/system/cpu/cpu$cpu/cpufreq/scaling_governor
        now=$(read_file "$file")
        if [[ -z $now ]]; then continue; fi
        governors+=("$now")
        if [[ $now != performance ]]; then slow=yes && change "$file" performance; fi
    done
    if ((${#governors[@]} == 0)); then
        note 'no frequency scaling here (a virtual machine has its host'\''s)'
        return
    fi
    low=$(read_file "${file%/*}/cpuinfo_min_freq") high=$(read_file "${file%/*}/cpuinfo_max_freq")
    cost+=": ${low:-?} of ${high:-?} kHz"
    now=$(printf '%s\n' "${governors[@]}" | sort -u | tr '\n' ' ')
    if [[ $slow == no ]]; then ok "$now"; else mend "$now"; fi
}
look_idle_states() {
    what='how deeply CPUs sleep: states from which waking takes more than 50 µs'
    how='cpupower idle-set -D 50 (the machine takes more power)'
    local cpu state latency deepest='' deep=no
    for cpu in $cpus; do
        for state in "$R/sys/devices/system/cpu/cpu$cpu/cpuidle"/state*; do
            state=${state#"$R"}
            latency=$(read_file "$state/latency")
            if [[ -z $latency || $(read_file "$state/disable") == 1 ]]; then continue; fi
            if ((latency > 50)); then deep=yes && change "$state/disable" 1; fi
            if ((latency > ${deepest:--1})); then deepest=$latency; fi
        done
    done
    cost="a request that finds its core asleep waits ${deepest:-unknown} µs longer (cpuidle/state*/latency of this machine)"
    if [[ -z $deepest ]]; then
        note 'no idle states are told here (a virtual machine has its host'\''s)'
    elif [[ $deep == no ]]; then
        ok "waking takes up to $deepest µs"
    else
        mend "waking takes up to $deepest µs"
    fi
}
look_numa_balancing() {
    what='kernel.numa_balancing: pages are unmapped now and then, to see who uses them'
    cost='a page fault for each such page, in the middle of commands; pinned cores gain nothing by it (Linux, sysctl/kernel.rst; not measured here)'
    how='sysctl -w kernel.numa_balancing=0'
    number /proc/sys/kernel/numa_balancing eq 0 0
}
look_numa_nodes() {
    what='NUMA nodes of the server'\''s CPUs'
    cost='memory of another node takes about twice as long as one'\''s own, and a hop to another core crosses the link (not measured here: one node)'
    how='one server for each node: server_cpulist with the CPUs of one'
    local node seen=
    for node in "$R"/sys/devices/system/node/node*; do
        node=${node#"$R"}
        if [[ -n $(common "$(expand "$(read_file "$node/cpulist")")" "$cpus") ]]; then seen+="${node##*/node} "; fi
    done
    if [[ -z $seen ]]; then
        note 'not known'
    elif [[ $seen == *' '*' ' ]]; then
        note "${seen% }: the server would run on several"
    else
        ok "${seen% }"
    fi
}
look_swap() {
    what='swap space, and vm.swappiness: how readily keys go there'
    cost='a key in swap stops its core, and all keys of it, for a read of the disk: milliseconds (not measured here)'
    how='swapoff -a, or sysctl -w vm.swappiness=1; and set maxmemory'
    case $(read_file /proc/swaps | wc -l) in
    0) unknown /proc/swaps ;;
    1) ok 'there is none' ;;
    *) number /proc/sys/vm/swappiness le 10 1 ;;
    esac
}
look_overcommit() {
    what='vm.overcommit_memory: 2 counts memory that is only reserved. Redis wants 1 for its fork; here nothing forks'
    cost='with 2, allocations fail long before memory is full: the server ends'
    how='sysctl -w vm.overcommit_memory=0'
    local now
    now=$(read_file /proc/sys/vm/overcommit_memory)
    case $now in
    '') unknown /proc/sys/vm/overcommit_memory ;;
    2) change /proc/sys/vm/overcommit_memory 0 && mend 2 ;;
    *) ok "$now" ;;
    esac
}
look_huge_pages() {
    what='transparent huge pages; the server keeps them away from itself (disable-thp), whatever stands here'
    cost='where they are not kept away, 139 of 20 million insertions took more than 1 ms, up to 5.8 (bench-results/2026-11-21-2-core-vm-growth)'
    how='nothing to do; for other programs: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled'
    local file=/sys/kernel/mm/transparent_hugepage/enabled now
    now=$(read_file $file)
    if [[ -n $now ]]; then ok "$now"; else unknown $file; fi
}
look_clock() {
    what='the clock of the kernel'
    cost='one that cannot be read without the kernel makes each look at the time a system call, at least one a pass'
    how='echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource, where it is among available_clocksource'
    local place=/sys/devices/system/clocksource/clocksource0 now
    now=$(read_file $place/current_clocksource)
    case $now in
    '') unknown $place/current_clocksource ;;
    tsc | kvm-clock | hyperv_clocksource_tsc_page | arch_sys_counter) ok "$now" ;;
    *)
        if [[ " $(read_file $place/available_clocksource) " == *' tsc '* ]]; then change $place/current_clocksource tsc; fi
        mend "$now"
        ;;
    esac
}

# Who else runs on its CPUs.

look_smt() {
    what='CPUs that are two threads of one core'
    cost='each is slower while the other works: steadier with one of each, more in sum with all (not measured here)'
    how='server_cpulist with one of each pair'
    local cpu all pairs
    all=$(for cpu in $cpus; do read_file "/sys/devices/system/cpu/cpu$cpu/topology/thread_siblings_list"; done | sort -u)
    pairs=$(grep '[,-]' <<<"$all" | tr '\n' ' ' || true)
    if [[ -z $all ]]; then
        unknown /sys/devices/system/cpu/cpuN/topology
    elif [[ -z $pairs ]]; then
        ok none
    else
        note "$pairs"
    fi
}
look_isolated() {
    what='isolcpus= and nohz_full=: CPUs on which the kernel puts nobody by itself, and those without a tick'
    cost='other processes take slices of milliseconds from a core that is not isolated, under load (not measured here)'
    how='boot with isolcpus=LIST nohz_full=LIST, and name LIST in server_cpulist; or cpuset partitions (AllowedCPUs= of other slices)'
    local isolated
    isolated=$(read_file /sys/devices/system/cpu/isolated)
    if [[ ! -r $R/sys/devices/system/cpu/isolated ]]; then
        unknown /sys/devices/system/cpu/isolated
    elif [[ -n $isolated && -z $(without "$cpus" "$(expand "$isolated")") ]]; then
        ok "$isolated, nohz_full $(read_file /sys/devices/system/cpu/nohz_full)"
    else
        note "${isolated:-none}"
    fi
}
look_mitigations() {
    what='what the kernel does against faults of the CPU'
    cost='paid at every system call; the server makes 0.19 of them an operation without pipelining (bench-results/2026-11-22-2-core-vm-cpu-per-op-3)'
    how='nothing, unless all code on the machine is trusted: then boot with mitigations=off'
    local file now='' seen=no
    for file in "$R"/sys/devices/system/cpu/vulnerabilities/*; do
        if [[ ! -r $file ]]; then continue; fi
        seen=yes
        if [[ $(<"$file") == Mitigation* ]]; then now+="${file##*/} "; fi
    done
    if [[ $seen == no ]]; then
        unknown /sys/devices/system/cpu/vulnerabilities
    elif [[ -z $now ]]; then
        ok none
    else
        note "${now% }"
    fi
}
look_irqbalance() {
    what='irqbalance moves interrupts now and then'
    cost='what `interrupts` below sets is lost'
    how="IRQBALANCE_BANNED_CPULIST=$(list $cpus) in /etc/default/irqbalance, or stop it"
    if grep -qsx irqbalance "$R"/proc/[0-9]*/comm; then
        note 'it runs'
    elif [[ ! -r $R/proc/1/comm ]]; then
        unknown 'the list of processes'
    else
        ok 'it does not run'
    fi
}

# devices: network devices that are hardware, or pretend to be.
devices() {
    local device
    for device in "$R"/sys/class/net/*; do
        if [[ -e $device/device ]]; then echo "${device##*/}"; fi
    done
}
# queues DEVICE rx|tx: its queues, in order.
queues() {
    local queue
    for queue in "$R/sys/class/net/$1/queues/$2"-*; do
        if [[ -d $queue ]]; then echo "${queue#"$R"}"; fi
    done | sort -t- -k2n
}
# interrupts_of DEVICE
interrupts_of() {
    local irqs parent
    irqs=$(ls "$R/sys/class/net/$1/device/msi_irqs" 2>/dev/null || true)
    if [[ -z $irqs ]]; then
        # virtio: the interrupts are those of the device it hangs on.
        parent=$(basename "$(readlink -f "$R/sys/class/net/$1/device")")
        irqs=$(read_file /proc/interrupts | awk -v device="$parent" 'index($0, device "-") { sub(":", "", $1); print $1 }')
    fi
    echo "$irqs"
}
look_interrupts() {
    what='the CPUs to which network devices send their interrupts; --irq-cpus LIST chooses them'
    cost='an interrupt stops the core it comes to, and takes its CPU for the packets of all (not measured here: a virtual device)'
    how='tuning/apply --irq-cpus LIST: CPUs that the server does not use, or all of its own where a device has a queue for each'
    local device irq file now wanted=$irq_cpus far=no seen=
    if [[ -z $wanted && -n $other_cpus ]]; then wanted=$(list $other_cpus); fi
    for device in $(devices); do
        for irq in $(interrupts_of "$device"); do
            file=/proc/irq/$irq/smp_affinity_list now=$(read_file "/proc/irq/$irq/smp_affinity_list")
            if [[ -z $now ]]; then continue; fi
            seen+="$device $irq on $now, "
            if [[ -n $wanted && -n $(without "$(expand "$now")" "$(expand "$wanted")") ]]; then
                far=yes && change "$file" "$wanted"
            fi
        done
    done
    seen=${seen%, }
    if [[ -z $seen ]]; then
        note 'no network device with interrupts of its own'
    elif [[ $far == yes ]]; then
        mend "$seen; wanted: $wanted"
    elif [[ -n $wanted ]]; then
        ok "$seen"
    else
        note "$seen; the server uses all CPUs"
    fi
}
look_receive_steering() {
    what='RPS: the CPUs that handle received packets for a queue; --rps-cpus LIST chooses them'
    cost='with a queue for each core it only moves packets once more; with fewer, one CPU handles the packets of all (Linux, networking/scaling.rst; not measured here)'
    how='tuning/apply --rps-cpus LIST; off: echo 0 > /sys/class/net/DEVICE/queues/rx-N/rps_cpus'
    local device queue now count wanted wrong=no narrow=no seen=
    for device in $(devices); do
        count=$(queues "$device" rx | wc -l)
        for queue in $(queues "$device" rx); do
            now=$(read_file "$queue/rps_cpus")
            if [[ -z $now ]]; then continue; fi
            wanted=
            if [[ -n $rps_cpus ]]; then
                wanted=$(mask "$rps_cpus")
            elif ((count >= cores)); then
                wanted=$(mask '')
            elif [[ -z $(cpus_of "$now") ]]; then
                narrow=yes
            fi
            seen+="$device ${queue##*/} $now, "
            if [[ -n $wanted && $(cpus_of "$now") != "$(cpus_of "$wanted")" ]]; then
                wrong=yes && change "$queue/rps_cpus" "$wanted"
            fi
        done
    done
    seen=${seen%, }
    if [[ -z $seen ]]; then
        note 'no network device with queues'
    elif [[ $wrong == yes ]]; then
        mend "$seen"
    elif [[ $narrow == yes ]]; then
        note "$seen: fewer queues than cores, and RPS is off"
    else
        ok "$seen"
    fi
}
look_transmit_steering() {
    what='XPS: the CPUs that send through a queue; one queue for each core keeps its lock to itself'
    cost='cores that share a queue wait for its lock (Linux, networking/scaling.rst; not measured here: one queue)'
    how='tuning/apply: queue N gets the server'\''s cores N, N + queues, …'
    local device queue now count at=0 core wanted wrong=no seen='' all
    all=($cpus)
    for device in $(devices); do
        count=$(queues "$device" tx | wc -l)
        if ((count < 2)); then continue; fi
        at=0
        for queue in $(queues "$device" tx); do
            now=$(read_file "$queue/xps_cpus")
            wanted=
            for ((core = at; core < ${#all[@]}; core += count)); do wanted+="${all[core]},"; done
            at=$((at + 1))
            if [[ -z $now || -z $wanted ]]; then continue; fi
            seen+="$device ${queue##*/} $now, "
            if [[ $(cpus_of "$now") != "$(expand "${wanted%,}")" ]]; then
                wrong=yes && change "$queue/xps_cpus" "$(mask "${wanted%,}")"
            fi
        done
    done
    seen=${seen%, }
    if [[ ! -d $R/sys/class/net ]]; then
        unknown /sys/class/net
    elif [[ -z $seen ]]; then
        ok 'no device with several queues: nothing to choose'
    elif [[ $wrong == yes ]]; then
        mend "$seen"
    else
        ok "$seen"
    fi
}
