# fish completion for autossh: its own options, and for everything else what fish completes for ssh.

complete -c autossh --wraps ssh
complete -c autossh -s M -x -d 'Monitor port, port:echo_port, or 0 for no monitoring'
complete -c autossh -s f -d 'Go to the background before ssh starts'
complete -c autossh -s V -l version -d 'Print the version'
complete -c autossh -l help -d 'Print the usage'
