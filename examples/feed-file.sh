#!/bin/bash
# feed-file.sh FILE TARGET [OPTIONS]: the lines that are appended to a file go into a stream by
# COPY, each exactly once. A transaction takes up to ROWS lines and moves the place in the table
# "feed" behind them. At the end of the file it is looked at again every MS milliseconds.
file=$1 target=$2 options=${3-} rows=${ROWS:-1000} ms=${MS:-100}
printf -v pause '%d.%03d' $((ms / 1000)) $((ms % 1000))
batch=$(mktemp) || exit
trap 'rm -f "$batch"' EXIT
run() { psql -XAtq -v ON_ERROR_STOP=1 -v file="$file" "$@" || { sleep 1 && false; }; }

while :; do # at the start, and after an error: where are we?
    place=$(run <<<"INSERT INTO feed VALUES (:'file', 0) ON CONFLICT DO NOTHING;
        SELECT place FROM feed WHERE file = :'file'") || continue
    while size=$(stat -c %s "$file") && ((size >= place)) || exit; do
        tail -c "+$((place + 1))" "$file" | head -n "$rows" >"$batch"
        [ -z "$(tail -c 1 "$batch")" ] || sed -i '$d' "$batch" # the last line is not finished
        size=$(stat -c %s "$batch") lines=$(wc -l <"$batch")
        sed -i '/^\\\.$/d' "$batch" # would end the COPY
        ((size == 0)) || run -v from="$place" -v to=$((place + size)) <<END || break
            BEGIN;
            UPDATE feed SET place = :to WHERE file = :'file' AND place = :from RETURNING place \gset
            \copy $target FROM '$batch' $options
            COMMIT;
END
        place=$((place + size))
        ((lines == rows)) || sleep "$pause"
    done
done
