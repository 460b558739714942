# bash completion for autossh: its own options, and for everything else what bash completes for ssh.
#
# For /etc/bash_completion.d. The package bash-completion takes autossh for another name of ssh, in its file for ssh; that
# is loaded here, so that it cannot take this back later. (Where there is no such package, this file does nothing.)

if declare -F _comp_load >/dev/null; then
    _comp_load ssh
elif declare -F __load_completion >/dev/null; then
    __load_completion ssh
fi

_autossh() {
    local cur prev words cword word skip i ends_in_m='^-[46AaCfGgKkNnqsTtVvXxYy]*M$'
    COMPREPLY=()
    _get_comp_words_by_ref -n := cur prev words cword

    # -M, alone or at the end of a bundle, takes a port, which nobody can guess.
    [[ $prev =~ $ends_in_m ]] && return

    # ssh's completion does not know of that port, and would take it for the host.
    local -a ssh=(ssh)
    for ((i = 1; i <= cword; i++)); do
        word=${words[i]}
        if [[ $skip ]]; then
            skip=
        elif [[ $word =~ $ends_in_m ]]; then
            skip=1
        elif [[ $word != -M* ]]; then
            ssh+=("$word")
        fi
    done
    COMP_WORDS=("${ssh[@]}")
    COMP_CWORD=$((${#ssh[@]} - 1))
    COMP_LINE=${ssh[*]}
    COMP_POINT=${#COMP_LINE}
    if declare -F _comp_command_offset >/dev/null; then
        _comp_command_offset 0
    else
        _command_offset 0
    fi

    if [[ $cur == -* ]]; then
        mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W '-M -f -V --help --version' -- "$cur")
    fi
}

if declare -F _get_comp_words_by_ref >/dev/null; then
    complete -F _autossh autossh
fi
