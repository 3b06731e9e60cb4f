# shellcheck shell=bash
# Completion of inferq, inferq-submit and inferq-worker, for bash (and zsh: see _inferq beside it).
#
# Commands, options and the values that an option may have are read from what the programs' --help
# says, so nothing is written down here that could get old. No server is asked. What a value is, if
# it is none of a few words, is taken from its name: FILE, PATH, DIR and INPUT are files.

# Commands as lines "word [verb]".
_inferq_commands() {
    "$1" help 2>/dev/null </dev/null | sed -n '/^  /s/^  \([a-z][a-z-]*\( [a-z][a-z-]*\)\{0,1\}\).*/\1/p'
}

# Options of a command (its words are the arguments) as lines "--name" or "--name VALUE".
_inferq_options() {
    "$@" --help 2>/dev/null </dev/null | sed -n \
        -e 's/^  \(--[a-z][a-z-]*\) \([^ ][^ ]*\).*/\1 \2/p;t' \
        -e 's/^  \(--[a-z][a-z-]*\).*/\1/p;t' \
        -e 's/^  \([a-z][a-z_.]*\)  (choice: \([^;)]*\).*/--\1 \2/p;t' \
        -e 's/^  \(catalogue\)  (.*/--\1 FILE/p;t' \
        -e 's/^  \([a-z][a-z_.]*\)  (.*/--\1 VALUE/p'
    printf '%s\n' --help
}

# The values of an option, from what --help calls them: words, or files, or nothing that is known.
_inferq_values() {
    local value=${1//, /|}
    case $value in
        *'|'*) printf '%s\n' "$value" | tr '|' '\n' | grep '^[a-z]' ;;
        *FILE* | *PATH* | *DIR* | *INPUT*) compgen -f -- "$2" ;;
    esac
}

# Those of the lines that begin with $1.
_inferq_fitting() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        [[ $line == "$1"* ]] && COMPREPLY+=("$line")
    done
    return 0
}

# At the word $1, the one before it being $2, of the command that the further words are: options,
# their values, arguments.
_inferq_rest() {
    local current=$1 before=$2 option
    shift 2
    if [[ $before == --* ]]; then
        option=$(_inferq_options "$@" | grep -m 1 -- "^$before ")
        if [[ -n $option ]]; then
            _inferq_fitting "$current" < <(_inferq_values "${option#* }" "$current")
            return
        fi
    fi
    if [[ $current == -* ]]; then
        _inferq_fitting "$current" < <(_inferq_options "$@" | cut -d ' ' -f 1 | sort -u)
    elif [[ $1 == *inferq-submit ]]; then
        _inferq_fitting "$current" < <(compgen -f -- "$current")
    fi
}

# The word at the cursor is $2, the one before it $3, the program $1.
_inferq_word() {
    local program=$1 current=$2 before=$3 first=${COMP_WORDS[1]} second=${COMP_WORDS[2]} commands
    case $program in
        *inferq-submit | *inferq-worker)
            _inferq_rest "$current" "$before" "$program"
            return
            ;;
    esac
    commands=$(_inferq_commands "$program")
    if ((COMP_CWORD == 1)); then
        _inferq_fitting "$current" < <(printf '%s\n' "$commands" | cut -d ' ' -f 1 | sort -u)
    elif [[ $first == submit ]]; then
        _inferq_rest "$current" "$before" "${program}-submit"
    elif [[ $first == help ]]; then
        if ((COMP_CWORD > 2)); then
            commands=$(printf '%s\n' "$commands" | sed -n "s/^$second //p")
        else
            commands+=$'\nconfig'
        fi
        _inferq_fitting "$current" < <(printf '%s\n' "$commands" | cut -d ' ' -f 1 | sort -u)
    elif ! grep -q "^$first " <<<"$commands"; then
        _inferq_rest "$current" "$before" "$program" "$first"
    elif ((COMP_CWORD == 2)); then
        _inferq_fitting "$current" < <(printf '%s\n' "$commands" | sed -n "s/^$first //p")
    else
        _inferq_rest "$current" "$before" "$program" "$first" "$second"
    fi
}

# --name=VALUE is three words for bash, and one for zsh.
_inferq_complete() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} option=''
    COMPREPLY=()
    if [[ $current == '=' ]]; then
        current=''
    elif [[ $before == '=' ]]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    elif [[ $current == --*=* ]]; then
        before=${current%%=*} option=${current%%=*}=
        current=${current#*=}
    fi
    _inferq_word "$1" "$current" "$before"
    COMPREPLY=("${COMPREPLY[@]/#/$option}")
}

complete -o filenames -F _inferq_complete inferq inferq-submit inferq-worker
