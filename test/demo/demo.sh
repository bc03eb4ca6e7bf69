#!/bin/bash
# make demo: builds the extension, starts a private server, shows what continuous views do with
# a million page views, kills processes while they stream in, and checks every number against
# the same rows in a plain table. The server keeps running until make demo-stop.
#
# The server listens on a socket in a folder that only its own user (and root) may enter, never
# on a port of the machine. A state file says where it is, so that stop and a second start find it.
set -u
TOP=$(cd "$(dirname "$0")/../.." && pwd -P)
. "$TOP/test/lib.sh"

STATE="${XDG_RUNTIME_DIR:-/tmp}/pipeline_ext-demo-$(id -u)"
ROWS=${ROWS:-1000000} STEP=20000
bold='' plain='' line_end='\n'
if [ -t 1 ]; then
    bold=$(tput bold 2>/dev/null) plain=$(tput sgr0 2>/dev/null) line_end='\r'
fi

title() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
sql() { user "$BINDIR/psql" -X -q -h "$WORK/socket" -U postgres -v ON_ERROR_STOP=1 "$@"; }
value() { sql -At -d demo -c "$1"; }
wrong() { printf '\nWRONG: %s\n' "$*"; bad=1; }

# Finds the folder of an earlier run. The state file may lie in a folder that is open to all:
# believe it only if it is ours, and only when it leads to a folder like those we make.
find_earlier() {
    WORK=''
    [ -f "$STATE" ] && [ ! -L "$STATE" ] && [ -O "$STATE" ] || return 1
    WORK=$(head -n 1 "$STATE")
    [[ "$WORK" =~ ^/.*/pipeline_ext-demo\.[A-Za-z0-9]+$ ]] && [ -d "$WORK" ] && [ ! -L "$WORK" ] &&
        [ -O "$WORK" ] && return 0
    WORK=''
    return 1
}

stop_server() {
    [ -f "$WORK/data/postmaster.pid" ] &&
        user "$BINDIR/pg_ctl" -D "$WORK/data" -m fast -w stop >/dev/null 2>&1
    end_servers "$WORK"
    rm -rf "$WORK/data" "$WORK/socket" "$WORK/log" "$WORK/stage" "$WORK/src"
}

# A postmaster that was killed leaves children; until they have noticed, a start is refused.
start_server() {
    local try
    for try in $(seq 30); do
        user "$BINDIR/pg_ctl" -D "$WORK/data" -l "$WORK/log/server.log" -w start >/dev/null 2>&1 && return
        sleep 1
    done
    tail -n 20 "$WORK/log/server.log"
    die "the server does not start"
}

wait_for_server() {
    local try
    for try in $(seq 300); do
        sql -At -d demo -c 'SELECT 1' >/dev/null 2>&1 && return
        sleep 0.2
    done
    tail -n 20 "$WORK/log/server.log"
    die "the server does not come back"
}

