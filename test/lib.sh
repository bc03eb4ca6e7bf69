# What run.sh and demo.sh share: packages, the user to run as, the copy of the sources, the
# staged build and the ending of servers. Sourced by bash with TOP set.
#
# A server refuses to run as root and a checkout of root's cannot be written by anybody else,
# so everything happens in a folder that belongs to an ordinary user: postgres when started by
# root, otherwise whoever started it. Nothing is written to the checkout, nor under /usr but by
# the package manager.

unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL # a make above us must not steer the ones below
export LC_ALL=C.UTF-8

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "missing packages can only be installed by root or with sudo: $*"
    fi
}

# ---- packages ------------------------------------------------------------------------------

# True when $1 is a pg_config of a complete installation: server, headers and PGXS.
usable_pg_config() {
    local bin
    bin=$("$1" --bindir 2>/dev/null) && [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ] &&
        [ -f "$("$1" --includedir-server)/postgres.h" ] && [ -f "$("$1" --pgxs)" ]
}

find_pg_config() {
    local candidate
    if [ -n "${PG_CONFIG:-}" ] && [ "$PG_CONFIG" != pg_config ]; then
        usable_pg_config "$PG_CONFIG" ||
            die "PG_CONFIG=$PG_CONFIG does not lead to a server with headers and PGXS"
        return 0
    fi
    for candidate in pg_config /usr/lib/postgresql/{15,17,18,16}/bin/pg_config; do
        if command -v "$candidate" >/dev/null && usable_pg_config "$candidate"; then
            PG_CONFIG=$(command -v "$candidate")
            return 0
        fi
    done
    return 1
}

has_header() { echo "#include <$1>" | g++ -x c++ -std=gnu++20 -E - >/dev/null 2>&1; }
needs_java() { [ -d "$TOP/test/jdbc" ] || compgen -G "$TOP/test/tap/*jdbc*" >/dev/null; }

# Prints the packages that are missing; "postgresql" stands for a server of any major.
missing_packages() {
    command -v g++ >/dev/null || echo g++
    command -v make >/dev/null || echo make
    find_pg_config || echo postgresql
    if [ "${1:-}" = tests ]; then
        has_header catch2/catch.hpp || has_header catch2/catch_test_macros.hpp || echo catch2
        command -v prove >/dev/null || echo perl
        perl -MIPC::Run -e 1 2>/dev/null || echo libipc-run-perl
        if needs_java; then
            command -v javac >/dev/null || echo default-jdk-headless
            [ -f /usr/share/java/postgresql.jar ] || echo libpostgresql-jdbc-java
        fi
    fi
}

