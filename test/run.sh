#!/bin/bash
# Runs the tests in a private copy, build and server, and ends with "N passed, N failed".
# Exit status 0: everything that was asked for ran, and passed. See "make help" for the knobs;
# they arrive by the environment. A kind of test that finds no test is a failure.
set -u
TOP=$(cd "$(dirname "$0")/.." && pwd -P)
. "$TOP/test/lib.sh"

KINDS=${KINDS:-lint unit fuzz regress isolation prove}
passed=0 failed=0
declare -a summary=() failures=()

# count KIND PASSED FAILED [NOTE]: adds one line to the summary.
count() {
    passed=$((passed + $2)) failed=$((failed + $3))
    if [ $(($2 + $3)) = 0 ]; then
        failed=$((failed + 1))
        summary+=("$(printf '%-16s %s' "$1" "no test was run: counted as failed")")
    else
        summary+=("$(printf '%-16s %d passed, %d failed%s' "$1" "$2" "$3" "${4:+ ($4)}")")
    fi
}

# keep_failures NAME FILE…: keeps the lines of logs that say what failed for the end of the
# output. Of a run elsewhere the last lines are often all there is, and what fails once in a
# hundred runs cannot be asked again.
keep_failures() {
    local name=$1 line
    shift
    while IFS= read -r line; do
        failures+=("$name: ${line:0:300}")
    done < <(cat "$@" 2>/dev/null | grep -E -A5 '^ *not ok|^# +Failed test|FAILED|error:|TRAP:|PANIC:' |
        head -n 20)
}

title() { printf '\n== %s\n' "$*"; }

cleanup() {
    end_servers "$WORK"
    if [ "$finished" = no ]; then
        say "interrupted; kept: $WORK"
    elif [ "$failed" = 0 ] && [ -z "${KEEP:-}" ]; then
        rm -rf "$WORK"
    fi
}

# ---- kinds ---------------------------------------------------------------------------------

run_lint() {
    title lint
    local arguments=("$WORK/src")
    if build; then
        arguments+=(--library "$WORK/build/pipeline_ext.so" --build-log "$WORK/build.log")
    else # the other kinds that need the module report it as well
        count build 0 1
    fi
    user perl "$WORK/src/test/lint/lint.pl" --self-test "${arguments[@]}" >"$WORK/lint.log" 2>&1
    grep -v '^ok ' "$WORK/lint.log"
    keep_failures lint "$WORK/lint.log"
    count lint "$(grep -c '^ok ' "$WORK/lint.log")" "$(grep -c '^not ok ' "$WORK/lint.log")" \
        "$(grep -c '^skipped ' "$WORK/lint.log") skipped"
}

