# Completion of containarium for fish:
#   containarium completion fish > ~/.config/fish/completions/containarium.fish
function __containarium_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    for line in ($words[1] __complete $words[2..-1] "$word" 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path "$word"
        else
            echo $line
        end
    end
end
complete -c containarium -f -a '(__containarium_complete)'