install_packages() {
    local missing package major config=/etc/postgresql-common/createcluster.conf
    local policy=/usr/sbin/policy-rc.d made_config='' made_policy='' status=0
    missing=$(missing_packages "$1")
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null ||
        die "please install (this system has no apt-get):" $missing
    say "installing what is missing:" $missing
    as_root apt-get update -qq || die "apt-get update failed"
    if [[ " "$(echo $missing)" " == *" postgresql "* ]]; then
        for major in 15 17 18 16; do
            apt-cache show "postgresql-server-dev-$major" >/dev/null 2>&1 && break
        done
        missing="${missing/postgresql/postgresql-$major postgresql-server-dev-$major}"
    fi

    # The server's package would create and start a cluster: nobody asked for one.
    if ! [ -e "$config" ] && ! [ -d /usr/share/postgresql-common ]; then
        as_root mkdir -p "${config%/*}"
        echo 'create_main_cluster = false' | as_root tee "$config" >/dev/null
        made_config=1
    fi
    if ! [ -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        made_policy=1
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold $missing \
        >"$PACKAGE_LOG" 2>&1 || status=$?
    [ -z "$made_policy" ] || as_root rm -f "$policy"
    if [ -n "$made_config" ]; then # servers installed later get the package's own default again
        if [ -f /usr/share/postgresql-common/createcluster.conf ]; then
            as_root cp /usr/share/postgresql-common/createcluster.conf "$config"
        else
            as_root rm -f "$config"
        fi
    fi
    if [ "$status" != 0 ]; then
        tail -n 30 "$PACKAGE_LOG" >&2
        die "apt-get install failed"
    fi
    hash -r
    missing=$(missing_packages "$1")
    [ -z "$missing" ] || die "still missing after the installation:" $missing
}

# Sets PG_CONFIG, BINDIR, PGXS_DIR, MAJOR; installs packages. $1: tests or demo.
prepare_machine() {
    PACKAGE_LOG=$(mktemp)
    install_packages "$1"
    rm -f "$PACKAGE_LOG"
    find_pg_config || die "no PostgreSQL server found"
    BINDIR=$("$PG_CONFIG" --bindir)
    PGXS_DIR=$(dirname "$(dirname "$("$PG_CONFIG" --pgxs)")") # has test/regress and test/perl
    MAJOR=$("$PG_CONFIG" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
    if [ "$(id -u)" != 0 ]; then
        RUN_AS=$(id -un)
    elif id postgres >/dev/null 2>&1; then
        RUN_AS=postgres
    else
        RUN_AS=nobody
    fi
}

# Runs a command as the ordinary user, with an environment that holds nothing of the caller's.
user() {
    local run=()
    [ "$(id -u)" != 0 ] || run=(runuser -u "$RUN_AS" --)
    (cd "$WORK" && "${run[@]}" env -i HOME="$WORK" TMPDIR=/tmp LC_ALL=C.UTF-8 TZ=UTC \
        PATH="$BINDIR:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" "$@")
}

# Makes folders that the ordinary user may write to. What lies directly in $WORK belongs to the
# caller: root must not write logs where somebody else could have put a symbolic link.
folder() {
    mkdir -p "$@" || die "cannot make $*"
    [ "$(id -u)" != 0 ] || chown "$RUN_AS" "$@"
}

# Makes WORK from the mktemp template $1.
make_work() {
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/$1") || die "cannot make a temporary folder"
    chmod 755 "$WORK"
    (cd "$WORK" && user test -x "$WORK") ||
        die "$RUN_AS cannot enter $WORK: set TMPDIR to a folder that is open to all"
}

# ---- sources and build ---------------------------------------------------------------------

# Copies the project to $1, for the ordinary user: what git knows and what it would offer
# to add, so that old build output is never mistaken for new. Without git: all files.
copy_sources() {
    local git=(git -c safe.directory='*' -C "$TOP")
    folder "$1"
    (
        cd "$TOP" || exit 1
        if [ "$("${git[@]}" rev-parse --show-toplevel 2>/dev/null)" = "$(pwd -P)" ]; then
            "${git[@]}" ls-files -co --exclude-standard -z
        else
            find . -name .git -prune -o -type f ! -name '*.o' ! -name '*.so' ! -name '*.d' -print0
        fi | perl -0 -ne 'chomp; print "$_\0" if -e $_ || -l $_' | tar --null -T - -c
    ) | user tar -x -C "$1" || die "could not copy the sources"
}

# Builds $WORK/src in $WORK/build and stages it in $WORK/stage; writes the server settings that
# find it there to $WORK/server.conf. The output is left in $WORK/build.log.
build_module() {
    local make=(make -C "$WORK/build" -f "$WORK/src/Makefile" PG_CONFIG="$PG_CONFIG")
    local staged=""
    folder "$WORK/build" "$WORK/stage"
    if ! user "${make[@]}" -j"${JOBS:-$(nproc)}" all >"$WORK/build.log" 2>&1; then
        grep -E -A6 'error|Error|No rule|cannot' "$WORK/build.log" | head -n 60
        say "the module does not build; whole output: $WORK/build.log"
        return 1
    fi
    cp "$WORK/src/test/postgresql.conf" "$WORK/server.conf"
    if [ "$MAJOR" -ge 18 ]; then
        stage_module "${make[@]}" || return 1
        staged="extension_control_path = '$WORK/stage$("$PG_CONFIG" --sharedir):\$system'"
    elif user "$BINDIR/postgres" --describe-config 2>/dev/null | grep -q '^extension_destdir'; then
        stage_module "${make[@]}" || return 1
        staged="extension_destdir = '$WORK/stage'"
    elif [ -w "$("$PG_CONFIG" --pkglibdir)" ]; then
        say "this server cannot use a staged extension: installing into its own folders"
        "${make[@]}" install >>"$WORK/build.log" 2>&1 || return 1
    else
        say "this server cannot use a staged extension, and $("$PG_CONFIG" --pkglibdir) is not" \
            "writable: run 'make install PG_CONFIG=$PG_CONFIG' as its owner, then" \
            "'make installcheck'"
        return 1
    fi
    if [ -n "$staged" ]; then # the second line is for shared_preload_libraries
        printf "%s\n" "$staged" \
            "dynamic_library_path = '$WORK/stage$("$PG_CONFIG" --pkglibdir):\$libdir'" \
            >>"$WORK/server.conf"
    fi
    chmod 644 "$WORK/server.conf"
}

stage_module() { user "$@" install DESTDIR="$WORK/stage" >>"$WORK/build.log" 2>&1; }

# ---- servers -------------------------------------------------------------------------------

# Ends the servers whose data lies under $1, each by the number in its own pid file.
end_servers() {
    local file pid
    while IFS= read -r file; do
        pid=$(head -n 1 "$file" 2>/dev/null)
        [[ "$pid" =~ ^[0-9]+$ ]] || continue
        [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "${file%/postmaster.pid}" ] || continue
        kill -QUIT "$pid" 2>/dev/null
        for _ in $(seq 50); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
    done < <(find "$1" -name postmaster.pid 2>/dev/null)
}
