#!/bin/bash
# Sources the completion script of `etcdctl completion bash` and completes some lines with it.
# Prints TAP.
#
#   completion_test.sh ETCDCTL
PATH="$(dirname "$1"):$PATH"
count=0
failed=0

# shellcheck disable=SC1090
source <(etcdctl completion bash)

complete_line() {
    COMP_LINE="$1"
    COMP_POINT=${#1}
    read -r -a COMP_WORDS <<< "$1"
    [[ "$1" == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    _etcdctl_complete
    echo "${COMPREPLY[*]}"
}

expect() {
    local got
    got="$(complete_line "$1")"
    count=$((count + 1))
    if [[ "$got" == "$2" ]]; then
        echo "ok $count - completes '$1'"
    else
        echo "not ok $count - completes '$1'"
        echo "#   got '$got' instead of '$2'"
        failed=1
    fi
}

expect "etcdctl me" "member"
expect "etcdctl endpoint " "hashkv health status"
expect "etcdctl get --or" "--order"
expect "etcdctl get -w " "fields json protobuf simple table"
expect "etcdctl get --write-out=j" "json"
expect "etcdctl --write-out json alarm d" "disarm"
expect "etcdctl get foo --cacert /et" "/etc"
expect "etcdctl completion " "bash zsh fish powershell"
expect "etcdctl nosuchcommand x" ""
echo "1..$count"
exit $failed
