# Completion of cohort(1) for bash. It knows nothing itself: commands, options and choices are read from the --help of the
# very program that stands on the command line, so it never goes stale.

_cohort_commands() {
    "$1" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p'
}

# What may follow an option that takes a value: files, folders, or the choices with which its help begins ("a, b; …", "a, b (…)").
_cohort_values() {
    local line=$1 word=$2 choices
    case $line in
    *" FILE  "*)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        ;;
    *" DIR  "*)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -d -- "$word")
        ;;
    *)
        choices=$(sed -n 's/^  --[a-z-]* [A-Z:]*  *\([a-z][a-z]*\(, [a-z][a-z]*\)\{1,\}\)[; ].*/\1/p' <<<"$line")
        mapfile -t COMPREPLY < <(compgen -W "${choices//,/}" -- "$word")
        ;;
    esac
}

_cohort() {
    local program=$1 word=$2 before=$3 command=${COMP_WORDS[1]} actions help line i
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "$(_cohort_commands "$program") help --help --version" -- "$word")
        return
    fi
    if [[ $command == help ]]; then
        ((COMP_CWORD == 2)) && mapfile -t COMPREPLY < <(compgen -W "$(_cohort_commands "$program")" -- "$word")
        return
    fi
    for ((i = 2; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} == -- ]]; then
            [[ $command == dev ]] || return 0
            command=serve # what follows goes to the nodes
        fi
    done
    if [[ $word == "=" ]]; then # --name=
        word=""
    elif [[ $before == "=" ]]; then # --name=value
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    help=$("$program" "$command" --help 2>/dev/null) || return 0
    actions=$(sed -n '/^commands:/,/^$/s/^  \([a-z][a-z]*\)  .*/\1/p' <<<"$help")
    if [[ -n $actions && $COMP_CWORD == 2 && $word != -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$actions" -- "$word")
        return
    elif [[ -n $actions && $COMP_CWORD != 2 ]]; then
        help=$("$program" "$command" "${COMP_WORDS[2]}" --help 2>/dev/null) || return 0
    fi
    if [[ $before == --?* ]]; then
        line=$(grep -e "^  $before [A-Z]" <<<"$help")
        if [[ -n $line ]]; then
            _cohort_values "$line" "$word"
            return
        fi
    fi
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(sed -n 's/^  \(--[a-z-]*\).*/\1/p' <<<"$help")" -- "$word")
    elif [[ $help == "usage: cohort $command [OPTION …] HISTORY"* ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}

complete -F _cohort cohort
