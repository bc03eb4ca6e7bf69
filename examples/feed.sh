#!/bin/bash
# feed.sh TARGET [OPTIONS]: the lines of standard input go into a stream by COPY, a transaction for
# each batch. A batch is sent when it has ROWS lines, or MS milliseconds after its first one.
target=$1 options=${2-} rows=${ROWS:-1000} ms=${MS:-100}
LC_ALL=C lines=() part='' status=0 # bytes, not characters

send() { # until the server has them: psql says on stderr what hinders
    while ((${#lines[@]} > 0)); do
        until printf '%s\n' "${lines[@]:0:rows}" | sed '/^\\\.$/d' | # would end the COPY
            psql -Xq -c "COPY $target FROM STDIN $options"; do sleep 1; done
        lines=("${lines[@]:rows}")
    done
}

while ((status != 1)); do # 1: the end of the input
    chunk='' now=${EPOCHREALTIME/[^0-9]/} # microseconds
    ((${#lines[@]} > 0)) || due=$((now + 3600000000))
    ((left = due > now ? due - now : 1))
    printf -v left '%d.%06d' $((left / 1000000)) $((left % 1000000))
    IFS= read -r -t "$left" -N 1 chunk
    status=$?
    # bash reads a pipe byte by byte, so dd takes what else is there.
    ((status != 0)) || ! read -r -t 0 || chunk+=$(dd bs=64K count=1 2>/dev/null; echo .) chunk=${chunk%.}
    ((${#lines[@]} > 0)) || due=$((${EPOCHREALTIME/[^0-9]/} + ms * 1000))
    mapfile -t -O ${#lines[@]} lines <<<"$part$chunk"
    part=${lines[-1]} # a line that has no end yet
    unset 'lines[-1]'
    ((status != 1)) || [ -z "$part" ] || lines+=("$part")
    ((${#lines[@]} < rows && ${EPOCHREALTIME/[^0-9]/} < due && status != 1)) || send
done