# run_unit_build plain|sanitized
run_unit_build() {
    local log="$WORK/unit-$1.log" status=0 good bad
    title "unit tests, $1 build"
    folder "$WORK/unit"
    if ! user make -C "$WORK/unit" -f "$WORK/src/test/unit.mk" -j"${JOBS:-$(nproc)}" "$1" \
        >"$log" 2>&1; then
        grep -E -A8 "error|Error|undefined|cannot find" "$log" | head -n 80
        keep_failures "unit, $1" "$log"
        count "unit, $1" 0 1 "does not build"
        return
    fi
    user UBSAN_OPTIONS=print_stacktrace=1 timeout 900 "$WORK/unit/$1/unit" >"$log" 2>&1 ||
        status=$?
    # "All tests passed (… in 12 test cases)" or "test cases: 12 | 11 passed | 1 failed"
    good=$(sed -n 's/^All tests passed.* in \([0-9]*\) test case.*/\1/p
                   s/^test cases:.* \([0-9]*\) passed.*/\1/p' "$log" | tail -n 1)
    bad=$(sed -n 's/^test cases:.* \([0-9]*\) failed.*/\1/p' "$log" | tail -n 1)
    if [ "$status" != 0 ]; then
        tail -n 100 "$log"
        keep_failures "unit, $1" "$log"
        [ "${bad:-0}" != 0 ] || bad=1
    fi
    count "unit, $1" "${good:-0}" "${bad:-0}"
}

run_unit() {
    [ "${SANITIZE:-0}" != 0 ] || run_unit_build plain
    [ "${SANITIZE:-1}" = 0 ] || run_unit_build sanitized
}

run_fuzz() {
    local seconds=${FUZZ_SECONDS:-5} log="$WORK/fuzz.log"
    title "fuzzing for $seconds s"
    folder "$WORK/unit"
    if user make -C "$WORK/unit" -f "$WORK/src/test/unit.mk" fuzz >"$log" 2>&1 &&
        user UBSAN_OPTIONS=print_stacktrace=1 timeout $((seconds + 120)) \
            "$WORK/unit/sanitized/fuzz" "$seconds" >>"$log" 2>&1; then
        tail -n 1 "$log"
        count fuzz 1 0
    else
        tail -n 100 "$log"
        keep_failures fuzz "$log"
        count fuzz 0 1
    fi
}

built=''
build() {
    if [ -z "$built" ]; then
        say "building with PostgreSQL $("$PG_CONFIG" --version | cut -d' ' -f2-) ($PG_CONFIG)"
        if build_module; then built=yes; else built=no; fi
    fi
    [ "$built" = yes ]
}

# run_pg_regress KIND PROGRAM OPTION…: both programs of the server print one line per test,
# up to 15 "test x ... ok", from 16 on in the form of TAP.
run_pg_regress() {
    local kind=$1 program=$2 status=0 log="$WORK/$1.log" good bad
    shift 2
    title "$kind"
    build || { count "$kind" 0 1 "the module does not build"; return; }
    folder "$WORK/$kind"
    # A step of an isolation test that hangs is given up after a minute, not after five.
    user PGISOLATIONTIMEOUT=60 timeout 1800 "$program" \
        --bindir="$BINDIR" --outputdir="$WORK/$kind" \
        --temp-instance="$WORK/$kind/instance" --temp-config="$WORK/server.conf" \
        --load-extension=pipeline_ext --dbname=contrib_regression "$@" >"$log" 2>&1 || status=$?
    good=$(grep -cE '^(test | {5})[^ ]+ +\.\.\. ok|^ok [0-9]+' "$log")
    bad=$(grep -cE '^(test | {5})[^ ]+ +\.\.\. FAILED|^not ok [0-9]+' "$log")
    grep -E ' \.\.\. |^(not )?ok |^test ' "$log"
    if [ "$status" != 0 ]; then
        [ "$bad" != 0 ] || { bad=1; tail -n 30 "$log"; }
        find "$WORK/$kind" -name regression.diffs -exec head -n 400 {} +
        grep -hE 'PANIC|FATAL|terminated by signal|TRAP' "$WORK/$kind/log/postmaster.log" 2>/dev/null |
            head -n 30
        keep_failures "$kind" "$log"
    fi
    count "$kind" "$good" "$bad"
}

run_regress() {
    local tests=(--schedule="$WORK/src/test/schedule")
    [ -z "${REGRESS:-}" ] || tests=($REGRESS)
    run_pg_regress regress "$PGXS_DIR/test/regress/pg_regress" --inputdir="$WORK/src" \
        "${tests[@]}"
}

run_isolation() {
    local tests=(${ISOLATION:-})
    [ ${#tests[@]} != 0 ] || tests=($(cd "$WORK/src/test/isolation/specs" 2>/dev/null &&
        ls | sed -n 's/\.spec$//p'))
    if [ ${#tests[@]} = 0 ]; then
        count isolation 0 0
        return
    fi
    run_pg_regress isolation "$PGXS_DIR/test/isolation/pg_isolation_regress" \
        --inputdir="$WORK/src/test/isolation" "${tests[@]}"
}

# run_perl KIND FILE…: each file by itself; the assertions are counted from the raw TAP.
run_perl() {
    local kind=$1 file name log status good bad all_good=0 all_bad=0 skipped=0
    shift
    title "$kind"
    build || { count "$kind" 0 1 "the module does not build"; return; }
    for file in "$@"; do
        name=$(basename "$file" .pl)
        log="$WORK/tap/$name"
        status=0
        mkdir -p "$WORK/tap"
        folder "$log"
        user env -C "$WORK/src" TESTDIR="$log" TESTLOGDIR="$log/log" TESTDATADIR="$log/data" \
            TEMP_CONFIG="$WORK/server.conf" PG_REGRESS="$PGXS_DIR/test/regress/pg_regress" \
            PGPORT=65432 PERL_TEST_HARNESS_DUMP_TAP="$log/raw" PG_CONFIG="$PG_CONFIG" \
            PIPELINE_CRASH_ROUNDS="${ROUNDS:-}" PIPELINE_SOURCE="$WORK/src" \
            PIPELINE_IDLE_SECONDS="${IDLE_SECONDS:-}" \
            PIPELINE_DATA="${PIPELINE_DATA:-$(dirname "$TOP")/shared/data}" \
            timeout 1800 prove ${PROVE_FLAGS:-} -I "$PGXS_DIR/test/perl" -I "$WORK/src" \
            "$WORK/src/$file" >"$log.log" 2>&1 || status=$?
        good=$(find "$log/raw" -type f -exec grep -hE '^ok\b' {} + 2>/dev/null | wc -l)
        bad=$(find "$log/raw" -type f -exec grep -hE '^not ok\b' {} + 2>/dev/null |
            grep -vciE '# (todo|skip)')
        end_servers "$log"
        if [ "$status" != 0 ]; then
            [ "$bad" != 0 ] || bad=1
            tail -n 60 "$log.log"
            keep_failures "$name" "$log.log"
            grep -rhE 'PANIC|terminated by signal|TRAP|AddressSanitizer|runtime error:' \
                "$log" --include='*.log' | head -n 20
            say "logs: $log.log and $log"
        elif [ "$good" = 0 ]; then
            skipped=$((skipped + 1))
        fi
        say "$name: $good passed, $bad failed"
        all_good=$((all_good + good)) all_bad=$((all_bad + bad))
    done
    count "$kind" "$all_good" "$all_bad" "$# files$([ $skipped = 0 ] || echo ", $skipped skipped")"
}

perl_tests() { (cd "$WORK/src" && compgen -G "$1"); }

run_prove() {
    # Names may be given as the caller sees them: only the part from test/ on counts.
    local file files=()
    for file in ${PROVE_TESTS:-$(perl_tests 'test/tap/*.pl')}; do
        files+=("test/${file##*test/}")
    done
    run_perl prove "${files[@]}"
}

run_crash() { run_perl crash $(perl_tests 'test/tap/*crash*.pl'); }

run_idle() { IDLE_SECONDS=${IDLE_SECONDS:-60} run_perl idle $(perl_tests 'test/tap/*idle*.pl'); }

run_bench() {
    title bench
    [ -x "$WORK/src/test/bench/run.sh" ] || { say "there is no test/bench yet"; count bench 0 0; return; }
    build || { count bench 0 1 "the module does not build"; return; }
    folder "$WORK/bench"
    if user WORK="$WORK" PG_CONFIG="$PG_CONFIG" BENCH="${BENCH:-}" SCALE="${SCALE:-}" \
        RUNS="${RUNS:-}" MINUTES="${MINUTES:-}" "$WORK/src/test/bench/run.sh"; then
        count bench 1 0
    else
        count bench 0 1
    fi
}

# ---- main ----------------------------------------------------------------------------------

for kind in $KINDS; do
    declare -F "run_$kind" >/dev/null || die "unknown kind of test: $kind"
done
prepare_machine tests
finished=no
make_work pipeline_ext.XXXXXX
trap cleanup EXIT
trap 'exit 130' INT TERM HUP
copy_sources "$WORK/src"
for kind in $KINDS; do
    "run_$kind"
done
finished=yes

if [ ${#failures[@]} != 0 ]; then
    title "what failed"
    printf '%s\n' "${failures[@]}"
fi
title summary
[ "$failed${KEEP:-}" = 0 ] || say "the logs and the server's data are kept in $WORK"
printf '%s\n' "${summary[@]}"
say "$passed passed, $failed failed"
[ "$failed" = 0 ]