set_up() {
    [ -n "$WORK" ] || make_work pipeline_ext-demo.XXXXXX
    [ ${#WORK} -lt 80 ] || die "$WORK is too long a name for a socket: set TMPDIR"
    rm -f "$STATE"
    (umask 077; set -C; echo "$WORK" >"$STATE") || die "cannot write $STATE"

    title "building with $("$PG_CONFIG" --version)"
    copy_sources "$WORK/src"
    user rm -f "$WORK/build/pipeline_ext.so" "$WORK/build/pipeline_ext--1.0.sql"
    build_module || die "the build failed"

    title "starting a private server"
    folder "$WORK/socket" "$WORK/data" "$WORK/log"
    chmod 700 "$WORK/socket" "$WORK/data"
    user "$BINDIR/initdb" -D "$WORK/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 \
        >"$WORK/initdb.log" 2>&1 || { cat "$WORK/initdb.log"; die "initdb failed"; }
    {
        cat "$WORK/server.conf"
        echo "fsync = on"
        echo "listen_addresses = ''"
        echo "unix_socket_directories = '$WORK/socket'"
    } | user tee -a "$WORK/data/postgresql.conf" >/dev/null
    start_server
    sql -d postgres -c 'CREATE DATABASE demo' -c 'CREATE DATABASE plain' || die "no databases"
    say "running in $WORK"
}

script() { sql -a -d demo -f "$WORK/src/test/demo/$1" "${@:2}"; }

# ---- the million rows ------------------------------------------------------------------------

# One step: the rows and the note that they were sent are one transaction, so after a crash
# the notes say exactly which rows to send again. $2: seconds to wait before the commit.
send_step() {
    local from=$((($1 - 1) * STEP + 1)) to=$(($1 * STEP))
    sql -d demo -v step="$1" -v pause="${2:-0}" -v first="$from" -v last="$to" \
        -f "$WORK/src/test/demo/step.sql" >/dev/null 2>>"$WORK/stream.log"
}

progress() {
    local now elapsed
    [ -t 1 ] || [ $(($1 % 5)) = 0 ] || return 0
    now=$(date +%s%N)
    elapsed=$(((now - began) / 1000000))
    printf "%d of %d rows committed, %d ms$line_end" $(($1 * STEP)) "$ROWS" "$elapsed"
}

fold_worker_pid() {
    sql -At -d demo -c "SELECT pid FROM pg_stat_activity
        WHERE backend_type = 'pipelinedb fold worker' AND datname = 'demo'" 2>/dev/null | head -n 1
}

# Kills the process while the transaction of step $2 is open, its rows already spooled. Just
# before a fold worker is killed the next step commits, so that it is at work.
kill_during() {
    local what=$1 step=$2 pid='' sender try
    if [ "$what" = postmaster ]; then
        pid=$(head -n 1 "$WORK/data/postmaster.pid")
    else
        for try in $(seq 100); do
            pid=$(fold_worker_pid)
            [ -z "$pid" ] || break
            sleep 0.1
        done
    fi
    if [ -z "$pid" ]; then
        wrong "there is no $what to kill"
        return
    fi
    send_step "$step" 10 &
    sender=$!
    sleep 0.5
    [ "$what" = postmaster ] || send_step $((step + 1))
    kill -9 "$pid" || wrong "the $what is gone already"
    printf '\n%skill -9 %s (%s)%s\n' "$bold" "$pid" "$what" "$plain"
    wait "$sender" || say "the client that was sending step $step lost its connection"
    sleep 0.5 # until the postmaster has noticed, connections look alive
    [ "$what" != postmaster ] || start_server
    wait_for_server
    say "the server is back, step $step was" \
        "$(value "SELECT CASE count(*) WHEN 0 THEN 'rolled back: it is sent again' ELSE 'committed' END
                  FROM sent_steps WHERE step = $step")"
}

stream_rows() {
    local steps=$((ROWS / STEP)) step=1 try sent
    began=$(date +%s%N)
    : >"$WORK/stream.log"
    while [ "$step" -le "$steps" ]; do
        if [ "$step" = $((steps / 3)) ]; then
            kill_during 'fold worker' "$step"
        elif [ "$step" = $((steps * 2 / 3)) ]; then
            kill_during postmaster "$step"
        fi
        # After a crash the step may have been committed or not; its note knows.
        sent=no
        for try in 1 2 3 4 5; do
            if [ "$(value "SELECT count(*) FROM sent_steps WHERE step = $step" 2>/dev/null)" = 1 ] ||
                send_step "$step"; then
                sent=yes
                break
            fi
            wait_for_server
        done
        if [ $sent = no ]; then
            cat "$WORK/stream.log"
            wrong "step $step cannot be sent"
            return
        fi
        progress "$step"
        step=$((step + 1))
    done
    echo
    value 'SELECT pipelinedb.flush()' >/dev/null || wrong "flush failed"
}

# The same query over the view and over the stored rows: not one line may differ.
compare() {
    local name=$1 lines
    sql -At -d demo -c "SELECT * FROM $name ORDER BY 1, 2" >"$WORK/view.txt" || bad=1
    sql -At -d plain -c "SELECT * FROM ${name}_rows ORDER BY 1, 2" >"$WORK/rows.txt" || bad=1
    lines=$(wc -l <"$WORK/rows.txt")
    if [ "$lines" -gt 0 ] && cmp -s "$WORK/view.txt" "$WORK/rows.txt"; then
        say "$name: all $lines groups are the same as in a GROUP BY over the stored rows"
    else
        diff "$WORK/view.txt" "$WORK/rows.txt" | head -n 20
        wrong "$name differs from the stored rows"
    fi
}

show() {
    bad=0
    title "the first continuous view"
    script classic.sql || wrong "the classic example failed"
    title "what is rolled back counts zero"
    script rollback.sql || wrong "the rollback example failed"
    [ "$(value 'SELECT coalesce(sum(cnt), 0) FROM daily_view')" = 4 ] || wrong "daily_view should count 4 rows"

    title "page views: three continuous views over one stream"
    script page_views.sql || wrong "the views could not be created"
    sql -d plain -v rows=0 -f "$WORK/src/test/demo/plain.sql" || wrong "no table to compare with"
    title "size of the databases before"
    sql -d demo -c '\l+ demo' -c '\l+ plain'

    title "streaming $ROWS page views, with kill -9 of the fold worker and of the postmaster"
    stream_rows
    title "what the views say now"
    script read.sql || wrong "the views cannot be read"

    title "the same rows stored in a table of another database, for comparison"
    sql -d plain -v rows="$ROWS" -f "$WORK/src/test/demo/plain.sql" || wrong "no rows to compare with"
    compare hits_per_minute
    compare latency_by_country
    compare totals
    title "size of the databases after: demo keeps results, plain keeps the rows"
    sql -d demo -c 'CHECKPOINT' -c '\l+ demo' -c '\l+ plain'

    title "connect with (as $(id -un))"
    say "  $BINDIR/psql -h $WORK/socket -U postgres demo"
    say "the server runs until: make demo-stop"
    [ "$bad" = 0 ] && say "all totals are right" || say "SOMETHING WAS WRONG, see above"
    return "$bad"
}

case ${1:-} in
start)
    prepare_machine demo
    if find_earlier; then
        say "stopping the server of the last demonstration"
        stop_server
    fi
    set_up
    show
    ;;
stop)
    prepare_machine demo
    if ! find_earlier || ! [ -d "$WORK/data" ]; then
        say "no demonstration is running"
        exit 0
    fi
    stop_server
    say "stopped; the build is kept for the next time: $WORK (may be deleted)"
    ;;
*) die "usage: demo.sh start|stop" ;;
esac
