#!/bin/bash
# format.sh --check | --write ROOT: clang-format over the C++ sources. Only version 14 is used,
# since others disagree with it; without it the status is 77.
mode=$1 root=$2
for tool in clang-format-14 clang-format; do
    command -v "$tool" >/dev/null && "$tool" --version | grep -q 'version 14\.' && break
    tool=''
done
if [ -z "$tool" ]; then
    echo "clang-format 14 is not installed" >&2
    exit 77
fi
cd "$root" || exit 1
mapfile -t files < <(find src test -name '*.[ch]pp' 2>/dev/null | sort)
[ ${#files[@]} != 0 ] || exit 0
case $mode in
--write) "$tool" -i --style=file "${files[@]}" ;;
--check)
    bad=0
    for file in "${files[@]}"; do
        "$tool" --style=file "$file" | cmp -s - "$file" && continue
        echo "$file: run make format"
        bad=1
    done
    exit $bad
    ;;
*) echo "usage: format.sh --check|--write ROOT" >&2; exit 2 ;;
esac
